"""`advance(key)`: the whole router, as far as one job is concerned.

Look at what is, make the one step that `decide` names, look again; bounded. Every effect may be
repeated and every write is compared; a conflict forgets what was read; an unknown outcome leaves
through UnknownOutcomeError and whoever named the job names it again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import structlog

from bus import metrics
from contracts import subjects
from contracts.capability import Capability
from contracts.codec import encode
from contracts.errors import AdgenxError
from contracts.governance import Limit
from contracts.identity import NO_CAMPAIGN
from contracts.jobs import CacheClaim, Job, JobRecord, Run
from services.router import telling
from services.router.admission import Admitted, Message, admit
from services.router.budgets import Answer
from services.router.caching import claim_of
from services.router.decide import decide
from services.router.facts import (
    TAKEN,
    UNREAD,
    Ask,
    Erase,
    Facts,
    Held,
    Read,
    Release,
    Reserve,
    Rest,
    Seen,
    Step,
    TakeClaim,
    Tell,
    Unread,
    WriteJob,
    WriteRun,
)
from services.router.landscape import Landscape
from services.router.memory import Memory
from services.router.stores import Stores, request_subject
from services.router.telling import Word

log = structlog.get_logger(__name__)

STEPS = 50
"""An ordinary job needs 7 to 10; more than this is a livelock, and the sweep tries again."""


class Room(Protocol):
    """Says who may go into JOBS now."""

    def enter(self, service: str, job: JobRecord, admitted: Admitted, *, again: bool) -> bool:
        """Say whether the job may be published now; if not, it is remembered as waiting."""

    def hand_back(self, service: str, job: JobRecord, admitted: Admitted) -> None:
        """Let a job wait again that was let in, and could not be published for another reason."""


class Money(Protocol):
    """Says who may spend (budgets.py)."""

    async def closed(self, tenant: str, campaign_id: str) -> bool:
        """Say whether a campaign was deleted."""

    async def reserve(self, key: str, job: Seen[JobRecord], limit: Limit | None) -> Answer:
        """Reserve a job's price."""


async def _no_breaker(_service: str, _job_id: str) -> bool:
    return True


def _for_ever(_: Capability) -> float:
    return float("inf")


def _nobody(_key: str, _old: JobRecord, _new: JobRecord) -> None:
    return


class Governance(NamedTuple):
    """What a job has to go by, beside the stores.

    `passage(service, job_id)` asks the circuit breaker; `keep_seconds(capability)` is how long an
    output stays in the cache. `changed(key, old, new)` is called after every change of a record
    that this process made.
    """

    room: Room
    money: Money
    landscape: Callable[[], Landscape]
    passage: Callable[[str, str], Awaitable[bool]] = _no_breaker
    keep_seconds: Callable[[Capability], float] = _for_ever
    changed: Callable[[str, JobRecord, JobRecord], None] = _nobody
    clock: Callable[[], float] = time.time


