"""Workers of the scripted model in this process or as their own, and the router's side by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from bus_servers import eventually
from worker_fake import NAME, Script

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.records import Records, stream_of
from bus.settings import Settings
from bus.worker.folder import ServiceFolder
from bus.worker.loop import serve
from contracts import subjects
from contracts.canonical import request_hash
from contracts.capability import Capability
from contracts.codec import encode
from contracts.identity import job_id_of
from contracts.jobs import Job, JobRecord, JobState, Run, RunState
from contracts.manifest import ServiceRecord
from contracts.requests import Request
from contracts.subjects import Bucket, Stream

TENANT, CAMPAIGN = "acme", "spring"


def worker_settings(nats: Settings, store: Settings, bucket: str, spool: Path) -> Settings:
    """Settings of a worker: this test's server, this session's store, a bucket of its own."""
    return msgspec.structs.replace(
        nats,
        s3_endpoint=store.s3_endpoint,
        s3_access_key=store.s3_access_key,
        s3_secret_key=store.s3_secret_key,
        s3_bucket=bucket,
        s3_patience_seconds=0.2,
        make_durable=store.make_durable,
        data_dir=store.data_dir,
        spool_dir=spool,
        ack_wait_seconds=1.5,
        drain_seconds=5.0,
    )


def environment(settings: Settings, services: Path) -> dict[str, str]:
    """Return the settings as a process of its own reads them."""
    given = {
        "NATS_URL": settings.nats_url,
        "NATS_USER": settings.nats_user,
        "NATS_PASSWORD": settings.nats_password.reveal(),
        "S3_ENDPOINT": settings.s3_endpoint,
        "S3_ACCESS_KEY": settings.s3_access_key.reveal(),
        "S3_SECRET_KEY": settings.s3_secret_key.reveal(),
        "S3_BUCKET": settings.s3_bucket,
        "MAKE_DURABLE": settings.make_durable.value,
        "DATA_DIR": str(settings.data_dir),
        "SPOOL_DIR": str(settings.spool_dir),
        "ACK_WAIT_SECONDS": str(settings.ack_wait_seconds),
        "DRAIN_SECONDS": str(settings.drain_seconds),
        "SERVICES_PATH": str(services),
    }
    return {**os.environ, **{f"ADGENX_{k}": v for k, v in given.items()}}


class Rig:
    """The router's side: asks, cancels, and looks."""

    def __init__(
        self, bus: Bus, artifacts: Artifacts, settings: Settings, service: str = NAME
    ) -> None:
        self.service = service
        self.bus = bus
        self.artifacts = artifacts
        self.settings = settings
        self.jobs = Records(bus, Bucket.JOBS, JobRecord)
        self.runs = Records(bus, Bucket.RUNS, Run)

    async def ask(
        self, request: Request, name: str = "r1", *, recorded: bool = True, deadline_at: float = 0
    ) -> Job:
        """Record a job and release it."""
        job = Job(
            job_id=job_id_of(TENANT, CAMPAIGN, name),
            tenant=TENANT,
            campaign_id=CAMPAIGN,
            request_id=name,
            service=self.service,
            request=request,
            deadline_at=deadline_at,
            labels={"step": "still"},
        )
        if recorded:
            record = JobRecord(
                tenant=TENANT,
                campaign_id=CAMPAIGN,
                request_id=name,
                capability=Capability.IMAGE,
                job_id=job.job_id,
                state=JobState.NEW,
                request_hash=request_hash(request),
                accepted_at=time.time(),
                service=self.service,
            )
            await self.jobs.create(job.key, record)
        await gate.publish_once(self.bus, subjects.job(self.service, job.job_id), encode(job))
        return job

    async def run_of(self, job: Job) -> Run | None:
        """Return the job's run record."""
        found = await self.runs.get(subjects.run_key(self.service, job.job_id))
        return found.value if found else None

    async def ended(self, job: Job) -> Run:
        """Wait until the run is terminal and its message gone, and return it."""
        found: list[Run] = []

        async def over() -> bool:
            run = await self.run_of(job)
            if run is None or not run.state.terminal:
                return False
            found.append(run)
            return not await self.in_jobs(job)

        await eventually(over)
        return found[-1]

    async def in_state(self, job: Job, state: RunState) -> None:
        """Wait until the run is in a state."""

        async def reached() -> bool:
            run = await self.run_of(job)
            return run is not None and run.state is state

        await eventually(reached)

    async def started(self, script: Script, times: int = 1) -> None:
        """Wait until the model has begun so often."""

        async def begun() -> bool:
            return len(script.runs) >= times

        await eventually(begun)

    async def spooled(self, job: Job) -> Path:
        """Wait until a job's result lies finished in the spool, and return its folder."""
        kept = self.settings.spool_dir / self.service / "done" / job.job_id

        async def done() -> bool:
            return kept.is_dir()

        await eventually(done)
        return kept

    async def in_jobs(self, job: Job) -> bool:
        """Say whether the job's message still is in JOBS."""
        subject = subjects.job(self.service, job.job_id)
        return await gate.last(self.bus, Stream.JOBS, subject) is not None

    async def dropped(self, job: Job) -> None:
        """Wait until the job's message is gone."""

        async def gone() -> bool:
            return not await self.in_jobs(job)

        await eventually(gone)

    async def change(self, job: Job, **fields: object) -> None:
        """Change the run record by compare-and-set, as a router or another worker would."""
        key = subjects.run_key(self.service, job.job_id)
        while True:
            found = await self.runs.get(key)
            assert found is not None
            wanted = msgspec.structs.replace(found.value, **fields)
            if isinstance(await self.runs.update(key, wanted, found.revision), int):
                return

    async def nudge(self, job: Job) -> None:
        """Have a job delivered before its time: its message is put anew, as a sweep would."""
        subject = subjects.job(self.service, job.job_id)
        found = await gate.last(self.bus, Stream.JOBS, subject)
        assert found is not None
        await gate.remove(self.bus, Stream.JOBS, found.sequence)
        await gate.publish_once(self.bus, subject, found.data)

    async def workers(self) -> list[ServiceRecord]:
        """Return what the workers of the service announce."""
        table = Records(self.bus, Bucket.SERVICES, ServiceRecord)
        return [record.value for record in await table.under(self.service)]

    async def announced(self, count: int) -> bool:
        """Say whether so many workers announce themselves."""
        return len(await self.workers()) == count

    async def writes(self, bucket: Bucket = Bucket.RUNS) -> int:
        """Return how many records were ever written to a bucket."""
        info = await self.bus.js.stream_info(stream_of(bucket))
        return int(info.state.last_seq)


@contextlib.asynccontextmanager
async def working(settings: Settings, service: ServiceFolder) -> AsyncIterator[Bus]:
    """Run a worker in this process for the length of a block; it ends in order."""
    async with connected(settings, "worker") as bus:
        artifacts = Artifacts(bus.settings)
        task = asyncio.create_task(serve(bus, service, artifacts))
        try:
            yield bus
        finally:
            bus.stopping.set()
            await task
            artifacts.close()


@contextlib.contextmanager
def process(
    settings: Settings, service: ServiceFolder, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker as a process of its own; killed at the end if it still runs."""
    started = subprocess.Popen(
        [sys.executable, "-m", "bus.worker.run", service.name],
        env={**environment(settings, service.path.parent), **more},
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


class Cable:
    """A TCP line to the store that can be cut and mended."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._target = (parts.hostname, parts.port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def endpoint(self) -> str:
        """The line's near end."""
        return f"http://127.0.0.1:{self._port}"

    async def mend(self) -> None:
        """Listen, on the same port as ever."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and break those that are open."""
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        far, into = await asyncio.open_connection(*self._target)
        self._open |= {out, into}
        await asyncio.gather(_pipe(near, into), _pipe(far, out))
        self._open -= {out, into}


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
