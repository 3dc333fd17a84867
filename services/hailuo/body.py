"""The bodies of orders: v1 names its fields, v2 lists its contents by role. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from services.hailuo.plan import Plan
from services.hailuo.tuning import Tuning


class Shown(NamedTuple):
    """A plan's pictures as data URIs."""

    first: str = ""
    last: str = ""
    references: tuple[str, ...] = ()


def body_of(plan: Plan, shown: Shown, tuning: Tuning) -> dict[str, Any]:
    """Return what is posted."""
    made = _v2(plan, shown) if tuning.api == "v2" else _v1(plan, shown, tuning)
    made["aigc_watermark"] = tuning.watermark
    if tuning.callback_url:
        made["callback_url"] = tuning.callback_url
    return made


def _v1(plan: Plan, shown: Shown, tuning: Tuning) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": plan.model,
        "prompt": plan.prompt,
        "prompt_optimizer": tuning.prompt_optimizer,
    }
    if shown.references:  # that model has one length and one resolution
        body["subject_reference"] = [{"type": "character", "image": list(shown.references)}]
        return body
    body["duration"], body["resolution"] = plan.seconds, plan.resolution
    if shown.first:
        body["first_frame_image"] = shown.first
    if shown.last:
        body["last_frame_image"] = shown.last
    return body


def _v2(plan: Plan, shown: Shown) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": plan.prompt}]
    roles = [("first_frame", shown.first), ("last_frame", shown.last)]
    roles += [("reference_image", uri) for uri in shown.references]
    content += [
        {"type": "image_url", "role": role, "image_url": {"url": uri}} for role, uri in roles if uri
    ]
    body: dict[str, Any] = {
        "model": plan.model,
        "content": content,
        "duration": plan.seconds,
        "resolution": plan.resolution,
    }
    if plan.ratio:
        body["ratio"] = plan.ratio
    return body
