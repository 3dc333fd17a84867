"""The observer's process: one consumer that counts events, one loop that looks at everything.

It writes nothing but whether there is room for new work, and nobody waits for it. What it shows is
read from the bus anew at every look, so that a restart loses nothing but the counts of Prometheus's
kind, which may begin at 0; what was spent comes from LEDGER and does not. The durable remembers
which events were counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import nats.errors
import structlog

from bus import metrics, micro, topology
from bus.artifacts import Artifacts, StoreRefusedError
from bus.consume import Delivery, ack, consume
from bus.look import look
from bus.settings import Durability
from bus.spending import Spending
from contracts import subjects
from contracts.errors import TransientError
from contracts.subjects import Stream
from services.observer.guarding import Guard
from services.observer.health_page import HealthPage
from services.observer.judging import Roll, Seen, judge
from services.observer.showing import show
from services.observer.tally import Tally

if TYPE_CHECKING:
    from bus.connection import Bus
    from bus.micro import Pong
    from bus.picture import Provider

log = structlog.get_logger(__name__)

SERVICE = "observer"
"""Name of the process and of its durable."""
EVERY_SECONDS = 5.0
PULSE_SECONDS = 120.0
"""A look is some twenty calls; where nobody answers, each of them takes its patience."""
STORE_KEY = "-/observer"
"""An object that need not exist: whether the store answers is what is asked."""


class Observer:
    """One observer; a second one would share the events, and show the same gauges."""

    def __init__(
        self, bus: Bus, page: HealthPage | None = None, *, every_seconds: float = EVERY_SECONDS
    ) -> None:
        self._bus = bus
        self._page = page or HealthPage()
        self._roll = Roll()
        # A store that is away is news, nothing to wait for; and nothing is ever written.
        impatient = msgspec.structs.replace(
            bus.settings, s3_patience_seconds=0.0, make_durable=Durability.SERVER
        )
        self._artifacts = Artifacts(impatient)
        self._tally = Tally()
        self._guard = Guard(bus)
        self._spending = Spending()
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Watch until the bus is stopping."""
        wanted = topology.durable(
            SERVICE,
            subjects.request_event_patterns() + subjects.result_patterns(),
            ack_wait_seconds=self._bus.settings.ack_wait_seconds,
            from_now=True,
        )
        await topology.ensure_consumer(self._bus, Stream.EVENTS, wanted)
        log.info("observer.started")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consume(self._bus, Stream.EVENTS, SERVICE, self._count))
            tasks.create_task(self._watch())
        await asyncio.to_thread(self._artifacts.close)

    async def _count(self, delivery: Delivery) -> None:
        self._tally.see(delivery.subject, delivery.data)
        await ack(self._bus, delivery)

    async def _watch(self) -> None:
        with self._bus.pulses.of("watch", PULSE_SECONDS) as pulse:
            while not self._bus.stopping.is_set():
                pulse.touch()
                await self.look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every_seconds):
                        await self._bus.stopping.wait()

    async def look(self) -> None:
        """Look once at everything and show it; what does not answer is shown as down."""
        store = await self._store_answers()
        metrics.DEPENDENCY_UP.set("s3", to=float(store))
        try:
            picture, answered = await asyncio.gather(look(self._bus), micro.ping(self._bus))
            await self._spending.catch_up(self._bus)
        except msgspec.DecodeError as error:
            # A newer version's record, perhaps: what is shown grows old, and an alert says so.
            log.warning("look.failed", error=str(error))
            return
        except (TransientError, nats.errors.Error, OSError) as error:
            log.info("look.abandoned", error=str(error))
            metrics.DEPENDENCY_UP.set("nats", to=0.0)
            self._judge([], [], nats_answers=False, store=store)
            return
        metrics.DEPENDENCY_UP.set("nats", to=1.0)
        self._tally.expect([provider.name for provider in picture.providers])
        show(picture, self._spending)
        with contextlib.suppress(TransientError):  # the next look says it
            await self._guard.look(picture.streams)
            await self._guard.tell_scrubbed()
        self._judge(answered, picture.providers, nats_answers=True, store=store)

    def _judge(
        self, answered: list[Pong], providers: list[Provider], *, nats_answers: bool, store: bool
    ) -> None:
        """Say how the box is, on its page."""
        now = time.time()
        seen = Seen(
            at=now,
            nats=nats_answers,
            store=store,
            present=self._roll.call(answered, now),
            providers=providers,
            storage=self._guard.said,
            expected=self._bus.settings.expected,
        )
        self._page.show(judge(seen))

    async def _store_answers(self) -> bool:
        try:
            await self._artifacts.stat(STORE_KEY)
        except (TransientError, StoreRefusedError):  # to be let in by nobody is to have no store
            return False
        return True
