"""What somebody should look at, in words: the conditions of the alerts, for who sits here. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from bus.picture import SILENT_SECONDS, Picture, Provider, Queue
from contracts.governance import BreakerState

Severity = Literal["critical", "warning"]

QUEUES = {"REQUESTS": "requests", "JOBS": "jobs", "CONTROL": "commands", "DEAD": "dead letters"}
"""What people call the queues."""

DISK_WARNING, DISK_CRITICAL = 0.8, 0.9
STREAM_WARNING = 0.8
BUDGET_WARNING = 0.9
PATIENCE_SECONDS = 300.0
"""Nothing is late before that, however short its target."""
LATE = 10.0
"""So many times its target, and it is late."""
TAKEN_SECONDS = 60.0
"""Commands and briefs are taken within a second."""


class Warn(msgspec.Struct, frozen=True):
    """One thing to look at. `about` is a provider, a queue, a stream, a disk or a tenant."""

    severity: Severity
    about: str
    text: str


def warnings(picture: Picture) -> list[Warn]:
    """Return what deserves a look, the worst first."""
    found = [
        *(w for p in picture.providers for w in _provider(p, picture.at)),
        *(w for q in picture.queues if (w := _queue(q))),
        *_stuck(picture),
        *_space(picture),
    ]
    return sorted(found, key=lambda w: w.severity != "critical")


def duration(seconds: float) -> str:
    """Return a length of time as people say it, in at most two units."""
    whole = int(seconds)
    for size, unit, below, small in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _provider(provider: Provider, now: float) -> list[Warn]:
    found = []
    if provider.state == "silent":
        heard = duration(provider.heard_seconds)
        found.append(Warn("critical", provider.name, f"not heard of for {heard}"))
    elif provider.state == "unavailable" and provider.reason:
        found.append(Warn("warning", provider.name, provider.reason))
    if provider.silent_workers and provider.heard_seconds <= SILENT_SECONDS:
        count = provider.silent_workers
        workers = "a worker" if count == 1 else f"{count} workers"
        found.append(Warn("warning", provider.name, f"{workers} went silent without a word"))
    if provider.breaker == BreakerState.OPEN:
        again = f", tries again in {duration(provider.retry_at - now)}"
        text = "breaker open after repeated failures"
        found.append(
            Warn("warning", provider.name, text + (again if provider.retry_at > now else ""))
        )
    return found


def _queue(queue: Queue) -> Warn | None:
    oldest = queue.oldest_seconds
    name = f"{QUEUES.get(queue.queue, queue.queue)} {queue.kind}".strip()
    if queue.queue == "DEAD":
        buried = "a job was" if queue.depth == 1 else f"{queue.depth} jobs were"
        return (
            Warn("warning", name, f"{buried} buried; see `adgenx dead list`")
            if queue.depth
            else None
        )
    if queue.kind in ("", "campaign"):
        late = oldest > TAKEN_SECONDS
        return Warn("critical", name, f"nobody takes it: {duration(oldest)} old") if late else None
    if oldest > PATIENCE_SECONDS and 0 < LATE * queue.target_seconds < oldest:
        return Warn("warning", name, f"the oldest has waited {duration(oldest)}")
    return None


def _stuck(picture: Picture) -> list[Warn]:
    return [
        Warn(
            "critical",
            QUEUES.get(stream, stream),
            f"{count} messages that no consumer will be given",
        )
        for stream, count in picture.stuck.items()
        if count
    ]


def _space(picture: Picture) -> list[Warn]:
    found = [
        Warn(
            "critical" if ratio > DISK_CRITICAL else "warning",
            f"disk of {folder}",
            f"{ratio:.0%} full",
        )
        for folder, ratio in picture.disks.items()
        if ratio > DISK_WARNING
    ]
    found += [
        Warn("warning", s.stream, f"the stream is {s.size_bytes / s.limit_bytes:.0%} full")
        for s in picture.streams
        if s.limit_bytes and s.size_bytes > STREAM_WARNING * s.limit_bytes
    ]
    found += [
        Warn("warning", b.tenant, f"{(b.spent + b.reserved) / b.limit:.0%} of its budget is spent")
        for b in picture.budgets
        if b.scope == "tenant" and b.limit and b.spent + b.reserved > BUDGET_WARNING * b.limit
    ]
    return found
