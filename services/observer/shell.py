"""The observer's process: one consumer that counts events, one loop that looks at everything.

It writes nothing and nobody waits for it. What it shows is read from the bus anew at every look, so
that a restart loses nothing but the counts of Prometheus's kind, which may begin at 0; what was
spent comes from LEDGER and does not. The durable remembers which events were counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus import metrics, topology
from bus.artifacts import Artifacts
from bus.consume import Delivery, ack, consume
from bus.look import look
from bus.settings import Durability
from bus.spending import Spending
from contracts import subjects
from contracts.errors import TransientError
from contracts.subjects import Stream
from services.observer.showing import show
from services.observer.tally import Tally

if TYPE_CHECKING:
    from bus.connection import Bus

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

    def __init__(self, bus: Bus, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._bus = bus
        # A store that is away is news, nothing to wait for; and nothing is ever written.
        impatient = msgspec.structs.replace(
            bus.settings, s3_patience_seconds=0.0, make_durable=Durability.SERVER
        )
        self._artifacts = Artifacts(impatient)
        self._tally = Tally()
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
        metrics.DEPENDENCY_UP.set("s3", to=float(await self._store_answers()))
        try:
            picture = await look(self._bus)
            await self._spending.catch_up(self._bus)
        except msgspec.DecodeError as error:
            # A newer version's record, perhaps: what is shown grows old, and an alert says so.
            log.warning("look.failed", error=str(error))
            return
        except TransientError as error:
            log.info("look.abandoned", error=error.message)
            metrics.DEPENDENCY_UP.set("nats", to=0.0)
            return
        metrics.DEPENDENCY_UP.set("nats", to=1.0)
        self._tally.expect([provider.name for provider in picture.providers])
        show(picture, self._spending)

    async def _store_answers(self) -> bool:
        try:
            await self._artifacts.stat(STORE_KEY)
        except TransientError:
            return False
        return True
