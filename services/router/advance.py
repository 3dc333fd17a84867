"""`advance(key)`: the whole router, as far as one job is concerned.

Look at what is, make the one step that `decide` names, look again; bounded. Every effect may be
repeated and every write is compared; a conflict forgets what was read; an unknown outcome leaves
through UnknownOutcomeError and whoever named the job names it again.

What this process wrote itself it believes without reading (`Memory`). That is the same as having
read it and then paused: a belief that is out of date meets a refused compare-and-set.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

from bus import metrics
from contracts import subjects
from contracts.codec import encode
from contracts.errors import AdgenxError
from contracts.jobs import CacheClaim, Job, JobRecord, Run
from services.router import telling
from services.router.admission import Admitted, Message, admit
from services.router.decide import (
    TAKEN,
    UNREAD,
    Facts,
    Read,
    Release,
    Rest,
    Seen,
    Step,
    TakeClaim,
    Tell,
    Unread,
    WriteJob,
    WriteRun,
    decide,
)
from services.router.landscape import Landscape
from services.router.stores import Stores, request_subject
from services.router.telling import Word

log = structlog.get_logger(__name__)

V = TypeVar("V")

STEPS = 40
"""An ordinary job needs 4 to 7; more than this is a livelock, and the sweep tries again."""
REMEMBERED = 20_000
"""Jobs whose records and messages are kept at hand."""


class Room(Protocol):
    """Says who may go into JOBS now."""

    def enter(self, service: str, job: JobRecord, admitted: Admitted, *, again: bool) -> bool:
        """Say whether the job may be published now; if not, it is remembered as waiting."""


class Memory:
    """What this process wrote or read of unfinished jobs, at most REMEMBERED of each kind."""

    def __init__(self) -> None:
        self.jobs: _Recent[Seen[JobRecord]] = _Recent()
        self.messages: _Recent[Message] = _Recent()
        self.admitted: _Recent[Admitted] = _Recent()
        self.claims: _Recent[str] = _Recent()
        self.created: _Recent[int] = _Recent()
        self.ended: _Recent[tuple[str, Seen[Run]]] = _Recent()

    def create(self, key: str, job: Seen[JobRecord]) -> None:
        """Remember a record that this process has just made: nobody can have run it yet."""
        self.jobs.put(key, job)
        self.created.put(key, job.revision)

    def end(self, run_key: str, run: Seen[Run]) -> None:
        """Remember an ended run, which never changes any more."""
        self.ended.put(run.value.job_key, (run_key, run))

    def run_of(self, key: str, job: Seen[JobRecord]) -> Seen[Run] | Unread | None:
        """Return what is known of a job's run without looking."""
        run_key, run = self.ended.get(key) or ("", None)
        if run is not None and run_key == subjects.run_key(job.value.service, job.value.job_id):
            return run
        if self.created.pop(key) == job.revision:
            return None
        return UNREAD

    def doubt(self, key: str) -> None:
        """Believe nothing of a job but its message, which cannot change."""
        for kept in (self.jobs, self.claims, self.created):
            kept.pop(key)

    def forget(self, key: str) -> None:
        """Forget a job that is told."""
        self.doubt(key)
        for kept in (self.messages, self.admitted, self.ended):
            kept.pop(key)


class Advancer:
    """Makes jobs go on. One call at a time for a key in one process; any number of processes.

    `changed(key, old, new)` is called after every change of a record that this process made.
    """

    def __init__(
        self,
        stores: Stores,
        room: Room,
        landscape: Callable[[], Landscape],
        changed: Callable[[str, JobRecord, JobRecord], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores = stores
        self._room = room
        self._landscape = landscape
        self._changed = changed
        self._clock = clock
        self.memory = Memory()

    async def advance(self, key: str, afresh: bool = False) -> Rest:  # noqa: FBT001, FBT002 - one callable for the desk
        """Take a job as far as it goes now. `afresh`: believe nothing, read everything."""
        if afresh:
            self.memory.doubt(key)
        facts = await self._look(key)
        for _ in range(STEPS):
            step = decide(facts)
            if isinstance(step, Rest):
                if step is Rest.TOLD:
                    self.memory.forget(key)
                return step
            if not await self._make(facts, step):
                self.memory.doubt(key)
                facts = await self._look(key)
            elif isinstance(step, Release):
                return Rest.WAITING
            elif isinstance(step, Tell):
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
        facts = Facts(key=key, job=known, landscape=self._landscape(), now=self._clock())
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
        match step:
            case Read():
                await self._read(facts, step)
                return True
            case WriteRun(run=run, revision=revision):
                facts.run = UNREAD
                key = subjects.run_key(facts.job.value.service, facts.job.value.job_id)
                if revision:
                    written = await self._stores.runs.update(key, run, revision)
                else:
                    written = await self._stores.runs.create(key, run)
                facts.run = Seen(run, written) if written else UNREAD
                return True
            case WriteJob(job=job):
                return await self._write_job(facts, facts.job, job)
            case TakeClaim(revision=revision):
                await self._take_claim(facts, facts.job.value, revision)
                return True
            case Release(again=again):
                await self._release(facts, facts.job.value, again=again)
                return True
            case Tell():
                await self._tell(facts, facts.job.value)
                return True
        raise AssertionError(step)

    async def _read(self, facts: Facts, what: Read) -> None:
        assert facts.job is not None
        job = facts.job.value
        match what:
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

    async def _write_job(self, facts: Facts, old: Seen[JobRecord], job: JobRecord) -> bool:
        revision = await self._stores.jobs.update(facts.key, job, old.revision)
        if revision is None:
            return False
        facts.job = Seen(job, revision)
        self.memory.jobs.put(facts.key, facts.job)
        self._changed(facts.key, old.value, job)
        facts.run = facts.claim = facts.leader = facts.outputs_there = UNREAD
        return True

    async def _take_claim(self, facts: Facts, job: JobRecord, revision: int) -> None:
        claim = CacheClaim(leader=facts.key)
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
        admitted = facts.admitted
        if admitted is None:  # only with a run: its message was not read yet
            await self._read(facts, Read.MESSAGE)
            admitted = facts.admitted
        if admitted is None or not self._room.enter(job.service, job, admitted, again=again):
            return
        await self._stores.publish_once(_work(job, admitted))
        metrics.ROUTER_RELEASES.add(job.service)

    async def _tell(self, facts: Facts, job: JobRecord) -> None:
        """Tell, book, and only then remove; repeated as a whole until the message is gone."""
        asked = facts.admitted.capability if facts.admitted and not job.request_hash else None
        result = self._stores.publish_once(telling.result(job, asked))
        booked = telling.charge(job)
        if booked is None:
            await result
        else:
            await self._stores.together(result, self._stores.publish_once(booked))
        assert not isinstance(facts.message_sequence, Unread)
        if facts.message_sequence is not None:
            await self._stores.remove(facts.message_sequence)


class _Recent(Generic[V]):
    """A dict that forgets the entry not written for the longest time."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, V] = OrderedDict()

    def get(self, key: str) -> V | None:
        return self._entries.get(key)

    def put(self, key: str, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)

    def pop(self, key: str) -> V | None:
        return self._entries.pop(key, None)


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
