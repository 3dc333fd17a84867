"""The sweep: whatever REQUESTS holds and nobody is busy with is looked at again.

One listing of names of REQUESTS and one of JOBS; both are empty when nothing is to be done. A job
whose work message is in JOBS is a worker's, and one that waits for a place there is the floor's:
only the rest is advanced. Every so often nothing is believed, and every unfinished job is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from bus import gate
from bus.listing import subjects_in
from contracts import subjects
from contracts.errors import InvalidIdError, TransientError
from contracts.identity import job_id_of
from contracts.subjects import CAMPAIGN, Stream
from services.router.admission import Message

if TYPE_CHECKING:
    from bus.connection import Bus
    from services.router.desk import Desk
    from services.router.floor import Floor

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 2.0
FULL_EVERY = 15
"""Every so many sweeps, every unfinished job is looked at afresh."""
COUNT_SECONDS = 0.25
"""How often JOBS is counted while somebody waits for a place in it."""
WIDTH = 32
"""Jobs looked at side by side."""


class _Named(NamedTuple):
    """An unfinished request, by its names alone; an unusable subject has no key."""

    subject: str
    key: str
    job_id: str


class Sweeper:
    """Names the jobs that nobody else has named."""

    def __init__(
        self,
        bus: Bus,
        floor: Floor,
        desk: Desk,
        take_in: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._floor = floor
        self._desk = desk
        self._take_in = take_in
        self._now = asyncio.Event()
        self._rounds = 0

    def wake(self) -> None:
        """Sweep at once: something has changed, or may have been missed."""
        self._now.set()

    async def run(self) -> None:
        """Sweep every few seconds, and count JOBS more often while it is crowded."""
        next_at = time.monotonic()
        while True:
            crowded = bool(self._floor.crowded)
            pause = COUNT_SECONDS if crowded else SWEEP_SECONDS
            with contextlib.suppress(TimeoutError):
                left = max(0.0, min(pause, next_at - time.monotonic()))
                await asyncio.wait_for(self._now.wait(), left)
            due = self._now.is_set() or time.monotonic() >= next_at
            self._now.clear()
            try:
                inside = await self._count()
                if due:
                    next_at = time.monotonic() + SWEEP_SECONDS
                    await self.sweep(inside)
            except TransientError as error:
                log.info("sweep.abandoned", error=error.message)

    async def sweep(self, inside: set[str]) -> None:
        """Look once at everything unfinished; `inside` are the job ids in JOBS."""
        full = self._rounds % FULL_EVERY == 0
        self._rounds += 1
        found = await subjects_in(self._bus, Stream.REQUESTS, subjects.all_requests())
        named = [_named(s) for s in found if s.split(".")[3] != CAMPAIGN]
        due = [n for n in named if self._due(n, inside, full=full)]
        width = asyncio.Semaphore(WIDTH)

        async def one(request: _Named) -> None:
            async with width:
                await self._look(request)

        await asyncio.gather(*map(one, due))

    def _due(self, request: _Named, inside: set[str], *, full: bool) -> bool:
        if not request.key:
            return True
        if self._desk.busy(request.key):
            return False
        return full or not (request.job_id in inside or self._floor.waits(request.key, time.time()))

    async def _look(self, request: _Named) -> None:
        """Go on with one request as if its message had just come in."""
        try:
            found = await gate.last(self._bus, Stream.REQUESTS, request.subject)
            if found is not None:
                await self._take_in(
                    Message(found.subject, found.data, found.sequence, found.stored_at)
                )
        except TransientError as error:
            log.info("job.abandoned", key=request.key, error=error.message)

    async def _count(self) -> set[str]:
        """Put the floor right by what JOBS holds, and call whoever has a place now."""
        asked_at = time.monotonic()
        found = await subjects_in(self._bus, Stream.JOBS, subjects.all_jobs())
        inside = [(parts[2], parts[3]) for parts in (s.split(".") for s in found)]
        self._floor.sync(inside, asked_at)
        for service in self._floor.crowded:
            for key in self._floor.called(service):
                self._desk.hint(key)
        return {job_id for _, job_id in inside}


def _named(subject: str) -> _Named:
    try:
        ids = subjects.parse_request(subject)
    except InvalidIdError:
        return _Named(subject, "", "")
    key = subjects.job_key(ids.tenant, ids.campaign_id, ids.request_id)
    return _Named(subject, key, job_id_of(ids.tenant, ids.campaign_id, ids.request_id))
