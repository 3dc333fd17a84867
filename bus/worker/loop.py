"""A worker: one delivery, one claim, one verdict. Steps 8 to 14 of the job protocol.

The parent process only talks to the bus and the store, so that its heartbeats never stop; the
model works in a process of its own. Nothing here decides what an outcome means: see verdict.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog

from bus import gate, metrics, telemetry, topology, tracing
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.consume import Delivery, ack, consume, nak
from bus.records import Conflict, Records, check_key
from bus.worker import verdict
from bus.worker.announcing import Announcer
from bus.worker.attempt import Attempt, Bench
from bus.worker.folder import ServiceFolder, engine_revision
from bus.worker.holding import Claim, Hold, Holding
from bus.worker.readiness import Readiness
from bus.worker.spool import Spool
from bus.worker.state import either
from bus.worker.verdict import Act, Failed, Outcome, Refused, Returned, Verdict, Worker
from contracts import subjects
from contracts.codec import encode
from contracts.errors import UnsupportedVersionError
from contracts.jobs import Buried, Job, JobRecord, Run
from contracts.subjects import Bucket, Stream

log = structlog.get_logger(__name__)

NAK_SECONDS = 0.2
MAX_PENDING = 256
"""Deliveries of one service in all its workers' hands; each worker asks only for what it can do."""


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of a job whose request cannot be read."""

    job_id: str
    tenant: str
    campaign_id: str
    request_id: str

    @property
    def key(self) -> str:
        """Key of the JobRecord."""
        return subjects.job_key(self.tenant, self.campaign_id, self.request_id)


_job = msgspec.json.Decoder(Job)
_head = msgspec.json.Decoder(_Head)
_UNREADABLE = (ValueError, RecursionError)
"""Whatever bytes can do to a decoder; msgspec's own errors and broken UTF-8 are ValueErrors."""

J = TypeVar("J", Job, _Head)


def _read(decoder: msgspec.json.Decoder[J], data: bytes) -> J:
    """Decode a job message; one with ids that no key can hold is unreadable too."""
    job = decoder.decode(data)
    check_key(job.key)
    check_key(job.job_id)
    return job


