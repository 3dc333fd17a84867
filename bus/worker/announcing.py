"""What a worker says of itself: at start, when its model comes or goes, and every few seconds.

Each worker has a record of its own, so that one which stops takes nothing with it but itself. On
its way out it says that it is unavailable, for whoever listens, and removes the record; those of
workers that were killed are removed by the next worker of the service that starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from bus.records import Records
from bus.worker.attempt import Bench
from bus.worker.state import either
from contracts import subjects
from contracts.errors import TransientError
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10.0
PULSE_SECONDS = 120.0
"""Where NATS is away, each of its calls takes its patience."""
FORGOTTEN_SECONDS = 120.0
"""A record that is so old has no worker any more; a living one would put it back in a moment."""


class Announcer:
    """Keeps the record of one worker fresh. `busy` counts the jobs in its hands."""

    def __init__(self, bench: Bench, busy: Callable[[], int]) -> None:
        self._bench = bench
        self._bus = bench.bus
        self._name = bench.service.name
        self._busy = busy
        self._worker = bench.worker
        self._records = Records(bench.bus, Bucket.SERVICES, ServiceRecord)
        self._bell = bench.state.bell()

    async def run(self) -> None:
        """Announce until the bus is stopping, then withdraw."""
        await self._clean()
        with self._bus.pulses.of("announce", PULSE_SECONDS) as pulse:
            while not self._bus.stopping.is_set():
                pulse.touch()
                self._bell.clear()
                await self._say(self._bench.state.reason)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_SECONDS):
                        await either(self._bell, self._bus.stopping)
                with contextlib.suppress(TransientError):
                    await self._bench.switch.read()
        revision = await self._say("the worker was stopped")
        if revision:
            with contextlib.suppress(TransientError):
                await self._records.delete(self._key, revision)

    @property
    def _key(self) -> str:
        return subjects.worker_key(self._name, self._worker)

    async def _clean(self) -> None:
        """Remove what workers of this service have left that were killed."""
        try:
            for record in await self._records.under(self._name):
                if time.time() - record.value.announced_at > FORGOTTEN_SECONDS:
                    await self._records.delete(record.key, record.revision)
        except TransientError as error:
            log.info("services.unswept", error=error.message)

    async def _say(self, reason: str) -> int:
        """Put the record; return its revision, or 0 if that is not known."""
        resident_since = self._bench.pool.resident_since
        manifest = self._bench.service.manifest
        record = ServiceRecord(
            manifest=manifest,
            revision=self._bench.spool.revision,
            state=ServiceState.UNAVAILABLE if reason else ServiceState.READY,
            workers=manifest.resources.concurrency,
            announced_at=time.time(),
            worker=self._worker,
            reason=reason,
            busy=self._busy(),
            resident=resident_since > 0,
            resident_since=resident_since,
            memory_gb=self._bench.pool.memory_gb(),
        )
        try:
            return await self._records.put(self._key, record)
        except TransientError as error:
            log.info("service.unheard", error=error.message)
            return 0
