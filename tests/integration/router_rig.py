"""A router in this process, services that are announced, and a worker without a model."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.consume import Delivery, ack, consume
from bus.records import Conflict, Records
from bus.settings import Settings
from bus.topology import ensure_consumer, worker_consumer
from contracts import events, subjects
from contracts.artifacts import ArtifactRef
from contracts.capability import Capability, Tier, capability_of
from contracts.codec import encode
from contracts.errors import ErrorInfo, UnknownOutcomeError
from contracts.jobs import CacheClaim, Job, JobRecord, Run, RunState
from contracts.manifest import (
    CostSection,
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.operating import Operation
from contracts.requests import GenerateImage, Request
from contracts.subjects import Bucket, Stream
from services.router.shell import Router

T = TypeVar("T")

TENANT = "acme"
WAIT_SECONDS = 20.0
ACK_WAIT_SECONDS = 3.0
IMAGE = Capability.IMAGE.request_type


def service(name: str, *accepts: str, cost: float = 0.25, workers: int = 4) -> ServiceRecord:
    return ServiceRecord(
        manifest=Manifest(
            name=name,
            version="1.0.0",
            tier=Tier.DRAFT,
            accepts=list(accepts or (IMAGE,)),
            model=ModelSection(name=f"{name}-model", licence="Apache-2.0", commercial_use=True),
            resources=ResourceSection(memory_gb=1, concurrency=16),
            cost=CostSection(per_run=cost),
        ),
        revision=f"{name}-1",
        state=ServiceState.READY,
        workers=workers,
        announced_at=time.time(),
    )


def image(prompt: str = "a can of lemonade", **more: object) -> GenerateImage:
    fields = {"prompt": prompt, "width": 64, "height": 64} | more
    return msgspec.convert(fields, GenerateImage)


def ok(job: Job, run: Run) -> Run:
    """End a run well, with one output that is different for every request and service."""
    sha256 = hashlib.sha256(f"{job.service} {job.request}".encode()).hexdigest()
    ref = ArtifactRef(
        key=f"{job.tenant}/sha256/{sha256[:2]}/{sha256}",
        sha256=sha256,
        media_type="image/png",
        size_bytes=1,
        name="image",
    )
    return msgspec.structs.replace(
        run, state=RunState.OK, outputs=[ref], cost=0.25, ended_at=time.time()
    )


def costing(amount: float) -> Callable[[Job, Run], Run]:
    """End a run well, at so many US dollars."""

    def end(job: Job, run: Run) -> Run:
        return msgspec.structs.replace(ok(job, run), cost=amount)

    return end


def fails(code: str, *, retryable: bool = False) -> Callable[[Job, Run], Run]:
    def end(_: Job, run: Run) -> Run:
        error = ErrorInfo(code=code, message="it was told to fail", retryable=retryable)
        return msgspec.structs.replace(run, state=RunState.FAILED, error=error)

    return end


@dataclass
class Worker:
    """Straight-line worker of one service. `held` runs wait until `go` is set."""

    bus: Bus
    service: str
    end: Callable[[Job, Run], Run] = ok
    go: asyncio.Event = field(default_factory=asyncio.Event)
    ran: list[str] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        wanted = worker_consumer(self.service, ACK_WAIT_SECONDS, 256)
        await ensure_consumer(self.bus, Stream.JOBS, wanted)
        self._runs = Records(self.bus, Bucket.RUNS, Run)
        await consume(self.bus, Stream.JOBS, self.service, self._one)

    async def _one(self, delivery: Delivery) -> None:
        job = msgspec.json.decode(delivery.data, type=Job)
        key = subjects.run_key(self.service, job.job_id)
        run = Run(attempt=1, owner=delivery.reply, state=RunState.CLAIMED, job_key=job.key)
        claimed = await self._runs.create(key, run)
        if isinstance(claimed, Conflict):
            found = await self._runs.get(key)
            assert found is not None
            if found.value.state.terminal:
                await ack(self.bus, delivery)
                return
            run = msgspec.structs.replace(run, attempt=found.value.attempt + 1)
            claimed = await self._runs.update(key, run, found.revision)
            if isinstance(claimed, Conflict):
                return
        self.ran.append(job.request_id)
        self.started.set()
        await self._held(delivery)
        await self._runs.update(key, self.end(job, run), claimed)
        await ack(self.bus, delivery)

    async def _held(self, delivery: Delivery) -> None:
        """Wait for `go`; meanwhile the delivery stays ours, however busy the machine is."""
        while not self.go.is_set():
            await self.bus.nc.publish(delivery.reply, b"+WPI")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ACK_WAIT_SECONDS / 6):
                    await self.go.wait()


def environment_of(bus: Bus, s3: Settings) -> dict[str, str]:
    """The environment of a router that is a process of its own."""
    found = bus.settings
    return {
        **os.environ,
        "ADGENX_DATA_DIR": str(s3.data_dir),
        "ADGENX_NATS_URL": found.nats_url,
        "ADGENX_NATS_USER": found.nats_user,
        "ADGENX_NATS_PASSWORD": found.nats_password.reveal(),
        "ADGENX_S3_ENDPOINT": s3.s3_endpoint,
        "ADGENX_S3_ACCESS_KEY": s3.s3_access_key.reveal(),
        "ADGENX_S3_SECRET_KEY": s3.s3_secret_key.reveal(),
        "ADGENX_MAKE_DURABLE": "server",
    }


@contextlib.asynccontextmanager
async def router_process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A router as a process, killed at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.router.run", env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Rig:
    """What a test does: ask, wait for events, read records."""

    def __init__(self, bus: Bus, artifacts: Artifacts) -> None:
        self.bus = bus
        self.artifacts = artifacts
        self.jobs = Records(bus, Bucket.JOBS, JobRecord)
        self.runs = Records(bus, Bucket.RUNS, Run)
        self.cache = Records(bus, Bucket.CACHE, CacheClaim)
        self._stack = contextlib.AsyncExitStack()

    async def announce(self, *records: ServiceRecord) -> None:
        table = Records(self.bus, Bucket.SERVICES, ServiceRecord)
        for record in records:
            await table.put(record.manifest.name, record)

    async def start(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def body() -> None:
            await work()

        task = asyncio.create_task(body())
        self._stack.push_async_callback(_end, task)
        return task

    def at_end(self, call: Callable[[], None]) -> None:
        """Have something called when the test ends, before what runs is ended."""
        self._stack.callback(call)

    async def router(self, artifacts: Artifacts | None = None) -> Router:
        made = Router(self.bus, artifacts or self.artifacts)
        await self.start(made.run)
        return made

    async def worker(
        self, name: str, end: Callable[[Job, Run], Run] = ok, *, held: bool = False
    ) -> Worker:
        made = Worker(self.bus, name, end)
        if not held:
            made.go.set()
        await self.start(made.run)
        return made

    async def ask(
        self, request_id: str, request: Request | bytes, token: str = "", campaign: str = "-"
    ) -> str:
        body = request if isinstance(request, bytes) else encode(request)
        if not token and not isinstance(request, bytes):
            token = str(capability_of(str(request.__struct_config__.tag)))
        subject = subjects.request(TENANT, token or "image", campaign, request_id)
        await gate.publish_once(self.bus, subject, body)
        return subject

    async def operate(self, command_id: str, command: Operation) -> events.OpsResult:
        """Give an operator's command and return its answer."""
        await gate.publish_once(self.bus, subjects.operation(command_id), encode(command))
        subject = subjects.event("-", "-", command_id, events.OPS_RESULT)

        async def there() -> bytes | None:
            found = await gate.last(self.bus, Stream.EVENTS, subject)
            return found.data if found else None

        answer = await until(there, what=subject)
        return msgspec.json.decode(answer, type=events.OpsResult)

    async def event(self, request_id: str, name: str, campaign: str = "-") -> bytes:
        subject = subjects.event(TENANT, campaign, request_id, name)

        async def there() -> bytes | None:
            found = await gate.last(self.bus, Stream.EVENTS, subject)
            return found.data if found else None

        return await until(there, what=subject)

    async def result(
        self,
        request_id: str,
        capability: Capability = Capability.IMAGE,
        campaign: str = "-",
    ) -> events.GenerationResult:
        body = await self.event(request_id, capability.result_event, campaign)
        return msgspec.json.decode(body, type=events.GenerationResult)

    async def emptied(self, subject: str) -> None:
        async def gone() -> bool:
            return await gate.last(self.bus, Stream.REQUESTS, subject) is None

        await until(gone, what=f"{subject} removed")

    async def cancel(self, request_id: str, body: bytes = b'{"type":"cancel.v1"}') -> str:
        await gate.publish_once(self.bus, subjects.cancel_job(TENANT, "-", request_id), body)
        found = await self.event(request_id, events.CANCEL_RESULT)
        return msgspec.json.decode(found, type=events.CommandResult).status

    async def record(self, request_id: str) -> JobRecord:
        found = await self.jobs.get(subjects.job_key(TENANT, "-", request_id))
        assert found is not None
        return found.value

    async def close(self) -> None:
        await self._stack.aclose()


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Wait on a condition, and say which one was not met."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            # What is waited for happens on the server, which sets no event of ours.
            while not (found := await _answered(look)):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
            return found
    except TimeoutError:
        raise AssertionError(f"not within {WAIT_SECONDS:g} s: {what}") from None


async def _answered(look: Callable[[], Awaitable[T | None]]) -> T | None:
    """Look, and take a server that does not answer for a condition that is not met."""
    try:
        return await look()
    except UnknownOutcomeError:
        return None


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def rig(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    made = Rig(bus, artifacts)
    try:
        yield made
    finally:
        await made.close()