class Advancer:
    """Makes jobs go on. One call at a time for a key in one process; any number of processes."""

    def __init__(self, stores: Stores, governance: Governance) -> None:
        self._stores = stores
        self._by = governance
        self.memory = Memory()

    async def advance(self, key: str, afresh: bool = False) -> Rest:  # noqa: FBT001, FBT002 - one callable for the desk
        """Take a job as far as it goes now. `afresh`: believe nothing, read everything."""
        if afresh:
            self.memory.doubt(key)
        facts = await self._look(key)
        for _ in range(STEPS):
            step = decide(facts)
            if isinstance(step, Rest):
                self._rest(facts, step)
                return step
            if not await self._make(facts, step):
                self.memory.doubt(key)
                facts = await self._look(key)
            elif isinstance(step, Release):
                return Rest.WAITING
            elif isinstance(step, Tell | Erase):
                self.memory.forget(key)
                return Rest.TOLD
        log.error("job.unsettled", key=key, steps=STEPS)
        return Rest.WAITING

    async def _look(self, key: str) -> Facts:
        known = self.memory.jobs.get(key)
        if known is None:
            known = await self._stores.jobs.get(key)
            if known is not None:
                self.memory.jobs.put(key, known)
        by = self._by
        facts = Facts(key=key, job=known, landscape=by.landscape(), now=by.clock())
        if known is not None:
            facts.keep_seconds = by.keep_seconds(known.value.capability)
            free = known.value.campaign_id == NO_CAMPAIGN
            facts.closed = False if free or self.memory.open.get(key) else UNREAD
        message = self.memory.messages.get(key)
        if message is not None:
            facts.message_sequence = message.sequence
            facts.admitted = self._understand(key, message)
        if known is not None:
            facts.run = self.memory.run_of(key, known)
        if known is not None and self.memory.claims.get(key) == known.value.cache_key:
            # Revision 0 is never compared with: one's own claim is not written again.
            facts.claim = Seen(CacheClaim(leader=key), 0)
        return facts

    async def _make(self, facts: Facts, step: Step) -> bool:
        """Make one step; False when somebody else was faster and everything must be read again."""
        assert facts.job is not None
        job = facts.job.value
        match step:
            case WriteJob(job=new):
                return await self._write_job(facts, facts.job, new)
            case Reserve():
                return await self._reserve(facts, facts.job)
            case Erase():
                return await self._erase(facts, facts.job)
            case Read():
                await self._read(facts, step)
            case Ask():
                await self._ask(facts, job, step)
            case WriteRun(run=run, revision=revision):
                await self._write_run(facts, job, run, revision)
            case TakeClaim(revision=revision):
                await self._take_claim(facts, job, revision)
            case Release(again=again):
                await self._release(facts, job, again=again)
            case Tell():
                await self._tell(facts, job)
        return True

    def _rest(self, facts: Facts, rest: Rest) -> None:
        """Put away what a job that goes no further now held on to."""
        if rest is Rest.TOLD:
            self.memory.forget(facts.key)
        elif facts.place is True and facts.job is not None and facts.admitted is not None:
            self._by.room.hand_back(facts.job.value.service, facts.job.value, facts.admitted)

    async def _ask(self, facts: Facts, job: JobRecord, what: Ask) -> None:
        match what:
            case Ask.PLACE:
                assert facts.admitted is not None
                room = self._by.room
                facts.place = room.enter(job.service, job, facts.admitted, again=False)
            case Ask.PASSAGE:
                facts.passage = await self._by.passage(job.service, job.job_id)

    async def _reserve(self, facts: Facts, job: Seen[JobRecord]) -> bool:
        limit = facts.admitted.request.budget if facts.admitted else None
        answer = await self._by.money.reserve(facts.key, job, limit)
        if answer is Held.CLOSED:
            facts.closed = True
        facts.money = answer
        return answer is not Held.MOVED

    async def _read(self, facts: Facts, what: Read) -> None:
        assert facts.job is not None
        job = facts.job.value
        match what:
            case Read.CLOSED:
                await self._read_closed(facts, job)
            case Read.RUN:
                facts.run = await self._stores.runs.get(subjects.run_key(job.service, job.job_id))
            case Read.CLAIM:
                facts.claim = await self._stores.cache.get(_claim_key(job))
                if isinstance(facts.claim, Seen) and facts.claim.value.leader == facts.key:
                    self.memory.claims.put(facts.key, job.cache_key)
            case Read.LEADER:
                leader = job.leader
                if isinstance(facts.claim, Seen):
                    leader = facts.claim.value.leader
                facts.leader = await self._stores.jobs.get(leader)
            case Read.OUTPUTS:
                assert isinstance(facts.leader, Seen)
                facts.outputs_there = await self._stores.exist(facts.leader.value.outputs)
            case Read.MESSAGE:
                message = await self._stores.message(request_subject(job))
                facts.message_sequence = message.sequence if message else None
                if message is not None:
                    self.memory.messages.put(facts.key, message)
                    facts.admitted = self._understand(facts.key, message)

    async def _read_closed(self, facts: Facts, job: JobRecord) -> None:
        facts.closed = await self._by.money.closed(job.tenant, job.campaign_id)
        if not facts.closed:
            self.memory.see_open(facts.key)

    def _understand(self, key: str, message: Message) -> Admitted | None:
        """Return the message as a request, or None if it never was one."""
        known = self.memory.admitted.get(key)
        if known is None or known.message.sequence != message.sequence:
            try:
                known = admit(message)
            except AdgenxError:
                return None
            self.memory.admitted.put(key, known)
        return known

    async def _write_run(self, facts: Facts, job: JobRecord, run: Run, revision: int) -> None:
        key = subjects.run_key(job.service, job.job_id)
        if revision:
            written = await self._stores.runs.update(key, run, revision)
        else:
            written = await self._stores.runs.create(key, run)
        # Refused: there is another truth by now, which is read next.
        facts.run = Seen(run, written) if written else UNREAD

    async def _write_job(self, facts: Facts, old: Seen[JobRecord], job: JobRecord) -> bool:
        revision = await self._stores.jobs.update(facts.key, job, old.revision)
        if revision is None:
            return False
        facts.job = Seen(job, revision)
        self.memory.jobs.put(facts.key, facts.job)
        self._by.changed(facts.key, old.value, job)
        facts.run = facts.claim = facts.leader = facts.outputs_there = UNREAD
        facts.place = facts.passage = facts.money = UNREAD
        return True

    async def _take_claim(self, facts: Facts, job: JobRecord, revision: int) -> None:
        claim = claim_of(facts.key, job, facts.admitted, facts.now)
        if revision:
            written = await self._stores.cache.update(_claim_key(job), claim, revision)
        else:
            written = await self._stores.cache.create(_claim_key(job), claim)
        facts.leader = facts.outputs_there = UNREAD
        if written is None:
            facts.claim = TAKEN
            return
        facts.claim = Seen(claim, written)
        self.memory.claims.put(facts.key, job.cache_key)

    async def _release(self, facts: Facts, job: JobRecord, *, again: bool) -> None:
        assert facts.admitted is not None
        if again:
            self._by.room.enter(job.service, job, facts.admitted, again=True)
        await self._stores.publish_once(_work(job, facts.admitted))
        metrics.ROUTER_RELEASES.add(job.service)

    async def _erase(self, facts: Facts, job: Seen[JobRecord]) -> bool:
        """Remove the record, and only then the message that would make it anew."""
        await self._erase_runs(facts.key, job.value)
        if not await self._stores.jobs.delete(facts.key, job.revision):
            return False
        assert not isinstance(facts.message_sequence, Unread)
        if facts.message_sequence is not None:
            await self._stores.remove(facts.message_sequence)
        log.info("job.erased", key=facts.key)
        return True

    async def _erase_runs(self, key: str, job: JobRecord) -> None:
        """Remove what a record leads to: its runs, and its claim on the cache."""
        for service in {job.service, *(attempt.service for attempt in job.tried)} - {""}:
            run_key = subjects.run_key(service, job.job_id)
            run = await self._stores.runs.get(run_key)
            if run is not None:
                await self._stores.runs.delete(run_key, run.revision)
        claim = await self._stores.cache.get(_claim_key(job)) if job.cache_key else None
        if claim is not None and claim.value.leader == key:
            await self._stores.cache.delete(_claim_key(job), claim.revision)

    async def _tell(self, facts: Facts, job: JobRecord) -> None:
        """Tell, book, and only then remove; repeated as a whole until the message is gone."""
        asked = facts.admitted.capability if facts.admitted and not job.request_hash else None
        words = [telling.result(job, asked), *self._unheralded(facts, job)]
        booked = telling.charge(job)
        if booked is not None:
            words.append(booked)
        await self._stores.publish_all(words)
        assert not isinstance(facts.message_sequence, Unread)
        if facts.message_sequence is not None:
            await self._stores.remove(facts.message_sequence)

    def _unheralded(self, facts: Facts, job: JobRecord) -> list[Word]:
        """Return a request's first events unless they are known to be stored: whoever was to tell
        them may have died.
        """
        if facts.admitted is None or not job.request_hash or facts.closed is True:
            return []
        if self.memory.heralded.get(facts.key):
            return []
        return telling.heralds(job, facts.admitted.request, [])


def _claim_key(job: JobRecord) -> str:
    return subjects.cache_record_key(job.tenant, job.cache_key)


def _work(job: JobRecord, admitted: Admitted) -> Word:
    """Return the work message; its words are the request's, and who does it the record's."""
    work = Job(
        job_id=job.job_id,
        tenant=job.tenant,
        campaign_id=job.campaign_id,
        request_id=job.request_id,
        service=job.service,
        request=admitted.request,
        deadline_at=admitted.deadline_at,
        labels=job.labels,
    )
    return Word(subjects.job(job.service, job.job_id), encode(work))
