"""How one step's output becomes another step's input.

The planner writes typed requests in which an artifact that is not made yet is a stand-in;
`freeze` turns them into the plan's JSON with `{"$output": [<step>, <output name>]}`, and `resolve`
puts the real artifacts in. Where a step may be left out, `{"$first": [...]}` names what is taken:
the first of these outputs whose step was made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.campaign import Step
from contracts.capability import capability_of
from contracts.envelope import ENVELOPE_FIELDS
from contracts.errors import AdgenxError
from contracts.requests import Request
from services.coordinator.step import StepName

OUTPUT = "$output"
FIRST = "$first"
DRAFT = "$draft"
_MARK = f"{OUTPUT}:"
_OR = "|"
_NO_HASH = "0" * 64
_UNKNOWN = "application/octet-stream"

Find = Callable[[str, str], ArtifactRef]
"""(step, output name) -> the artifact; raises OutputMissingError, NotMadeError if it never ran."""

IsDraft = Callable[[str], bool]
"""step -> whether a draft engine made anything that has gone into it."""


class OutputMissingError(AdgenxError):
    """A step ended well without the output that the plan needs of it."""

    code = "OUTPUT_MISSING"


class NotMadeError(OutputMissingError):
    """The step itself was not made, so that it has no outputs."""


def output(step: StepName, name: str) -> ArtifactRef:
    """Return a stand-in for what a step will make.

    Its key can be no real one: `brief_check` only lets a tenant's own content keys in.
    """
    return ArtifactRef(
        key=f"{_MARK}{step}:{name}", sha256=_NO_HASH, media_type=_UNKNOWN, size_bytes=0
    )


def first_of(*outputs: ArtifactRef) -> ArtifactRef:
    """Return a stand-in for the first of these stand-ins whose step will have been made."""
    keys = _OR.join(ref.key.removeprefix(_MARK) for ref in outputs)
    return msgspec.structs.replace(outputs[0], key=f"{_MARK}{keys}")


def freeze(
    name: StepName,
    request: Request,
    *,
    optional: Literal["", "drafts", "always"] = "",
    unless: StepName | None = None,
) -> Step:
    """Make the step of a typed request; checks it against its contract, so that no step can fail
    later for a reason that is known now. Raises msgspec.ValidationError.
    """
    tag = str(request.__struct_config__.tag)
    capability = capability_of(tag)
    assert capability is not None
    plain = msgspec.to_builtins(request)
    msgspec.convert(plain, type(request))
    needs: dict[str, None] = {}
    body = {k: v for k, v in plain.items() if k not in ENVELOPE_FIELDS or k == "tier"}
    return Step(
        name=str(name),
        capability=capability,
        request={**_mark(body, needs), "type": tag},
        needs=list(needs),
        optional=optional,
        unless=str(unless) if unless else "",
    )


def labelled(step: Step) -> Step:
    """Return a composing step whose picture says draft if anything in it turns out to be one."""
    work = step.request["work"]
    look = {**work["look"], "draft": {DRAFT: step.needs}}
    request = {**step.request, "work": {**work, "look": look}}
    return msgspec.structs.replace(step, request=request)


def _mark(value: Any, needs: dict[str, None]) -> Any:  # noqa: ANN401 - walks JSON
    if isinstance(value, dict):
        key = value.get("key")
        if isinstance(key, str) and key.startswith(_MARK):
            found = [part.split(":") for part in key.removeprefix(_MARK).split(_OR)]
            needs |= dict.fromkeys(step for step, _ in found)
            return {FIRST: found} if len(found) > 1 else {OUTPUT: found[0]}
        return {k: _mark(v, needs) for k, v in value.items()}
    if isinstance(value, list):
        return [_mark(v, needs) for v in value]
    return value


def resolve(value: Any, find: Find, is_draft: IsDraft) -> Any:  # noqa: ANN401 - walks JSON
    """Return the JSON with every marker replaced by its artifact, or by whether it is a draft."""
    if isinstance(value, dict):
        if OUTPUT in value:
            return msgspec.to_builtins(find(*value[OUTPUT]))
        if FIRST in value:
            return msgspec.to_builtins(_first(value[FIRST], find))
        if DRAFT in value:
            return any(is_draft(step) for step in value[DRAFT])
        return {k: resolve(v, find, is_draft) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v, find, is_draft) for v in value]
    return value


def _first(outputs: list[list[str]], find: Find) -> ArtifactRef:
    """Return the first output whose step was made; one that it lacks is no reason to go on."""
    *others, last = outputs
    for step, name in others:
        with contextlib.suppress(NotMadeError):
            return find(step, name)
    return find(*last)


def request_of(body: dict[str, Any]) -> Request:
    """Return the typed request of resolved JSON."""
    return msgspec.convert(body, Request)  # type: ignore[no-any-return]  # a union is no type[T] for mypy
