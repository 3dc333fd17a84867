"""Why a step ran again in a later revision, in words: from the fingerprints of its two records."""

from __future__ import annotations

from contracts.canonical import changed
from contracts.jobs import JobRecord, Made

TAKEN_OVER = "taken over"
_NAMED = {
    "engine": "engine changed",
    "brief.headlines": "headline changed",
    "brief.call_to_action": "call to action changed",
    "brief.length_seconds": "length changed",
    "art.subject": "product or label changed",
    "art.palette": "palette changed",
    "art.focus": "layout changed",
    "art.quiet": "layout changed",
    "work.look": "brand look changed",
    "work.type_box": "layout changed",
    "work.caption_box": "layout changed",
    "work.end_card": "end card changed",
    "work.headline": "headline changed",
    "work.shots": "script changed",
    "work.frame_scale": "scale changed",
}
_MEDIA_INPUTS = frozenset({"picture", "music", "voice", "timings", "label", "logo", "references"})
_MOST = 4


def why(job: JobRecord, before: JobRecord | None, inputs: list[str]) -> str:
    """Say why a step of a later revision ran, or that it was taken over.

    `before` is the same step's record in the revision before; `inputs` are the steps among its
    inputs that ran anew themselves.
    """
    if job.made in (Made.CACHE, Made.FOLLOWER):
        return TAKEN_OVER
    if before is None:
        return "new step"
    if not before.fingerprint or not before.state.terminal or before.made is None:
        return "not made before"
    names = changed(before.fingerprint, job.fingerprint)
    if not names:
        return "no longer in the cache"
    reasons = [f"input {step} changed" for step in inputs]
    reasons += [_reason(name) for name in names if not (reasons and _is_input(name))]
    reasons = list(dict.fromkeys(reasons))
    more = f" and {len(reasons) - _MOST} more" if len(reasons) > _MOST else ""
    return ", ".join(reasons[:_MOST]) + more


def _is_input(name: str) -> bool:
    return name.rpartition(".")[2] in _MEDIA_INPUTS or name == "items"


def _reason(name: str) -> str:
    if name in _NAMED:
        return _NAMED[name]
    last = name.rpartition(".")[2].replace("_", " ")
    return f"input {last} changed" if _is_input(name) else f"{last} changed"
