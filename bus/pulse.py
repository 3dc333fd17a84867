"""Signs of life: what the watchdog is fed on.

A watchdog that is fed by a timer proves that a timer runs. Here every loop that the work depends on
has a `Pulse` and touches it each time that it comes round; systemd's watchdog is fed only while all
of them are fresh. A loop that waits for NATS to come back does come round, and is left alone; one
that waits for ever is not fed for, and systemd starts the process anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from bus.notify import Notifier

    Work = Callable[[], Coroutine[None, None, None]]

log = structlog.get_logger(__name__)

FEEDS_PER_LIMIT = 3
UNWATCHED_SECONDS = 5.0
"""How often a process without a watchdog looks at its pulses: for its readiness and its status."""
START_SECONDS = 600.0
"""From its connection to its first pulse a process may take so long; before it, any time."""
EXTENSION_SECONDS = 60.0


class Pulse:
    """One loop's sign of life: touched whenever it comes round, stale after `seconds` without."""

    def __init__(self, name: str, seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self._seconds = seconds
        self._clock = clock
        self._due: float | None = clock() + seconds

    def touch(self) -> None:
        """Say that the loop has come round."""
        self._due = self._clock() + self._seconds

    def rest(self) -> None:
        """Say that the loop waits for something that may never come; the next touch ends it."""
        self._due = None

    @property
    def stale(self) -> bool:
        """Say whether the loop should have come round by now."""
        return self._due is not None and self._clock() > self._due


class Pulses:
    """The pulses of one process. It serves from the first one on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.begun = asyncio.Event()
        self._clock = clock
        self._beating: set[Pulse] = set()

    @contextlib.contextmanager
    def of(self, name: str, seconds: float) -> Iterator[Pulse]:
        """Watch a loop for the length of a block; it touches its pulse within `seconds`, always."""
        pulse = Pulse(name, seconds, self._clock)
        self._beating.add(pulse)
        self.begun.set()
        try:
            yield pulse
        finally:
            self._beating.discard(pulse)

    def stale(self) -> list[str]:
        """Return the names of the loops that should have come round by now."""
        return sorted(pulse.name for pulse in self._beating if pulse.stale)


@contextlib.asynccontextmanager
async def starting(notifier: Notifier, status: str) -> AsyncIterator[None]:
    """Let a start last as long as the block does: what it waits for may be hours away."""

    async def extend() -> None:
        while True:
            notifier.extend(EXTENSION_SECONDS)
            await asyncio.sleep(EXTENSION_SECONDS / FEEDS_PER_LIMIT)

    notifier.status(status)
    async with _beside(notifier, extend):
        yield


@contextlib.asynccontextmanager
async def attended(
    notifier: Notifier, pulses: Pulses, stopping: asyncio.Event, describe: Callable[[], str]
) -> AsyncIterator[None]:
    """Keep systemd told for the length of a block: that it serves, how it is, that it turns.

    While it ends its loops do too, and only the event loop is vouched for: the drain has a limit.
    """

    async def attend() -> None:
        notifier.extend(START_SECONDS)
        await pulses.begun.wait()
        notifier.ready()
        told: list[str] = []
        while True:
            stale = [] if stopping.is_set() else pulses.stale()
            if not stale and notifier.watchdog_seconds:
                notifier.feed()
            if stale and stale != told:
                log.error("loop.stalled", loops=stale)
            told = stale
            notifier.status(f"no sign of {', '.join(stale)}" if stale else describe())
            limit = notifier.watchdog_seconds / FEEDS_PER_LIMIT
            await asyncio.sleep(min(limit, UNWATCHED_SECONDS) if limit else UNWATCHED_SECONDS)

    async with _beside(notifier, attend):
        yield


@contextlib.asynccontextmanager
async def _beside(
    notifier: Notifier, work: Callable[[], Coroutine[None, None, None]]
) -> AsyncIterator[None]:
    """Run something beside the block where anybody listens."""
    task = asyncio.create_task(work()) if notifier.listening else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
