"""Who goes next: JOBS is kept shallow, so that order stays a decision. Pure functions."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from contracts.manifest import ServiceRecord

DEPTH = 2
"""Jobs in JOBS for each one that a service can run at once: one runs, one is at hand."""
UNKNOWN_CAPACITY = 2
"""For a service that announces nothing at the moment: its workers may come back."""


class Waiting(NamedTuple):
    """A job that could run. `priority` 0 (batch) to 9 (interactive); `since` and `deadline_at` in
    Unix seconds, 0 for no deadline.
    """

    key: str
    priority: int
    since: float
    deadline_at: float = 0.0


def capacity(service: ServiceRecord | None) -> int:
    """Return how many jobs of a service may be in JOBS at once."""
    if service is None:
        return UNKNOWN_CAPACITY
    return max(1, DEPTH * service.workers * service.manifest.resources.concurrency)


def release(waiting: Iterable[Waiting], free: int) -> list[str]:
    """Return the keys of the jobs that go next: by priority, then by age, at most `free`."""
    if free < 1:
        return []
    first = heapq.nsmallest(free, waiting, key=lambda w: (-w.priority, w.since, w.key))
    return [w.key for w in first]
