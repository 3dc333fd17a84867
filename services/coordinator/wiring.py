"""How one step's output becomes another step's input.

The planner writes typed requests in which an artifact that is not made yet is a stand-in;
`freeze` turns them into the plan's JSON with `{"$output": [<step>, <output name>]}`, and `resolve`
puts the real artifacts in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.campaign import Step
from contracts.capability import capability_of
from contracts.envelope import ENVELOPE_FIELDS
from contracts.errors import AdgenxError
from contracts.requests import Request
from services.coordinator.step import StepName

OUTPUT = "$output"
_MARK = f"{OUTPUT}:"
_NO_HASH = "0" * 64
_UNKNOWN = "application/octet-stream"

Find = Callable[[str, str], ArtifactRef]
"""(step, output name) -> the artifact; raises OutputMissingError."""


class OutputMissingError(AdgenxError):
    """A step ended well without the output that the plan needs of it."""

    code = "OUTPUT_MISSING"


def output(step: StepName, name: str) -> ArtifactRef:
    """Return a stand-in for what a step will make.

    Its key can be no real one: `brief_check` only lets a tenant's own content keys in.
    """
    return ArtifactRef(
        key=f"{_MARK}{step}:{name}", sha256=_NO_HASH, media_type=_UNKNOWN, size_bytes=0
    )


def freeze(name: StepName, request: Request) -> Step:
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
    )


def _mark(value: Any, needs: dict[str, None]) -> Any:  # noqa: ANN401 - walks JSON
    if isinstance(value, dict):
        key = value.get("key")
        if isinstance(key, str) and key.startswith(_MARK):
            step, _, wanted = key.removeprefix(_MARK).partition(":")
            needs[step] = None
            return {OUTPUT: [step, wanted]}
        return {k: _mark(v, needs) for k, v in value.items()}
    if isinstance(value, list):
        return [_mark(v, needs) for v in value]
    return value


def resolve(value: Any, find: Find) -> Any:  # noqa: ANN401 - walks JSON
    """Return the JSON with every `$output` replaced by its artifact."""
    if isinstance(value, dict):
        if OUTPUT in value:
            return msgspec.to_builtins(find(*value[OUTPUT]))
        return {k: resolve(v, find) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v, find) for v in value]
    return value


def request_of(body: dict[str, Any]) -> Request:
    """Return the typed request of resolved JSON."""
    return msgspec.convert(body, Request)  # type: ignore[no-any-return]  # a union is no type[T] for mypy
