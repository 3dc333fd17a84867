"""A worker: one delivery, one claim, one verdict. Steps 8 to 14 of the job protocol.

The parent process only talks to the bus and the store, so that its heartbeats never stop; the
model works in a process of its own. Nothing here decides what an outcome means: see verdict.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog
from nats.aio.msg import Msg

from bus import gate, telemetry, topology
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.consume import Delivery, ack, consume, nak
from bus.records import Conflict, Records, check_key, subject_of
from bus.worker import verdict
from bus.worker.announcing import Announcer
from bus.worker.attempt import Attempt, Bench
from bus.worker.folder import ServiceFolder, engine_revision
from bus.worker.spool import Spool
from bus.worker.verdict import Act, Failed, Outcome, Returned, Verdict, Worker
from contracts import subjects
from contracts.codec import encode
from contracts.errors import TransientError, UnsupportedVersionError
from contracts.jobs import Buried, Job, JobRecord, Run
from contracts.subjects import Bucket, Stream

log = structlog.get_logger(__name__)

BEATS_PER_ACK_WAIT = 3
LOOK_SECONDS = 2.0
"""A running job's claim is read again this often; a change that is heard of, at once."""
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
_run = msgspec.json.Decoder(Run)
_UNREADABLE = (ValueError, RecursionError)
"""Whatever bytes can do to a decoder; msgspec's own errors and broken UTF-8 are ValueErrors."""

J = TypeVar("J", Job, _Head)


def _read(decoder: msgspec.json.Decoder[J], data: bytes) -> J:
    """Decode a job message; one with ids that no key can hold is unreadable too."""
    job = decoder.decode(data)
    check_key(job.key)
    check_key(job.job_id)
    return job


class Claim:
    """A claim that is held: the run as it was written, and its revision."""

    def __init__(self, key: str, run: Run, revision: int) -> None:
        self.key = key
        self.run = run
        self.revision = revision


