"""The sweep: whatever REQUESTS holds and nobody is busy with is looked at again.

One listing of names of REQUESTS and one of JOBS; both are empty when nothing is to be done. A job
whose work message is in JOBS is a worker's, one that waits for a place there is the floor's, and a
follower is woken by its leader: only the rest is advanced. So that nothing has to be believed for
ever, every round looks afresh at a few of those as well, the next few each time.

However many wait, a round reads at most ROUND jobs, and listing takes no more than one part in
RESPITE of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

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
    from bus.pulse import Pulse
    from services.router.desk import Desk
    from services.router.floor import Floor

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 2.0
RESPITE = 50
"""Between two listings at least so many times what the last one took."""
AFRESH_EVERY = 15
"""In so many rounds every job that somebody has in hand is looked at afresh, if they are few."""
AFRESH = 32
"""Of those, at most so many in one round."""
ROUND = 512
"""Jobs looked at between two counts of JOBS."""
COUNT_SECONDS = 0.25
"""How often JOBS is counted while somebody waits for a place in it."""
PULSE_SECONDS = 300.0
"""A round looks at ROUND jobs at most; where NATS is away, every call runs out of time."""
WIDTH = 32
"""Jobs looked at side by side."""

_TOKEN = 3
"""Where a request's subject says what it asks for."""


def _nobody(_: str) -> bool:
    return False


class Sweeper:
    """Names the jobs that nobody else has named. `follows(key)` says that a leader will."""

    def __init__(
        self,
        bus: Bus,
        floor: Floor,
        desk: Desk,
        take_in: Callable[[Message], Awaitable[None]],
        follows: Callable[[str], bool] = _nobody,
    ) -> None:
        self._bus = bus
        self._floor = floor
        self._desk = desk
        self._take_in = take_in
        self._follows = follows
        self._now = asyncio.Event()
        self._left: deque[str] = deque()
        self._begun = False
        self._cursor = ""
        self._listing_seconds = 0.0

    def wake(self) -> None:
        """Sweep at once: something has changed, or may have been missed."""
        self._now.set()

    async def run(self) -> None:
        """Sweep every few seconds, and count JOBS more often while it is crowded."""
        with self._bus.pulses.of("sweep", PULSE_SECONDS) as pulse:
            await self._run(pulse)

    async def _run(self, pulse: Pulse) -> None:
        next_at = time.monotonic()
        while True:
            pulse.touch()
            crowded = bool(self._floor.crowded)
            pause = COUNT_SECONDS if crowded else SWEEP_SECONDS
            pause = 0.0 if self._left else min(pause, next_at - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause)):
                    await self._now.wait()
            due = self._now.is_set() or time.monotonic() >= next_at
            self._now.clear()
            try:
                inside = await self._count()
                if due:
                    await self.find(inside)
                    respite = RESPITE * self._listing_seconds
                    next_at = time.monotonic() + max(SWEEP_SECONDS, respite)
                await self.look()
            except TransientError as error:
                log.info("sweep.abandoned", error=error.message)

    async def find(self, inside: set[str]) -> None:
        """Find what is to be looked at; `inside` are the job ids in JOBS."""
        began = time.monotonic()
        found = await subjects_in(self._bus, Stream.REQUESTS, subjects.all_requests())
        names = [s for s in found if s.split(".", _TOKEN + 1)[_TOKEN] != CAMPAIGN]
        due: list[str] = []
        kept: list[str] = []
        for subject in names:
            (due if self._due(subject, inside) else kept).append(subject)
        self._left = deque(due + (self._afresh(kept) if self._begun else kept))
        self._begun = True
        self._listing_seconds = time.monotonic() - began

    async def look(self) -> None:
        """Look at the next ROUND of what was found."""
        width = asyncio.Semaphore(WIDTH)

        async def one(subject: str) -> None:
            async with width:
                await self._look(subject)

        count = min(ROUND, len(self._left))
        await asyncio.gather(*(one(self._left.popleft()) for _ in range(count)))

    def _due(self, subject: str, inside: set[str]) -> bool:
        """Say whether nobody has a job in hand; one with an unusable subject is always due."""
        _, _, tenant, _, *ids = subject.split(".")
        key = ".".join((tenant, *ids))
        if self._desk.busy(key) or self._floor.waits(key, time.time()) or self._follows(key):
            return False
        try:
            parsed = subjects.parse_request(subject)
        except InvalidIdError:
            return True
        return job_id_of(parsed.tenant, parsed.campaign_id, parsed.request_id) not in inside

    def _afresh(self, kept: list[str]) -> list[str]:
        """Return the next few of the jobs that somebody has in hand."""
        kept.sort()
        count = min(AFRESH, -(-len(kept) // AFRESH_EVERY))
        begin = bisect_right(kept, self._cursor)
        chosen = (kept[begin:] + kept[:begin])[:count]
        self._cursor = chosen[-1] if chosen else ""
        return chosen

    async def _look(self, subject: str) -> None:
        """Go on with one request as if its message had just come in."""
        try:
            found = await gate.last(self._bus, Stream.REQUESTS, subject)
            if found is not None:
                await self._take_in(
                    Message(found.subject, found.data, found.sequence, found.stored_at)
                )
        except TransientError as error:
            log.info("job.abandoned", subject=subject, error=error.message)

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
