"""The observer's one record: whether there is room for new work (bus/disk.py)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from bus import device, disk, metrics
from bus.records import Records
from contracts.disk import DiskRecord
from contracts.retention import SCRUB_KEY, ScrubState
from contracts.subjects import Bucket

if TYPE_CHECKING:
    from bus.connection import Bus
    from bus.survey import StreamState

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 15.0
"""An unchanged word is said again so often; after a minute of silence nobody believes it."""


class Guard:
    """Measures, and writes what follows from it. One for each host."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._limit = bus.settings.disk_refuse_percent
        self._key = device.host()
        self._records = Records(bus, Bucket.DISKS, DiskRecord)
        self._scrubs = Records(bus, Bucket.RETENTION, ScrubState)
        self._said: DiskRecord | None = None

    @property
    def said(self) -> DiskRecord | None:
        """What was said last; None before the first look."""
        return self._said

    async def look(self, streams: list[StreamState]) -> None:
        """Measure once, and say it if it is news. Raises UnknownOutcomeError."""
        volumes = await disk.measure(self._bus, streams)
        before = self._said or await self._found()
        now = time.time()
        word = disk.judge(volumes, before, self._limit, now)
        metrics.STORAGE_REFUSING.set(to=float(word.refusing))
        changed = before is None or before.refusing is not word.refusing
        if not changed and self._said is not None and now - self._said.at < AGAIN_SECONDS:
            return
        await self._records.put(self._key, word)
        if changed and (word.refusing or before is not None):
            log.warning("storage.judged", refusing=word.refusing)
        self._said = word

    async def tell_scrubbed(self) -> None:
        """Show what the last scrub has found. Raises UnknownOutcomeError."""
        found = await self._scrubs.get(SCRUB_KEY)
        if found is not None:
            metrics.ARTIFACTS_BAD.set("damaged", to=float(len(found.value.damaged)))
            metrics.ARTIFACTS_BAD.set("missing", to=float(len(found.value.missing)))

    async def _found(self) -> DiskRecord | None:
        """Return what was said before this process began."""
        found = await self._records.get(self._key)
        return found.value if found else None
