"""What `advance` stands on: records by compare-and-set, gated streams, the requests themselves.

`Stores` is the whole of the router's outside world as far as one job is concerned, so that the
same driver runs on the server and on the double of the property test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol, TypeVar

from bus import gate
from bus.gate import Outcome
from bus.records import Conflict, Records
from contracts import subjects
from contracts.jobs import CacheClaim, JobRecord, Run
from contracts.subjects import Bucket, Stream
from services.router.admission import Message
from services.router.decide import Seen
from services.router.telling import Word

if TYPE_CHECKING:
    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from contracts.artifacts import ArtifactRef

R = TypeVar("R")


class Table(Protocol[R]):
    """The records of one bucket. Writing returns the new revision, or None on a conflict."""

    async def get(self, key: str) -> Seen[R] | None:
        """Return the record, or None."""

    async def create(self, key: str, value: R) -> int | None:
        """Write the first value of a key."""

    async def update(self, key: str, value: R, revision: int) -> int | None:
        """Replace the value if the record is still at this revision."""


class Stores(Protocol):
    """Everything a router reads and writes. Any call may raise UnknownOutcomeError: start over."""

    @property
    def jobs(self) -> Table[JobRecord]:
        """The router's own records, by `<tenant>.<campaign_id>.<request_id>`."""

    @property
    def runs(self) -> Table[Run]:
        """The workers' records, by `<service>.<job_id>`."""

    @property
    def cache(self) -> Table[CacheClaim]:
        """Claims, by `<tenant>.<cache_key>`."""

    async def publish_once(self, word: Word) -> None:
        """Store a message unless its subject has one; return when one is there for certain."""

    async def message(self, subject: str) -> Message | None:
        """Return the message of REQUESTS under a subject."""

    async def remove(self, sequence: int) -> None:
        """Remove one message of REQUESTS."""

    async def exist(self, outputs: list[ArtifactRef]) -> bool:
        """Say whether every one of these objects is in the store."""

    async def together(self, first: Awaitable[None], second: Awaitable[None]) -> None:
        """Do two independent things side by side; raise what either raises."""


class ServerTable(Table[R]):
    """A table on the server."""

    def __init__(self, records: Records[R]) -> None:
        self._records = records

    async def get(self, key: str) -> Seen[R] | None:
        """Return the record, or None."""
        found = await self._records.get(key)
        return Seen(found.value, found.revision) if found else None

    async def create(self, key: str, value: R) -> int | None:
        """Write the first value of a key."""
        return _revision(await self._records.create(key, value))

    async def update(self, key: str, value: R, revision: int) -> int | None:
        """Replace the value if the record is still at this revision."""
        return _revision(await self._records.update(key, value, revision))


class ServerStores(Stores):
    """The stores on NATS and S3."""

    def __init__(self, bus: Bus, artifacts: Artifacts) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._jobs = ServerTable(Records(bus, Bucket.JOBS, JobRecord))
        self._runs = ServerTable(Records(bus, Bucket.RUNS, Run))
        self._cache = ServerTable(Records(bus, Bucket.CACHE, CacheClaim))

    @property
    def jobs(self) -> Table[JobRecord]:
        """The router's own records."""
        return self._jobs

    @property
    def runs(self) -> Table[Run]:
        """The workers' records."""
        return self._runs

    @property
    def cache(self) -> Table[CacheClaim]:
        """Claims."""
        return self._cache

    async def publish_once(self, word: Word) -> None:
        """Store a message unless its subject has one."""
        published = await gate.publish_once(self._bus, word.subject, word.body)
        assert published.outcome in Outcome

    async def message(self, subject: str) -> Message | None:
        """Return the message of REQUESTS under a subject."""
        found = await gate.last(self._bus, Stream.REQUESTS, subject)
        return (
            Message(found.subject, found.data, found.sequence, found.stored_at) if found else None
        )

    async def remove(self, sequence: int) -> None:
        """Remove one message of REQUESTS."""
        await gate.remove(self._bus, Stream.REQUESTS, sequence)

    async def exist(self, outputs: list[ArtifactRef]) -> bool:
        """Say whether every one of these objects is in the store."""
        stats = await asyncio.gather(*(self._artifacts.stat(ref.key) for ref in outputs))
        return all(stat is not None for stat in stats)

    async def together(self, first: Awaitable[None], second: Awaitable[None]) -> None:
        """Do two independent things side by side."""
        await asyncio.gather(first, second)


def request_subject(job: JobRecord) -> str:
    """Return the subject under which a job's message stands in REQUESTS."""
    return subjects.request(job.tenant, job.capability, job.campaign_id, job.request_id)


def _revision(answer: int | Conflict) -> int | None:
    return None if isinstance(answer, Conflict) else answer
