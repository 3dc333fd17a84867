"""A job's progress on its way out: never falling, four ticks a second at most, the last sent.

The first work that is done is told at once, however shortly before the beginning was told.
"""

from __future__ import annotations

import contextlib
import time

import nats.errors

from bus.connection import Bus
from bus.worker.frames import Ticked
from contracts import subjects
from contracts.codec import encode
from contracts.events import Progress
from contracts.jobs import Job

EVERY_SECONDS = 0.25


class Reporter:
    """Publishes one attempt's progress by core publish: a lost tick is followed by another."""

    def __init__(self, bus: Bus, job: Job, attempt: int) -> None:
        self._bus = bus
        self._job = job
        self._attempt = attempt
        self._subject = subjects.progress(job.tenant, job.campaign_id, job.request_id)
        self._fraction = 0.0
        self._phase = ""
        self._sent_at = 0.0
        self._newest: Progress | None = None
        self._preview = ""

    def tick(self, frame: Ticked) -> Progress | None:
        """Take a tick in; return what is to be published now, if anything."""
        share = frame.done / frame.total if frame.total > 0 else 0.0
        first = self._fraction == 0 < share
        self._fraction = min(1.0, max(self._fraction, share))
        self._preview = frame.preview or self._preview  # seldom: one that is held back is kept
        self._newest = self._progress(frame)
        now = time.monotonic()
        if not first and frame.phase == self._phase and now - self._sent_at < EVERY_SECONDS:
            return None
        self._phase, self._sent_at = frame.phase, now
        return self._take()

    async def publish(self, progress: Progress | None) -> None:
        """Publish, if there is something to publish; no run is lost over a tick."""
        if progress is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._bus.publish(self._subject, encode(progress))

    async def finish(self) -> None:
        """Publish the newest tick, if it was held back."""
        await self.publish(self._take())

    def _take(self) -> Progress | None:
        newest, self._newest = self._newest, None
        if newest is not None:
            self._preview = ""
        return newest

    def _progress(self, frame: Ticked) -> Progress:
        return Progress(
            request_id=self._job.request_id,
            campaign_id=self._job.campaign_id,
            service=self._job.service,
            phase=frame.phase,
            done=frame.done,
            total=frame.total,
            fraction=self._fraction,
            attempt=self._attempt,
            at=time.time(),
            preview=self._preview,
            labels=self._job.labels,
        )
