"""Whether the kernel has ended a process for want of memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

OOM_FRESH_SECONDS = 1.0
"""A run that began within this of another's beginning takes over its count of memory kills."""


def oom_kills() -> int:
    """Return how many processes this kernel has ended for want of memory."""
    with contextlib.suppress(OSError), Path("/proc/vmstat").open(encoding="ascii") as file:
        for row in file:
            name, _, value = row.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


class OomWatch:
    """How many processes the kernel had ended for their memory when a run began, or just before.

    Asking costs as much as sending a job, so that short runs share an answer.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._before = count()
        self._asked_at = time.monotonic()

    def begin(self) -> None:
        """Take note that a run begins."""
        now = time.monotonic()
        if now - self._asked_at >= OOM_FRESH_SECONDS:
            self._before, self._asked_at = self._count(), now

    def struck(self) -> bool:
        """Say whether the kernel has ended any process since then."""
        return self._count() > self._before
