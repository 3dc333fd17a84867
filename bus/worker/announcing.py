"""What a service says of itself: at start, every few seconds, and when it stops in order.

Several workers of a service share one record. One that stops withdraws the service; any other that
hears of it announces the service again at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
import structlog
from nats.aio.msg import Msg

from bus.connection import Bus
from bus.records import Records, subject_of
from bus.worker.folder import ServiceFolder
from contracts.errors import TransientError
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0

_record = msgspec.json.Decoder(ServiceRecord)


class Announcer:
    """Keeps the record of one service fresh. Several workers of a service say the same."""

    def __init__(self, bus: Bus, service: ServiceFolder, revision: str) -> None:
        self._bus = bus
        self._service = service
        self._revision = revision
        self._records = Records(bus, Bucket.SERVICES, ServiceRecord)
        self._withdrawn = asyncio.Event()

    async def run(self) -> None:
        """Announce until the bus is stopping, then withdraw."""
        subject = subject_of(Bucket.SERVICES, self._service.name)
        await self._bus.nc.subscribe(subject, cb=self._heard)
        while not self._bus.stopping.is_set():
            self._withdrawn.clear()
            await self._say(ServiceState.READY)
            await self._pause()
        await self._say(ServiceState.UNAVAILABLE, "the service was stopped")

    async def _pause(self) -> None:
        """Wait until it is time, until this worker stops, or until another has withdrawn us."""
        events = (self._bus.stopping, self._withdrawn)
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=EVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    async def _heard(self, message: Msg) -> None:
        """Hear what a worker of this service has said."""
        with contextlib.suppress(msgspec.DecodeError):
            if _record.decode(message.data).state is not ServiceState.READY:
                self._withdrawn.set()

    async def _say(self, state: ServiceState, reason: str = "") -> None:
        record = ServiceRecord(
            manifest=self._service.manifest,
            revision=self._revision,
            state=state,
            workers=self._service.manifest.resources.concurrency,
            announced_at=time.time(),
            reason=reason,
        )
        try:
            await self._records.put(self._service.name, record)
        except TransientError as error:
            log.info("service.unheard", error=error.message)
