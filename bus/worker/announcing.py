"""What a service says of itself: at start, every few seconds, and when it stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog

from bus.connection import Bus
from bus.records import Records
from bus.worker.folder import ServiceFolder
from contracts.errors import TransientError
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0


class Announcer:
    """Keeps the record of one service fresh. Several workers of a service say the same."""

    def __init__(self, bus: Bus, service: ServiceFolder, revision: str) -> None:
        self._bus = bus
        self._service = service
        self._revision = revision
        self._records = Records(bus, Bucket.SERVICES, ServiceRecord)

    async def run(self) -> None:
        """Announce until the bus is stopping, then withdraw."""
        stopping = self._bus.stopping
        while not stopping.is_set():
            await self._say(ServiceState.READY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), EVERY_SECONDS)
        await self._say(ServiceState.UNAVAILABLE, "the service was stopped")

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
