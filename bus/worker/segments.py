"""Segments of long jobs: finished pieces that outlive whatever ends the job, and are found again.

A segment's files are artifacts like any other. The record that names them is written after they are
durable, and only if there is none: whoever reads it can have the bytes. It is found by what it
depends on, the engine's revision included, and not by its job. So a redelivery goes on from the
last segment, on whatever machine, and so does a request that begins as another one did (ADR-0024).
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus.records import Conflict, Records
from bus.worker.model import Media
from bus.worker.spool import reference
from contracts import subjects
from contracts.errors import ArtifactMissingError
from contracts.segments import SEGMENT_SECONDS, SegmentRecord
from contracts.subjects import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from bus.records import Record
    from contracts.artifacts import ArtifactRef
    from contracts.jobs import Job

log = structlog.get_logger(__name__)


class Segments:
    """The segments of one service, made by an engine of this revision."""

    def __init__(
        self,
        bus: Bus,
        artifacts: Artifacts,
        revision: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = Records(bus, Bucket.SEGMENTS, SegmentRecord)
        self._artifacts = artifacts
        self._revision = revision
        self._clock = clock

    async def recall(self, job: Job, key: str, folder: Path) -> list[Media]:
        """Bring a segment's files into a folder; none if it was never made, or is gone.

        Raises StoreUnavailableError and UnknownOutcomeError: ask again.
        """
        found = await self._records.get(self._key(job, key))
        if found is None or found.value.expires_at <= self._clock():
            return []
        return await self._fetched(found, key, folder) or []

    async def keep(self, job: Job, key: str, media: list[Media], folder: Path) -> list[Media]:
        """Store a segment's files unless it is there; return the files that are.

        Raises as `recall` does: ask again.
        """
        outputs = [await self._stored(job, one) for one in media]
        await self._artifacts.make_durable()
        now = self._clock()
        mine = SegmentRecord(
            outputs=outputs, job_key=job.key, made_at=now, expires_at=now + SEGMENT_SECONDS
        )
        where = self._key(job, key)
        while isinstance(await self._records.create(where, mine), Conflict):
            other = await self._records.get(where)
            if other is None:
                continue  # it was removed in this moment
            if _hashes(other.value) == _hashes(mine):
                return media
            if other.value.expires_at > now:
                theirs = await self._fetched(other, key, folder)
                if theirs is not None:
                    log.info("segment.adopted", job_id=job.job_id, key=key)
                    return theirs
            await self._records.delete(where, other.revision)
        return media

    def _key(self, job: Job, key: str) -> str:
        digest = hashlib.sha256(f"{self._revision}\0{key}".encode()).hexdigest()
        return subjects.segment_key(job.tenant, job.service, digest)

    async def _stored(self, job: Job, media: Media) -> ArtifactRef:
        put = await self._artifacts.put(media.path, job.tenant, media.media_type)
        return reference(media, put.key, put.sha256, put.size_bytes)

    async def _fetched(
        self, found: Record[SegmentRecord], key: str, folder: Path
    ) -> list[Media] | None:
        """Return local copies of a segment's files; None if the store has lost one of them."""
        made = []
        for number, ref in enumerate(found.value.outputs):
            path = folder / f"{key}-{number}"
            try:
                await self._artifacts.fetch(ref, path)
            except ArtifactMissingError as error:
                log.warning("segment.lost", key=found.key, error=str(error))
                return None
            made.append(_media(ref, path))
        return made


def _hashes(record: SegmentRecord) -> list[str]:
    return [ref.sha256 for ref in record.outputs]


def _media(ref: ArtifactRef, path: Path) -> Media:
    """Return a stored file as what it was when it was made: the inverse of `reference`."""
    fields = {name: getattr(ref, name) for name in Media.__struct_fields__ if hasattr(ref, name)}
    return msgspec.structs.replace(Media(path=path, media_type=""), **fields, metadata=ref.labels)
