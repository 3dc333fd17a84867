"""What `advance` stands on: records by compare-and-set, gated streams, the requests themselves.

`Stores` is the whole of the router's outside world as far as one job is concerned, so that the
same driver runs on the server and on the double of the property test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import msgspec

from bus import gate
from bus.direct import last_of_each
from bus.gate import Outcome
from bus.listing import subjects_in
from bus.records import Conflict, Records
from contracts import subjects
from contracts.errors import InvalidIdError
from contracts.governance import BudgetRecord
from contracts.jobs import CacheClaim, JobRecord, Run
from contracts.ledger import Charge
from contracts.subjects import Bucket, Stream
from services.router.admission import Message
from services.router.facts import Seen
from services.router.telling import Word

if TYPE_CHECKING:
    from bus.artifacts import Artifacts
    from bus.connection import Bus
    from contracts.artifacts import ArtifactRef

R = TypeVar("R")

_CHARGE = subjects.charge("", "", "").rstrip(".") + "."
_charges = msgspec.json.Decoder(Charge)


class Past(NamedTuple):
    """A tenant's spending so far: `spent` (US dollars) is the sum of its ledger. By job keys:
    `reserved` with a campaign, and `unfinished`, both without what is in that sum.
    """

    spent: float
    reserved: frozenset[str]
    unfinished: frozenset[str]


class Table(Protocol[R]):
    """The records of one bucket. Writing returns the new revision, or None on a conflict."""

    async def get(self, key: str) -> Seen[R] | None:
        """Return the record, or None."""

    async def create(self, key: str, value: R) -> int | None:
        """Write the first value of a key."""

    async def update(self, key: str, value: R, revision: int) -> int | None:
        """Replace the value if the record is still at this revision."""

    async def delete(self, key: str, revision: int) -> bool:
        """Remove this very revision; False if the record has moved on or is gone."""

    async def each(self, keys: Sequence[str]) -> dict[str, Seen[R]]:
        """Return those of the records that exist, side by side, not as of one instant."""


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

    @property
    def budgets(self) -> Table[BudgetRecord]:
        """Budgets, by `<tenant>.<campaign_id>`, and by `<tenant>` where it has a limit."""

    async def publish_once(self, word: Word) -> None:
        """Store a message unless its subject has one; return when one is there for certain."""

    async def message(self, subject: str) -> Message | None:
        """Return the message of REQUESTS under a subject."""

    async def remove(self, sequence: int) -> None:
        """Remove one message of REQUESTS."""

    async def exist(self, outputs: list[ArtifactRef]) -> bool:
        """Say whether every one of these objects is in the store."""

    async def publish_all(self, words: Sequence[Word]) -> None:
        """Publish independent messages once each, side by side; raise what any of them raises."""

    async def reserving(self) -> list[str]:
        """Return the keys of all budgets in which something is reserved."""

    async def booked(self, key: str) -> float:
        """Return what the ledger says that a job was charged, by the key of its record."""

    async def past(self, tenant: str) -> Past:
        """Return what a tenant has spent and may yet spend without its own budget's knowing."""


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

    async def delete(self, key: str, revision: int) -> bool:
        """Remove this very revision; False if the record has moved on or is gone."""
        return await self._records.delete(key, revision)

    async def each(self, keys: Sequence[str]) -> dict[str, Seen[R]]:
        """Return those of the records that exist."""
        found = await asyncio.gather(*map(self.get, keys))
        return {key: seen for key, seen in zip(keys, found, strict=True) if seen is not None}


class ServerStores(Stores):
    """The stores on NATS and S3."""

    def __init__(self, bus: Bus, artifacts: Artifacts) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._jobs = ServerTable(Records(bus, Bucket.JOBS, JobRecord))
        self._runs = ServerTable(Records(bus, Bucket.RUNS, Run))
        self._cache = ServerTable(Records(bus, Bucket.CACHE, CacheClaim))
        self._all_budgets = Records(bus, Bucket.BUDGETS, BudgetRecord)
        self._budgets = ServerTable(self._all_budgets)

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

    @property
    def budgets(self) -> Table[BudgetRecord]:
        """Budgets."""
        return self._budgets

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

    async def publish_all(self, words: Sequence[Word]) -> None:
        """Publish independent messages once each, side by side."""
        await asyncio.gather(*map(self.publish_once, words))

    async def reserving(self) -> list[str]:
        """Return the keys of all budgets in which something is reserved."""
        found: list[str] = []
        async for page in self._all_budgets.pages():
            found += [record.key for record in page if record.value.reserved]
        return found

    async def booked(self, key: str) -> float:
        """Return what the ledger says that a job was charged."""
        found = await gate.last(self._bus, Stream.LEDGER, subjects.charge(*key.split(".")))
        return _charges.decode(found.data).amount if found else 0.0

    async def past(self, tenant: str) -> Past:
        """Return what a tenant has spent and may yet spend without its own budget's knowing.

        What is unfinished is listed before the ledger is: its message leaves REQUESTS only after
        its charge is booked, so that whatever is in neither list cannot be charged any more.
        """
        asked = await subjects_in(self._bus, Stream.REQUESTS, subjects.requests_of(tenant))
        unfinished = {key for key in map(job_key_of, asked) if key}
        reserved: set[str] = set()
        for record in await self._all_budgets.under(tenant):
            reserved |= record.value.reserved.keys()
        entries = await last_of_each(self._bus, Stream.LEDGER, subjects.charges_of(tenant))
        booked = {e.subject.removeprefix(_CHARGE): _charges.decode(e.data).amount for e in entries}
        return Past(
            spent=sum(booked.values()),
            reserved=frozenset(reserved - booked.keys()),
            unfinished=frozenset(unfinished - booked.keys()),
        )


def request_subject(job: JobRecord) -> str:
    """Return the subject under which a job's message stands in REQUESTS."""
    return subjects.request(job.tenant, job.capability, job.campaign_id, job.request_id)


def job_key_of(subject: str) -> str:
    """Return the key of the record that a message of REQUESTS has, empty for one that has none."""
    try:
        ids = subjects.parse_request(subject)
    except InvalidIdError:
        return ""
    if ids.token == subjects.CAMPAIGN:
        return ""
    return subjects.job_key(ids.tenant, ids.campaign_id, ids.request_id)


def _revision(answer: int | Conflict) -> int | None:
    return None if isinstance(answer, Conflict) else answer
