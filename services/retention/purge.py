"""What a deleted campaign leaves behind goes: its records, its messages, never its charges.

    budget    closed, for ever: from here on the router takes in nothing of this campaign
    requests  one without a record is removed; one with a record is the router's, which tells it,
              books it and removes it: the campaign waits for that
    jobs      one that is not over is cancelled, and waited for; of one that is over go, in this
              order, its cache claim, its burial, its runs, and then its record, which leads to them
    events    last; answers to commands stay until EVENTS forgets them, for whoever still waits

Everything is removed by the sequence at which it was read, so that a late remove cannot hit
anything newer. A router or a coordinator that stood still all the while may add to it afterwards:
the sweep finds that, and purges again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog

from bus import direct, gate
from bus.records import Conflict, Record, Records
from contracts import events, subjects
from contracts.campaign import Cancel
from contracts.codec import encode
from contracts.governance import BudgetRecord
from contracts.jobs import CacheClaim, JobRecord, Run
from contracts.subjects import CAMPAIGN, Bucket, Stream

if TYPE_CHECKING:
    from bus.connection import Bus

log = structlog.get_logger(__name__)

WIDTH = 8
"""Records that go side by side: enough to be done soon, too few to be in anybody's way."""
ANSWERS = frozenset({events.CANCEL_RESULT, events.RERUN_RESULT, events.DELETE_RESULT, "conflict"})
"""First words of the events that answer a command about a campaign; they hold nothing of it."""


class Purged(NamedTuple):
    """How many requests are gone, and how many messages; `pending`: some requests are not over yet,
    look again soon.
    """

    requests: int = 0
    messages: int = 0
    pending: bool = False


class Purger:
    """Removes what belongs to a deleted campaign. May be repeated, and done by several at once.

    Every method raises UnknownOutcomeError when the server does not answer: begin again.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._budgets = Records(bus, Bucket.BUDGETS, BudgetRecord)
        self._jobs = Records(bus, Bucket.JOBS, JobRecord)
        self._runs = Records(bus, Bucket.RUNS, Run)
        self._claims = Records(bus, Bucket.CACHE, CacheClaim)

    async def campaign(self, key: str) -> Purged:
        """Purge a campaign whose record is a tombstone; `key` is `<tenant>.<campaign_id>`."""
        tenant, _, campaign_id = key.partition(".")
        await self.close(key)
        # Requests before records: one that gets its record in between is seen to have it.
        unfinished = await self._unfinished(tenant, campaign_id)
        jobs = {job.value.request_id: job for job in await self._jobs.under(key)}
        over, messages, pending = [], 0, False
        for request_id, sequence in unfinished.items():
            if request_id not in jobs:
                messages += await gate.remove(self._bus, Stream.REQUESTS, sequence)
        for request_id, job in jobs.items():
            if not job.value.state.terminal:
                cancel = subjects.cancel_job(tenant, campaign_id, request_id)
                await gate.publish_once(self._bus, cancel, encode(Cancel()))
                pending = True
            elif request_id in unfinished:
                pending = True
            else:
                over.append(job)
        await self._each_job(over)
        if not pending:
            for stream, pattern in (
                (Stream.EVENTS, subjects.campaign_events(tenant, campaign_id)),
                (Stream.PROGRESS, subjects.campaign_progress(tenant, campaign_id)),
            ):
                messages += await self._forget(stream, pattern)
        if over or messages:
            log.info("campaign.purged", campaign=key, requests=len(over), messages=messages)
        return Purged(len(over), messages, pending)

    async def close(self, key: str) -> None:
        """Close a campaign's budget; what its jobs have spent stays to be read."""
        while True:
            found = await self._budgets.get(key)
            if found is None:
                answer = await self._budgets.create(key, BudgetRecord(closed=True))
            elif found.value.closed:
                return
            else:
                closed = msgspec.structs.replace(found.value, closed=True)
                answer = await self._budgets.update(key, closed, found.revision)
            if not isinstance(answer, Conflict):
                return

    async def request(self, key: str) -> bool:
        """Purge one request that is over and told; False if it is not."""
        job = await self._jobs.get(key)
        if job is None:
            return False
        tenant, campaign_id, request_id = key.split(".")
        subject = subjects.request(tenant, job.value.capability, campaign_id, request_id)
        if not job.value.state.terminal or await gate.last(self._bus, Stream.REQUESTS, subject):
            return False
        # Its record goes last: as long as it is there, this is begun again.
        await self._forget(Stream.EVENTS, subjects.request_events(tenant, campaign_id, request_id))
        await self._forget(Stream.PROGRESS, subjects.progress(tenant, campaign_id, request_id))
        await self._job(job)
        return True

    async def orphan(self, key: str, revision: int) -> bool:
        """Remove a run whose job is gone: a worker created it that stood still meanwhile."""
        run = await self._runs.get(key)
        if run is None or await self._jobs.get(run.value.job_key) is not None:
            return False
        return await self._runs.delete(key, revision)

    async def claim(self, key: str, revision: int) -> bool:
        """Remove a cache claim whose leader is gone."""
        claim = await self._claims.get(key)
        if claim is None or await self._jobs.get(claim.value.leader) is not None:
            return False
        return await self._claims.delete(key, revision)

    async def _unfinished(self, tenant: str, campaign_id: str) -> dict[str, int]:
        """Return the sequences of a campaign's requests; a brief is the coordinator's to answer."""
        pattern = subjects.requests_under(tenant, campaign_id, "*")
        found = await direct.last_of_each(self._bus, Stream.REQUESTS, pattern)
        parts = [(m.subject.split("."), m.sequence) for m in found]
        return {names[5]: sequence for names, sequence in parts if names[3] != CAMPAIGN}

    async def _each_job(self, jobs: list[Record[JobRecord]]) -> None:
        width = asyncio.Semaphore(WIDTH)

        async def one(job: Record[JobRecord]) -> None:
            async with width:
                await self._job(job)

        await asyncio.gather(*map(one, jobs))

    async def _job(self, job: Record[JobRecord]) -> None:
        value = job.value
        if value.cache_key:
            # Before the job that it names: a hit believes a claim only after reading its leader.
            claim_key = subjects.cache_record_key(value.tenant, value.cache_key)
            claim = await self._claims.get(claim_key)
            if claim is not None and claim.value.leader == job.key:
                await self._claims.delete(claim_key, claim.revision)
        for service in sorted({value.service, *(a.service for a in value.tried)} - {""}):
            await self._forget(Stream.DEAD, subjects.dead(service, value.job_id))
            run = await self._runs.get(subjects.run_key(service, value.job_id))
            if run is not None:
                await self._runs.delete(run.key, run.revision)
        await self._jobs.delete(job.key, job.revision)

    async def _forget(self, stream: Stream, pattern: str) -> int:
        """Remove every message of a stream that matches, but answers to commands; count them."""
        removed = 0
        for message in await direct.last_of_each(self._bus, stream, pattern):
            if not (stream is Stream.EVENTS and is_answer(message.subject)):
                removed += await gate.remove(self._bus, stream, message.sequence)
        return removed


def is_answer(subject: str) -> bool:
    """Say whether an event answers a command about a whole campaign, or names an upload."""
    _, _, _, campaign_id, request_id, name, *_ = subject.split(".")
    return name == events.ASSET_RESULT or (campaign_id == request_id and name in ANSWERS)
