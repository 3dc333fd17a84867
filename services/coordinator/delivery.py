"""The package request as it is asked: every file with where it came from, and its real name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from contracts.campaign import Plan, Step
from contracts.canonical import inputs
from contracts.jobs import JobRecord
from contracts.requests import PackageItem
from services.coordinator import wiring
from services.coordinator.plan_package import READABLE_COPY, final_path
from services.coordinator.wiring import OUTPUT, Find, OutputMissingError

Look = Callable[[str], JobRecord]
"""step -> its record, which is ok by now."""

OPTIONAL = frozenset({READABLE_COPY})
_VALUE_LIMIT = 120
_HIDDEN = frozenset({"type", "tier", "seed", "prompt", "negative_prompt"})


def filled(plan: Plan, step: Step, find: Find, look: Look) -> dict[str, Any]:
    """Return the package's request with its items complete.

    Parameters and inputs stand with a step's first file only: its other files share them, and the
    request must stay within what one message carries.
    """
    steps = {s.name: s for s in plan.steps}
    described: set[str] = set()
    items = []
    for template in step.request["items"]:
        maker = steps[template["step"]]
        try:
            artifact = find(*template["artifact"][OUTPUT])
        except OutputMissingError:
            if template["artifact"][OUTPUT][1] in OPTIONAL:
                continue
            raise
        item = msgspec.convert({**template, "artifact": artifact}, PackageItem)
        item = msgspec.structs.replace(
            item, path=final_path(item.path, artifact), **_made_by(look(maker.name))
        )
        item = msgspec.structs.replace(item, **_limits(maker, steps, look))
        if maker.name not in described:
            described.add(maker.name)
            item = msgspec.structs.replace(item, **_made_from(maker, find))
        items.append(item)
    return {**step.request, "items": msgspec.to_builtins(items)}


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


def _limits(step: Step, steps: dict[str, Step], look: Look) -> dict[str, Any]:
    """Return licence and territory of a file: those of everything that went into it."""
    licences: dict[str, None] = {}
    territory: dict[str, None] = {}
    seen: set[str] = set()
    stack = [step.name]
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        stack += steps[name].needs
        made = look(name).provenance
        if made is not None:
            licences |= dict.fromkeys([made.licence] if made.licence else [])
            territory |= dict.fromkeys(made.territory)
    return {"licence": "; ".join(sorted(licences)), "territory": sorted(territory)}


def _made_from(step: Step, find: Find) -> dict[str, Any]:
    body = wiring.resolve(step.request, find)
    found = dict.fromkeys(ref.sha256 for ref in inputs(wiring.request_of(body)))
    work = body.get("work", {})
    plain = {k: v for k, v in {**body, **work}.items() if k not in _HIDDEN}
    return {
        "inputs": list(found),
        "parameters": {
            k: str(v)[:_VALUE_LIMIT] for k, v in sorted(plain.items()) if not _is_nested(v)
        },
    }


def _is_nested(value: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(value, (dict, list))
