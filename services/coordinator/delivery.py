"""The package request as it is asked: every file with where it came from, and its real name.

What planner 1 planned is asked as it always was: its files tell the tier that was asked for, and
nothing of what is no file itself. From planner 2 on, a production package also tells its sources,
calls a film with a draft in it a draft, and names what was left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.campaign import Plan, Step
from contracts.canonical import inputs
from contracts.capability import Tier
from contracts.codec import BODY_LIMIT, encode
from contracts.jobs import JobRecord
from contracts.requests import PackageItem, PackageSource
from services.coordinator import wiring
from services.coordinator.plan_package import READABLE_COPY, final_path
from services.coordinator.wiring import OUTPUT, NotMadeError, OutputMissingError

OPTIONAL = frozenset({READABLE_COPY})
_VALUE_LIMIT = 120
_FULL_LIMIT = 2000
_HIDDEN = frozenset({"type", "tier", "seed", "prompt", "negative_prompt"})
_FIRST_PLANNER = "1"
ENVELOPE_BYTES = 16_384
"""What the request's envelope, which is added later, may take at most."""


class Making(Protocol):
    """A campaign's plan beside what has been made of it."""

    steps: dict[str, Step]

    def find(self, step: str, name: str) -> ArtifactRef:
        """Return an output; raises OutputMissingError, NotMadeError if the step was not made."""

    def made(self, step: str) -> JobRecord:
        """Return the record of a step that is ok; raises NotMadeError."""

    def is_draft(self, step: str) -> bool:
        """Say whether a draft engine made anything that has gone into a step."""

    def went_into(self, step: str) -> Mapping[str, JobRecord]:
        """Return the records of all that has gone into a step, and its own, by name."""

    def left_out(self, step: str) -> list[str]:
        """Return what was left out of a step, each with the reason."""


def filled(plan: Plan, step: Step, making: Making) -> dict[str, Any]:
    """Return the package's request with its items complete; raises OutputMissingError.

    Parameters and inputs stand with a step's first file only: its other files share them, and the
    request must stay within what one message carries.
    """
    whole = step.request.get("tier") == Tier.PRODUCTION and plan.planner != _FIRST_PLANNER
    if not whole:
        return {**step.request, "items": msgspec.to_builtins(_items(step, making, whole=False))}
    items = _items(step, making, whole=True)
    makers = {item.step for item in items}
    missing = dict.fromkeys(t["step"] for t in step.request["items"])
    request = {
        **step.request,
        "items": msgspec.to_builtins(items),
        "left_out": [
            why for name in missing if name not in makers for why in making.left_out(name)
        ],
    }
    return _with_sources(request, makers, making)


def _items(step: Step, making: Making, *, whole: bool) -> list[PackageItem]:
    described: set[str] = set()
    items = []
    for template in step.request["items"]:
        maker = making.steps[template["step"]]
        artifact = _artifact(template["artifact"][OUTPUT], maker, making)
        if artifact is None:
            continue
        item = msgspec.convert({**template, "artifact": artifact}, PackageItem)
        item = msgspec.structs.replace(
            item, path=final_path(item.path, artifact), **_made_by(making.made(maker.name))
        )
        item = msgspec.structs.replace(item, **_limits(maker, making))
        if maker.name not in described:
            described.add(maker.name)
            item = msgspec.structs.replace(item, **_made_from(maker, making, whole=whole))
        if whole:
            item = msgspec.structs.replace(
                item, left_out=making.left_out(maker.name), **_tier(maker, making)
            )
        items.append(item)
    return items


def _artifact(output: list[str], maker: Step, making: Making) -> ArtifactRef | None:
    """Return a file's artifact; None for one that the package can do without."""
    try:
        return making.find(*output)
    except NotMadeError:
        if not maker.optional:
            raise
    except OutputMissingError:
        if output[1] not in OPTIONAL:
            raise
    return None


def _made_by(job: JobRecord) -> dict[str, Any]:
    made = job.provenance
    if made is None:
        return {"service": job.service}
    return {
        "service": made.service,
        "model": made.model,
        "revision": made.revision,
        "seed": made.seed,
        "tier": made.tier,
    }


def _tier(maker: Step, making: Making) -> dict[str, Tier]:
    """Return a composed file's tier: a draft if anything in it is one."""
    return {"tier": Tier.DRAFT} if making.is_draft(maker.name) else {}


def _limits(step: Step, making: Making) -> dict[str, Any]:
    """Return licence and territory of a file: those of everything that went into it."""
    licences: dict[str, None] = {}
    territory: dict[str, None] = {}
    for job in making.went_into(step.name).values():
        made = job.provenance
        if made is not None:
            licences |= dict.fromkeys([made.licence] if made.licence else [])
            territory |= dict.fromkeys(made.territory)
    return {"licence": "; ".join(sorted(licences)), "territory": sorted(territory)}


def _made_from(
    step: Step, making: Making, *, whole: bool, limit: int = _VALUE_LIMIT
) -> dict[str, Any]:
    body = wiring.resolve(step.request, making.find, making.is_draft)
    found = dict.fromkeys(ref.sha256 for ref in inputs(wiring.request_of(body)))
    work = body.get("work", {})
    hidden = _HIDDEN if limit == _VALUE_LIMIT else frozenset({"type", "tier", "seed"})
    plain = {k: v for k, v in {**body, **work}.items() if k not in hidden and not _is_nested(v)}
    if whole:  # and what the model itself tells of how it made the file
        outputs = making.made(step.name).outputs
        plain |= outputs[0].labels if outputs else {}
    return {
        "inputs": list(found),
        "parameters": {k: str(v)[:limit] for k, v in sorted(plain.items())},
    }


def _with_sources(request: dict[str, Any], makers: set[str], making: Making) -> dict[str, Any]:
    """Add what no file is and files were made from, with as many words as one message carries."""
    between = dict.fromkeys(n for m in sorted(makers) for n in making.went_into(m))
    names = [name for name in making.steps if name in between and name not in makers]
    brought = request.get("sources", [])
    for limit in (_FULL_LIMIT, _VALUE_LIMIT, 0):
        made = msgspec.to_builtins([_source(making.steps[n], making, limit) for n in names])
        told = {**request, "sources": [*brought, *made]}
        if len(encode(told)) + ENVELOPE_BYTES <= BODY_LIMIT:
            break
    return told


def _source(step: Step, making: Making, limit: int) -> PackageSource:
    job = making.made(step.name)
    made = job.provenance
    source = PackageSource(
        step=step.name,
        outputs=[ref.sha256 for ref in job.outputs],
        licence=made.licence if made else "",
        territory=sorted(made.territory) if made else [],
        **_made_by(job),
    )
    told = _made_from(step, making, whole=True, limit=limit)
    if not limit:
        told["parameters"] = {}
    return msgspec.structs.replace(source, **told)


def _is_nested(value: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(value, (dict, list))