class Loop:
    """Serves one service with as many jobs at once as its manifest allows."""

    def __init__(self, bus: Bus, bench: Bench) -> None:
        self._bus = bus
        self._bench = bench
        self._name = bench.service.name
        self._runs = Records(bus, Bucket.RUNS, Run)
        self._jobs = Records(bus, Bucket.JOBS, JobRecord)
        self._heard: dict[str, tuple[str, asyncio.Event]] = {}

    async def run(self) -> None:
        """Take jobs until the bus is stopping; what is in hand is given back."""
        resources = self._bench.service.manifest.resources
        await topology.ensure_consumer(
            self._bus,
            Stream.JOBS,
            topology.worker_consumer(
                self._name, self._bus.settings.ack_wait_seconds, workers=MAX_PENDING
            ),
        )
        changes = subject_of(Bucket.RUNS, f"{self._name}.*")
        listening = await self._bus.nc.subscribe(changes, cb=self._changed)
        try:
            await consume(
                self._bus, Stream.JOBS, self._name, self.handle, in_flight=resources.concurrency
            )
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone
                await listening.unsubscribe()

    async def _changed(self, message: Msg) -> None:
        """Hear that somebody else has written the record of a run in hand: it is read again."""
        heard = self._heard.get(message.subject.rpartition(".")[2])
        if heard is None:
            return
        owner, event = heard
        with contextlib.suppress(msgspec.DecodeError):
            run = _run.decode(message.data)
            if run.owner == owner and not run.state.terminal:
                return
        event.set()

    async def handle(self, delivery: Delivery) -> None:
        """See one delivery through. Raises TransientError to abandon it, unacknowledged."""
        try:
            job = _read(_job, delivery.data)
        except _UNREADABLE as error:
            # Only routers write here, so that this is a newer one's message, or a person's.
            log.warning("job.unreadable", subject=delivery.subject, error=str(error))
            await self._refuse(delivery, str(error))
            return
        with telemetry.canonical(
            "job.settled", service=self._name, job_id=job.job_id, request_id=job.request_id
        ) as line:
            act, run = await self._through(delivery, job)
            line["act"] = act.value
            if run is not None:
                line.update(state=run.state.value, attempt=run.attempt)
                line["error"] = run.error.code if run.error else ""

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
            await ack(self._bus, delivery)
            return Act.ACK, None
        worker = Worker(
            owner=secrets.token_hex(8),
            max_attempts=self._bench.service.manifest.resources.max_attempts,
        )
        spool = self._bench.spool
        decided, claim = await self._claim(
            job, worker, lambda: spool.find(job.job_id, job.request) is not None
        )
        while decided.act is Act.RUN:
            assert claim is not None
            outcome = await self._attempt(delivery, job, claim)
            decided = await self._settle(claim, outcome, worker)
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
            record = await self._runs.get(key)
            found, revision = (record.value, record.revision) if record else (None, 0)
            adoptable = await asyncio.to_thread(finished)

    async def _write(self, key: str, run: Run, revision: int) -> int | Conflict:
        if revision == 0:
            return await self._runs.create(key, run)
        return await self._runs.update(key, run, revision)

    async def _attempt(self, delivery: Delivery, job: Job, claim: Claim) -> Outcome:
        """Work with heartbeats; ends early when the claim is lost or the worker shall end."""
        attempt = Attempt(self._bench, job, claim.run)
        work = asyncio.create_task(attempt.outcome())
        watch = [
            asyncio.create_task(self._beat(delivery)),
            asyncio.create_task(self._look(job.job_id, claim, attempt)),
            asyncio.create_task(self._drain(attempt)),
        ]
        try:
            return await work
        finally:
            work.cancel()
            for task in watch:
                task.cancel()
            await asyncio.gather(*watch, return_exceptions=True)
            self._heard.pop(job.job_id, None)

    async def _beat(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(self._bus.settings.ack_wait_seconds / BEATS_PER_ACK_WAIT)
            with contextlib.suppress(Exception):  # the next beat tries again
                await self._bus.nc.publish(delivery.reply, b"+WPI")

    async def _look(self, job_id: str, claim: Claim, attempt: Attempt) -> None:
        """Stop the attempt once the record is no longer my claim."""
        heard = asyncio.Event()
        self._heard[job_id] = (claim.run.owner, heard)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), LOOK_SECONDS)
            heard.clear()
            with contextlib.suppress(TransientError):
                record = await self._runs.get(claim.key)
                if not verdict.mine(record.value if record else None, claim.run):
                    attempt.stop()
                    return

    async def _drain(self, attempt: Attempt) -> None:
        await self._bus.stopping.wait()
        attempt.stop()

    async def _settle(self, claim: Claim, outcome: Outcome, worker: Worker) -> Verdict:
        """Write what the outcome means for the record as it is; a refused write is read again."""
        found: Run | None = claim.run
        if isinstance(outcome, Returned):
            record = await self._runs.get(claim.key)
            found, claim.revision = (record.value, record.revision) if record else (None, 0)
        while True:
            decided = verdict.settle(found, claim.run, outcome, worker, time.time())
            if decided.write is None:
                return decided
            written = await self._runs.update(claim.key, decided.write, claim.revision)
            if not isinstance(written, Conflict):
                claim.run, claim.revision = decided.write, written
                return decided
            record = await self._runs.get(claim.key)
            found, claim.revision = (record.value, record.revision) if record else (None, 0)

    async def _act(self, delivery: Delivery, job: Job, decided: Verdict, run: Run | None) -> None:
        if decided.bury and run is not None:
            subject = subjects.dead(self._name, job.job_id)
            await gate.publish_once(self._bus, subject, encode(Buried(job=job, run=run)))
        if decided.act is Act.ACK:
            await ack(self._bus, delivery)
            await asyncio.to_thread(self._bench.spool.remove, job.job_id)
        elif decided.act is Act.NAK:
            await nak(self._bus, delivery, NAK_SECONDS)


def _dead_of(subject: str) -> str:
    _, _, service, job_id = subject.split(".", 3)
    return subjects.dead(service, job_id)


async def serve(bus: Bus, service: ServiceFolder, artifacts: Artifacts) -> None:
    """Serve a service on a connection until it is stopping."""
    revision = await asyncio.to_thread(engine_revision, service)
    spool = await asyncio.to_thread(Spool, bus.settings.spool_dir, service.name, revision)
    bench = Bench(bus, service, artifacts, spool)
    announcing = asyncio.create_task(Announcer(bus, service, revision).run())
    try:
        await Loop(bus, bench).run()
        await announcing
    finally:
        announcing.cancel()
        await bench.pool.close()
        await asyncio.to_thread(spool.close)