class Loop:
    """Serves one service with as many jobs at once as its manifest allows."""

    def __init__(self, bus: Bus, bench: Bench) -> None:
        self._bus = bus
        self._bench = bench
        self._name = bench.service.name
        self._runs = Records(bus, Bucket.RUNS, Run)
        self._jobs = Records(bus, Bucket.JOBS, JobRecord)
        self._holding = Holding(bus, self._name, self._still_mine)
        self._bell = bench.state.bell()
        self.busy = 0

    async def run(self) -> None:
        """Take jobs while nothing forbids it, until the bus is stopping; give back what is held."""
        await topology.ensure_consumer(
            self._bus,
            Stream.JOBS,
            topology.worker_consumer(
                self._name, self._bus.settings.ack_wait_seconds, workers=MAX_PENDING
            ),
        )
        watching = asyncio.create_task(self._holding.run())
        try:
            while not self._bus.stopping.is_set():
                await (self._idle() if self._bench.state.reason else self._serve())
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _serve(self) -> None:
        """Take jobs until there is a reason not to, or the bus is stopping."""
        ending = asyncio.Event()
        watch = asyncio.create_task(self._end_when_closed(ending))
        concurrency = self._bench.service.manifest.resources.concurrency
        try:
            await consume(
                self._bus,
                Stream.JOBS,
                self._name,
                self.handle,
                in_flight=concurrency,
                until=ending,
            )
        finally:
            watch.cancel()

    async def _end_when_closed(self, ending: asyncio.Event) -> None:
        while not self._bench.state.reason and not self._bus.stopping.is_set():
            self._bell.clear()
            await either(self._bell, self._bus.stopping)
        ending.set()

    async def _idle(self) -> None:
        """Wait for whatever forbids it to be over; a model that does not load is tried again."""
        self._bell.clear()
        if self._bench.state.refused:
            await either(self._bell, self._bus.stopping)
            return
        recovering = asyncio.create_task(self._bench.pool.recover())
        stopping = asyncio.create_task(self._bus.stopping.wait())
        try:
            await asyncio.wait({recovering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            recovering.cancel()
            await asyncio.gather(recovering, return_exceptions=True)

    async def _still_mine(self, claim: Claim) -> bool:
        held = claim.run
        found, _ = await self._found(claim.key)
        return verdict.mine(found, held)

    async def handle(self, delivery: Delivery) -> None:
        """See one delivery through. Raises TransientError to abandon it, unacknowledged."""
        try:
            job = _read(_job, delivery.data)
        except _UNREADABLE as error:
            # Only routers write here, so that this is a newer one's message, or a person's.
            log.warning("job.unreadable", subject=delivery.subject, error=str(error))
            await self._refuse(delivery, str(error))
            return
        if self._bench.state.reason:
            await nak(self._bus, delivery, NAK_SECONDS)  # it came while the reason did
            return
        self.busy += 1
        try:
            with telemetry.canonical(
                "job.settled",
                service=self._name,
                job_id=job.job_id,
                **subjects.named_by(job.key),
            ) as line:
                act, run = await self._through(delivery, job)
                line["act"] = act.value
                if run is not None:
                    metrics.WORKER_JOBS.add(run.state.value)
                    line.update(state=run.state.value, attempt=run.attempt)
                    line["error"] = run.error.code if run.error else ""
        finally:
            self.busy -= 1

    async def _refuse(self, delivery: Delivery, why: str) -> None:
        """End a job whose message this worker cannot read: failed if its ids can be, else buried.

        The ack alone would not do: its router would publish it again for ever.
        """
        await gate.publish_once(self._bus, _dead_of(delivery.subject), delivery.data)
        try:
            job = _read(_head, delivery.data)
        except _UNREADABLE:
            await ack(self._bus, delivery)
            return
        error = UnsupportedVersionError(f"{self._name} cannot read the request: {why}")
        worker = Worker(owner=secrets.token_hex(8), max_attempts=1)
        record = await self._jobs.get(job.key)
        act = Act.ACK
        if verdict.wanted(record.value if record else None, self._name):
            decided, claim = await self._claim(job, worker, lambda: True)
            if claim is not None and decided.act is Act.RUN:
                decided = await self._settle(claim, Failed(error.info()), worker)
            act = decided.act
        if act is Act.ACK:
            await ack(self._bus, delivery)

    async def _through(self, delivery: Delivery, job: Job) -> tuple[Act, Run | None]:
        record = await self._jobs.get(job.key)
        if not verdict.wanted(record.value if record else None, self._name):
            ended = await self._runs.get(subjects.run_key(self._name, job.job_id))
            if ended is not None and verdict.poisoned(ended.value):
                await self._bury(job, ended.value)  # who gave it up may have died before it could
            await self._let_go(delivery, job)
            return Act.ACK, None
        worker = Worker(
            owner=secrets.token_hex(8),
            max_attempts=self._bench.service.manifest.resources.max_attempts,
            deadline_at=job.deadline_at,
        )
        spool = self._bench.spool
        decided, claim = await self._claim(
            job, worker, lambda: spool.find(job.job_id, job.request) is not None
        )
        if claim is not None and decided.act is Act.RUN:
            hold = Hold(delivery, claim)
            while decided.act in (Act.RUN, Act.WAIT):
                if decided.act is Act.RUN:
                    outcome = await self._attempt(job, hold)
                    decided = await self._settle(claim, outcome, worker)
                else:
                    decided = await self._wait(hold, decided.delay_seconds, worker)
        run = decided.write or (claim.run if claim else None)
        await self._act(delivery, job, decided, run)
        return decided.act, run

    async def _claim(
        self, job: Job | _Head, worker: Worker, finished: Callable[[], bool]
    ) -> tuple[Verdict, Claim | None]:
        """Claim the run: by creating it; what is there is read only if that is refused."""
        key = subjects.run_key(self._name, job.job_id)
        found: Run | None = None
        revision = 0
        adoptable = False
        while True:
            decided = verdict.claim(
                found, worker, job_key=job.key, adoptable=adoptable, now=time.time()
            )
            if decided.write is None:
                held = Claim(key, found, revision) if found is not None else None
                return decided, held
            written = await self._write(key, decided.write, revision)
            if not isinstance(written, Conflict):
                return decided, Claim(key, decided.write, written)
            found, revision = await self._found(key)
            adoptable = await asyncio.to_thread(finished)

    async def _found(self, key: str) -> tuple[Run | None, int]:
        record = await self._runs.get(key)
        return (record.value, record.revision) if record else (None, 0)

    async def _write(self, key: str, run: Run, revision: int) -> int | Conflict:
        if revision == 0:
            return await self._runs.create(key, run)
        return await self._runs.update(key, run, revision)

    async def _attempt(self, job: Job, hold: Hold) -> Outcome:
        """Work with heartbeats; ends early when the claim is lost or the worker shall end."""
        metrics.WORKER_ATTEMPTS.add()
        span = tracing.span("worker.attempt", attempt=hold.claim.run.attempt)
        with self._holding.watching(hold), span:
            return await Attempt(self._bench, job, hold).outcome()

    async def _wait(self, hold: Hold, seconds: float, worker: Worker) -> Verdict:
        """Wait in place for the next start of a job, with heartbeats as if it ran."""
        with self._holding.watching(hold), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await hold.stopped.wait()
        if hold.stopped.is_set():
            return await self._settle(hold.claim, Returned(), worker)
        off = await self._bench.switch.refusal()
        if off is not None:
            return await self._settle(hold.claim, Refused(off), worker)
        held = hold.claim.run
        return await self._decide(hold.claim, held, lambda run: verdict.resume(run, held))

    async def _settle(self, claim: Claim, outcome: Outcome, worker: Worker) -> Verdict:
        """Write what the outcome means for the record as it is."""
        held = claim.run
        found: Run | None = held
        if isinstance(outcome, Returned):
            found, claim.revision = await self._found(claim.key)
        dice = random.random()  # noqa: S311 - jitter
        return await self._decide(
            claim,
            found,
            lambda run: verdict.settle(run, held, outcome, worker, time.time(), dice=dice),
        )

    async def _decide(
        self, claim: Claim, found: Run | None, decide: Callable[[Run | None], Verdict]
    ) -> Verdict:
        """Decide and write; a refused write is read and decided again."""
        while True:
            decided = decide(found)
            if decided.write is None:
                return decided
            written = await self._runs.update(claim.key, decided.write, claim.revision)
            if not isinstance(written, Conflict):
                claim.run, claim.revision = decided.write, written
                return decided
            found, claim.revision = await self._found(claim.key)

    async def _act(self, delivery: Delivery, job: Job, decided: Verdict, run: Run | None) -> None:
        if decided.bury and run is not None:
            await self._bury(job, run)
        if decided.act is Act.ACK:
            await self._let_go(delivery, job)
        elif decided.act is Act.NAK:
            await nak(self._bus, delivery, max(NAK_SECONDS, decided.delay_seconds))

    async def _let_go(self, delivery: Delivery, job: Job) -> None:
        """Acknowledge, and forget what the spool holds of the job."""
        await ack(self._bus, delivery)
        if self._bench.spool.holds(job.job_id):
            await asyncio.to_thread(self._bench.spool.remove, job.job_id)
        if self._bench.service.manifest.resources.keep_receipt:
            await asyncio.to_thread(self._bench.notes.forget, job.job_id)

    async def _bury(self, job: Job, run: Run) -> None:
        buried = Buried(job=job, run=run, at=run.ended_at)
        await gate.publish_once(self._bus, subjects.dead(self._name, job.job_id), encode(buried))


def _dead_of(subject: str) -> str:
    _, _, service, job_id = subject.split(".", 3)
    return subjects.dead(service, job_id)


async def serve(bus: Bus, service: ServiceFolder, artifacts: Artifacts) -> None:
    """Serve a service on a connection until it is stopping."""
    revision = await asyncio.to_thread(engine_revision, service, bus.settings.models_dir)
    spool = await asyncio.to_thread(Spool, bus.settings.spool_dir, service.name, revision)
    bench = Bench(bus, service, artifacts, spool)
    readiness = Readiness(bench)
    await readiness.look()
    await bench.switch.start()
    metrics.WORKER_SPOOL_BYTES.follow(read=spool.size_bytes)
    loop = Loop(bus, bench)
    bus.reason = lambda: bench.state.reason
    announcing = asyncio.create_task(Announcer(bench, lambda: loop.busy).run())
    looking = asyncio.create_task(readiness.run())
    reporting = asyncio.create_task(bench.pool.report())
    try:
        await loop.run()
        await announcing
    finally:
        announcing.cancel()
        looking.cancel()
        await bench.pool.close()
        reporting.cancel()
        await asyncio.to_thread(spool.close)
