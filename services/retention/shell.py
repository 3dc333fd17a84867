"""The process: a sweep every hour, at once when a person asks, and a purge as soon as a campaign
was deleted. Whatever it hears is only a hint; what it does follows from the records.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from bus.records import Records, subject_of
from contracts import events, subjects
from contracts.campaign import CampaignRecord, CampaignState
from contracts.errors import TransientError
from contracts.retention import STATE_KEY, WANTED_KEY, SweepState, SweepWanted
from contracts.subjects import Bucket
from services.retention.sweep import Sweep, Tools

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from bus.pulse import Pulse

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 3600.0
FIRST_SECONDS = 60.0
"""After the start: whoever starts an appliance wants something else first."""
LOOK_SECONDS = 10.0
"""How often a purge that had to wait, or a wish that was not heard, is looked at."""
SETTLED_SECONDS = 30.0
"""For so long a campaign that was purged is looked at again."""
PULSE_SECONDS = 600.0
"""Between two pages of a sweep, and between two looks."""
REST_SECONDS = 0.005
"""Between two pages: a sweep never takes more than its share of the server."""


class Retention:
    """One retention process. Several may run at once; they repeat each other's work."""

    def __init__(
        self,
        bus: Bus,
        artifacts: Artifacts,
        *,
        clock: Callable[[], float] = time.time,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._first_seconds = first_seconds
        self._sweep = Sweep(Tools(bus, artifacts, clock, self._rest))
        self._pulse: Pulse | None = None
        self._states = Records(bus, Bucket.RETENTION, SweepState)
        self._wishes = Records(bus, Bucket.RETENTION, SweepWanted)
        self._campaigns = Records(bus, Bucket.CAMPAIGNS, CampaignRecord)
        self._deleted: dict[str, float] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Work until the bus is stopping; what is under way is left where it is."""
        deletions = subjects.event("*", "*", "*", events.DELETE_RESULT)
        await self._bus.nc.subscribe(deletions, cb=self._heard_deletion)
        wishes = subject_of(Bucket.RETENTION, WANTED_KEY)
        await self._bus.nc.subscribe(wishes, cb=self._heard_wish)
        log.info("retention.started")
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._bus.stopping.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done():
            # Nothing is lost by leaving off anywhere: the next sweep goes on.
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work

    async def _work(self) -> None:
        with self._bus.pulses.of("sweep", PULSE_SECONDS) as self._pulse:
            await self._turns()

    async def _turns(self) -> None:
        next_at = await self._first()
        while True:
            self._touch()
            next_at = await self._turn(next_at)
            left = max(0.0, min(LOOK_SECONDS, next_at - self._clock()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()
            self._news.clear()

    async def _turn(self, next_at: float) -> float:
        """Do what is to be done now; return when the next sweep is due."""
        try:
            await self._purge()
            return await self._look(next_at)
        except TransientError as error:
            log.info("sweep.abandoned", error=error.message)
        except Exception:
            # A record that cannot be handled must not end the process: others wait.
            log.exception("sweep.failed")
        return max(next_at, self._clock() + self._first_seconds)

    async def _first(self) -> float:
        """Return when the first sweep is due: an hour after the last one, not at every start."""
        first = self._clock() + self._first_seconds
        with contextlib.suppress(TransientError):
            known = await self._states.get(STATE_KEY)
            if known is not None and known.value.ended_at and not known.value.dry_run:
                return max(first, known.value.began_at + SWEEP_SECONDS)
        return first

    async def _look(self, next_at: float) -> float:
        """Sweep if it is time, or if somebody wants it; return when it is time again."""
        wish = await self._wishes.get(WANTED_KEY)
        known = await self._states.get(STATE_KEY)
        answered = known.value.wanted_at if known else 0.0
        if wish is not None and wish.value.at > answered:
            await self._sweep.run(wish.value.at, dry_run=wish.value.dry_run)
            return next_at if wish.value.dry_run else self._clock() + SWEEP_SECONDS
        if self._clock() < next_at:
            return next_at
        await self._sweep.run(answered)
        return self._clock() + SWEEP_SECONDS

    async def _purge(self) -> None:
        """Purge what was just deleted; what is not over yet stays in hand.

        So does what is, for a while: a job that was stopped in its middle says its last words when
        its campaign is already gone, and they would stay until the next sweep.
        """
        for key, since in sorted(self._deleted.items()):
            found = await self._campaigns.get(key)
            if found is None or found.value.state is not CampaignState.DELETED:
                del self._deleted[key]
            elif not await self._sweep.purge(key):
                self._deleted[key] = 0.0
            elif not since:
                self._deleted[key] = self._clock()
            elif self._clock() - since >= SETTLED_SECONDS:
                del self._deleted[key]

    async def _heard_deletion(self, message: Msg) -> None:
        _, _, tenant, campaign_id, *_ = message.subject.split(".")
        self._deleted[subjects.campaign_key(tenant, campaign_id)] = 0.0
        self._news.set()

    async def _heard_wish(self, _: Msg) -> None:
        self._news.set()

    async def _rest(self) -> None:
        self._touch()
        await asyncio.sleep(REST_SECONDS)

    def _touch(self) -> None:
        if self._pulse is not None:
            self._pulse.touch()
