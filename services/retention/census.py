"""One walk over all records and messages: what they name, and what has had its time.

Buckets and streams are read page by page in the order of their sequences; of each page only names,
keys and hashes are kept, so that a hundred thousand records cost under twenty megabytes. A record
that changes meanwhile moves behind the walker, and so cannot be missed. What is found here is but
a hint: whoever removes something reads it once more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import structlog

from bus import direct
from bus.gate import StoredMessage
from bus.records import stream_of, subject_of
from contracts import events, subjects
from contracts.artifacts import receipt_key
from contracts.assets import UploadRecord
from contracts.campaign import CampaignState
from contracts.governance import BudgetRecord
from contracts.identity import NO_CAMPAIGN
from contracts.jobs import CacheClaim, JobState, RunState
from contracts.segments import SegmentRecord
from contracts.subjects import Bucket, Stream
from contracts.webhooks import DeliveryRecord, DeliveryState
from services.retention.collect import Mark
from services.retention.names import Names

if TYPE_CHECKING:
    from bus.artifacts import Artifacts
    from bus.connection import Bus

log = structlog.get_logger(__name__)

T = TypeVar("T")

PAGE = 500
MOST = 10_000
"""So many of a kind go in one sweep; the next one goes on."""
DELIVERED_SECONDS = 7 * 24 * 3600.0


class Entry(NamedTuple):
    """A record by its key, at the revision that was read."""

    key: str
    revision: int


class _Campaign(msgspec.Struct):
    state: CampaignState
    ended_at: float = 0.0
    delete_wanted: bool = False


class _Job(msgspec.Struct):
    state: JobState
    ended_at: float = 0.0


class _Run(msgspec.Struct):
    state: RunState
    job_key: str


class _Work(msgspec.Struct):
    tenant: str
    campaign_id: str

    @property
    def campaign(self) -> str:
        return subjects.campaign_key(self.tenant, self.campaign_id)


class _Buried(msgspec.Struct):
    job: _Work


_campaign = msgspec.json.Decoder(_Campaign)
_job = msgspec.json.Decoder(_Job)
_run = msgspec.json.Decoder(_Run)
_buried = msgspec.json.Decoder(_Buried)
_claim = msgspec.json.Decoder(CacheClaim)
_budget = msgspec.json.Decoder(BudgetRecord)
_upload = msgspec.json.Decoder(UploadRecord)
_segment = msgspec.json.Decoder(SegmentRecord)
_delivery = msgspec.json.Decoder(DeliveryRecord)


class Limits(NamedTuple):
    """What is too old: `ended_before` for campaigns and requests (0: they are kept for ever),
    `unused_before` for uploads that never came, `delivered_before` for webhook deliveries. Unix
    seconds.
    """

    ended_before: float
    unused_before: float
    delivered_before: float


class Census:
    """What one walk has found. `deleted` maps campaigns to when they were deleted; `remains` are
    those of them that something still belongs to; `live_receipts` may still be adopted.
    """

    def __init__(self, began_at: float) -> None:
        self.mark = Mark(Names(), began_at)
        self.deleted: dict[str, float] = {}
        self.remains: set[str] = set()
        self.unclosed: set[str] = set()
        self.expired_campaigns: list[str] = []
        self.expired_requests: list[str] = []
        self.orphans: list[Entry] = []
        self.claims: list[Entry] = []
        self.uploads: list[Entry] = []
        self.deliveries: list[Entry] = []
        self.segments: list[Entry] = []
        self.burials: list[int] = []
        self.promised: set[str] = set()
        self.live_receipts: set[str] = set()
        self._jobs: set[int] = set()

    def saw_job(self, key: str) -> None:
        """Remember that a job has a record."""
        self._jobs.add(hash(key))

    def knows_job(self, key: str) -> bool:
        """Say whether a job has a record; now and then it says so of one that has none."""
        return hash(key) in self._jobs


class Counter:
    """Takes a census; `rest` is waited for between pages."""

    def __init__(
        self,
        bus: Bus,
        artifacts: Artifacts,
        clock: Callable[[], float],
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._clock = clock
        self._rest = rest

    async def count(self, limits: Limits) -> Census:
        """Walk over everything once. The campaigns come first: what belongs to a deleted one names
        nothing; jobs come before what points to them.
        """
        census = Census(self._clock())
        await self._campaigns(census, limits)
        await self._budgets(census)
        await self._jobs(census, limits)
        await self._runs(census)
        await self._claims(census)
        await self._messages(census)
        await self._uploads(census, limits)
        await self._deliveries(census, limits)
        await self._segments(census)
        await self._receipts(census)
        return census

    async def mark(self) -> Mark:
        """Read all names anew."""
        return (await self.count(Limits(0, 0, 0))).mark

    async def _campaigns(self, census: Census, limits: Limits) -> None:
        async for key, message in self._records(Bucket.CAMPAIGNS):
            campaign = _read(_campaign, message)
            if campaign is not None and campaign.state is CampaignState.DELETED:
                census.deleted[key] = campaign.ended_at
                continue
            census.mark.names.add_from(message.data)
            if campaign is None or campaign.delete_wanted or not campaign.state.terminal:
                continue
            if campaign.ended_at < limits.ended_before:
                _add(census.expired_campaigns, key)

    async def _budgets(self, census: Census) -> None:
        census.unclosed = set(census.deleted)
        async for key, message in self._records(Bucket.BUDGETS):
            budget = _read(_budget, message)
            if budget is not None and budget.closed:
                census.unclosed.discard(key)

    async def _jobs(self, census: Census, limits: Limits) -> None:
        async for key, message in self._records(Bucket.JOBS):
            census.saw_job(key)
            if self._of_deleted(census, key):
                continue
            census.mark.names.add_from(message.data)
            if limits.ended_before and key.split(".")[1] == NO_CAMPAIGN:
                job = _read(_job, message)
                if job and job.state.terminal and job.ended_at < limits.ended_before:
                    _add(census.expired_requests, key)

    async def _runs(self, census: Census) -> None:
        async for key, message in self._records(Bucket.RUNS):
            run = _read(_run, message)
            if run is None:
                census.mark.names.add_from(message.data)
                continue
            if not census.knows_job(run.job_key):
                _add(census.orphans, Entry(key, message.sequence))
            if self._of_deleted(census, run.job_key):
                continue
            census.mark.names.add_from(message.data)
            if not run.state.terminal:
                service, _, job_id = key.partition(".")
                tenant = run.job_key.partition(".")[0]
                census.live_receipts.add(receipt_key(tenant, service, job_id))

    async def _claims(self, census: Census) -> None:
        async for key, message in self._records(Bucket.CACHE):
            claim = _read(_claim, message)
            if claim is not None and not census.knows_job(claim.leader):
                _add(census.claims, Entry(key, message.sequence))

    async def _messages(self, census: Census) -> None:
        """Read what is under way: its inputs are named by nothing else."""
        names = census.mark.names
        async for message in self._walk(Stream.REQUESTS, subjects.all_requests()):
            _, _, tenant, token, campaign_id, *_ = message.subject.split(".")
            key = subjects.campaign_key(tenant, campaign_id)
            if token != subjects.CAMPAIGN and key in census.deleted:
                census.remains.add(key)
            else:
                names.add_from(message.data)
        for stream, pattern in (
            *((Stream.CONTROL, pattern) for pattern in subjects.control_patterns()),
            (Stream.JOBS, subjects.all_jobs()),
            (Stream.EVENTS, subjects.event("*", "*", "*", events.ASSET_RESULT)),
        ):
            async for message in self._walk(stream, pattern):
                names.add_from(message.data)
        async for message in self._walk(Stream.DEAD, subjects.dead("*", "*")):
            found = _read(_buried, message)
            if found is not None and found.job.campaign in census.deleted:
                _add(census.burials, message.sequence)
            else:
                names.add_from(message.data)

    async def _uploads(self, census: Census, limits: Limits) -> None:
        async for key, message in self._records(Bucket.UPLOADS):
            census.promised.add(key)
            upload = _read(_upload, message)
            if upload is not None and upload.expires_at < limits.unused_before:
                _add(census.uploads, Entry(key, message.sequence))

    async def _deliveries(self, census: Census, limits: Limits) -> None:
        async for key, message in self._records(Bucket.DELIVERIES):
            delivery = _read(_delivery, message)
            if delivery is None or delivery.state is DeliveryState.PENDING:
                continue
            campaign = ".".join(delivery.subject.split(".")[2:4])
            delivered = delivery.state is DeliveryState.DELIVERED
            old = delivered and delivery.ended_at < limits.delivered_before
            if old or campaign in census.deleted:
                _add(census.deliveries, Entry(key, message.sequence))

    async def _segments(self, census: Census) -> None:
        """Read what workers have kept of long jobs: it goes with time, and with its campaign."""
        async for key, message in self._records(Bucket.SEGMENTS):
            segment = _read(_segment, message)
            if segment is not None and (
                segment.expires_at <= census.mark.began_at
                or segment.job_key.rpartition(".")[0] in census.deleted
            ):
                _add(census.segments, Entry(key, message.sequence))
            else:
                census.mark.names.add_from(message.data)

    async def _receipts(self, census: Census) -> None:
        """Read the receipts of what is under way: they name what no run names yet."""
        for key in census.live_receipts:
            tenant, _, service, job_id = key.split("/")
            body = await self._artifacts.get_receipt(tenant, service, job_id)
            if body is not None:
                census.mark.names.add_from(body)

    def _of_deleted(self, census: Census, job_key: str) -> bool:
        campaign = job_key.rpartition(".")[0]
        if campaign in census.deleted:
            census.remains.add(campaign)
            return True
        return False

    async def _records(self, bucket: Bucket) -> AsyncIterator[tuple[str, StoredMessage]]:
        prefix = subject_of(bucket, "")
        async for message in self._walk(stream_of(bucket), f"{prefix}>"):
            if message.data:  # a person's `nats kv del` leaves a marker without any
                yield message.subject.removeprefix(prefix), message

    async def _walk(self, stream: str, pattern: str) -> AsyncIterator[StoredMessage]:
        sequence = 0
        while True:
            page = await direct.after(self._bus, stream, pattern, sequence, PAGE)
            for message in page:
                yield message
            if not page:
                return
            sequence = page[-1].sequence
            await self._rest()


def _read(decoder: msgspec.json.Decoder[T], message: StoredMessage) -> T | None:
    """Decode a record; one that a person has damaged keeps what it names, and is left alone."""
    try:
        return decoder.decode(message.data)
    except msgspec.DecodeError as error:
        log.warning("record.unreadable", subject=message.subject, error=str(error))
        return None


def _add(found: list[T], entry: T) -> None:
    if len(found) < MOST:
        found.append(entry)
