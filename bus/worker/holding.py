"""The jobs in hand, watched by one timer for all of them: heartbeats, lost claims, the end.

A job that is over within a tick costs its watching nothing. For one that lasts a heartbeat is sent
three times within the server's patience, and its record is read again every few seconds, or at once
when somebody else is heard to have written it. Only while there is such a job are the service's
records listened to: every short one would be heard twice, from its own worker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus import metrics
from bus.connection import Bus
from bus.consume import Delivery
from bus.pulse import Pulse
from bus.records import subject_of
from contracts.errors import TransientError
from contracts.jobs import Run
from contracts.subjects import Bucket

BEATS_PER_ACK_WAIT = 3
LOOK_SECONDS = 2.0
"""A running job's claim is read again this often; a change that is heard of, at once."""
LONGEST_TICK_SECONDS = 1.0
PULSE_SECONDS = 60.0
"""While there is a job in hand it ticks every second; without one it rests."""

_run = msgspec.json.Decoder(Run)


class Claim:
    """A claim that is held: the run as it was written, and its revision."""

    def __init__(self, key: str, run: Run, revision: int) -> None:
        self.key = key
        self.run = run
        self.revision = revision


class Hold:
    """One job in hand. `stopped` is set once it shall end early; `on_stop` is called then."""

    def __init__(self, delivery: Delivery, claim: Claim) -> None:
        self.delivery = delivery
        self.claim = claim
        self.stopped = asyncio.Event()
        self.on_stop: Callable[[], None] | None = None
        self.since = 0.0
        self.beat_at = 0.0
        self.look_at = 0.0
        self.looking = False
        self.look_again = False

    def stop(self) -> None:
        """End it soon: the claim was lost, the job cancelled, or the worker shall end."""
        self.stopped.set()
        if self.on_stop is not None:
            self.on_stop()


class Holding:
    """Watches the jobs of one worker. `still_mine` reads a claim's record and judges it."""

    def __init__(
        self, bus: Bus, service: str, still_mine: Callable[[Claim], Awaitable[bool]]
    ) -> None:
        self._bus = bus
        self._changes = subject_of(Bucket.RUNS, f"{service}.*")
        self._still_mine = still_mine
        # Not by key: one of them may have been superseded by a later delivery to this very worker.
        self._watched: set[Hold] = set()
        self._some = asyncio.Event()
        self._listening: Subscription | None = None
        self._looks: set[asyncio.Task[None]] = set()
        self._beat_seconds = bus.settings.ack_wait_seconds / BEATS_PER_ACK_WAIT
        self._tick_seconds = min(LONGEST_TICK_SECONDS, self._beat_seconds / 2)

    @contextlib.contextmanager
    def watching(self, hold: Hold) -> Iterator[None]:
        """Watch a job for the length of a block, in which nothing of its record is written but
        that it got further (`Run.progressed`), which keeps the claim up to date.
        """
        now = asyncio.get_running_loop().time()
        hold.since = hold.beat_at = hold.look_at = now
        self._watched.add(hold)
        self._some.set()
        if self._bus.stopping.is_set():
            hold.stop()
        try:
            yield
        finally:
            self._watched.discard(hold)

    async def run(self) -> None:
        """Watch until cancelled."""
        drain = asyncio.create_task(self._drain())
        try:
            with self._bus.pulses.of("heartbeats", PULSE_SECONDS) as pulse:
                await self._ticks(pulse)
        finally:
            drain.cancel()
            for look in self._looks:
                look.cancel()
            await self._listen(on=False)

    async def _ticks(self, pulse: Pulse) -> None:
        while True:
            if not self._watched:
                await self._listen(on=False)
                self._some.clear()
                pulse.rest()
                await self._some.wait()
            pulse.touch()
            await asyncio.sleep(self._tick_seconds)
            await self._tick(asyncio.get_running_loop().time())

    async def _tick(self, now: float) -> None:
        lasting = [h for h in self._watched if now - h.since >= self._tick_seconds / 2]
        if await self._listen(on=bool(lasting)):
            for hold in lasting:  # for what was written before anybody listened
                self._look(hold, now)
        for hold in lasting:
            if now - hold.beat_at >= self._beat_seconds:
                gap = (now - hold.beat_at) / self._bus.settings.ack_wait_seconds
                metrics.WORKER_HEARTBEAT_GAP.observe(value=gap)
                hold.beat_at = now
                with contextlib.suppress(Exception):  # the next beat tries again
                    await self._bus.nc.publish(hold.delivery.reply, b"+WPI")
            if now - hold.look_at >= LOOK_SECONDS:
                self._look(hold, now)

    async def _listen(self, *, on: bool) -> bool:
        """Listen to the service's records or leave off; say whether it has just begun."""
        if on is (self._listening is not None):
            return False
        with contextlib.suppress(nats.errors.Error, OSError):  # the next tick tries again
            if on:
                self._listening = await self._bus.nc.subscribe(self._changes, cb=self._changed)
            elif self._listening is not None:
                listening, self._listening = self._listening, None
                await listening.unsubscribe()
        return on and self._listening is not None

    def _look(self, hold: Hold, now: float) -> None:
        hold.look_at = now
        hold.look_again = True
        if not hold.looking:
            hold.looking = True
            task = asyncio.create_task(self._judge(hold))
            self._looks.add(task)
            task.add_done_callback(self._looks.discard)

    async def _judge(self, hold: Hold) -> None:
        """Stop the job once the record is no longer my claim."""
        try:
            while hold.look_again:
                hold.look_again = False
                run = hold.claim.run
                mine = await self._still_mine(hold.claim)
                # What was read before a write of our own says nothing of the record after it.
                current = hold.claim.run is run and hold in self._watched
                if current and not mine:
                    hold.stop()
        except TransientError:
            pass  # the next look tries again
        finally:
            hold.looking = False

    async def _changed(self, message: Msg) -> None:
        """Hear that somebody has written the record of a run in hand: if not me, look at it."""
        key = message.subject.partition(".runs.")[2]
        for hold in [h for h in self._watched if h.claim.key == key]:
            with contextlib.suppress(msgspec.DecodeError):
                run = _run.decode(message.data)
                if run.owner == hold.claim.run.owner and not run.state.terminal:
                    continue
            self._look(hold, asyncio.get_running_loop().time())

    async def _drain(self) -> None:
        await self._bus.stopping.wait()
        for hold in list(self._watched):
            hold.stop()
