"""Retention as a process, with a grace of seconds: killed anywhere, it loses nothing it may not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from bus_servers import eventually

from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from bus.settings import Settings
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.capability import Capability
from contracts.jobs import JobRecord, JobState
from contracts.retention import SweepState, SweepWanted
from contracts.subjects import Bucket

pytestmark = pytest.mark.integration

GRACE_SECONDS = 2.0


@pytest.fixture
def environment(bus: Bus, artifacts: Artifacts, s3_settings: Settings) -> dict[str, str]:
    found = bus.settings
    return {
        **os.environ,
        "ADGENX_DATA_DIR": str(s3_settings.data_dir),
        "ADGENX_NATS_URL": found.nats_url,
        "ADGENX_NATS_USER": found.nats_user,
        "ADGENX_NATS_PASSWORD": found.nats_password.reveal(),
        "ADGENX_S3_ENDPOINT": s3_settings.s3_endpoint,
        "ADGENX_S3_ACCESS_KEY": s3_settings.s3_access_key.reveal(),
        "ADGENX_S3_SECRET_KEY": s3_settings.s3_secret_key.reveal(),
        "ADGENX_S3_BUCKET": artifacts.objects.bucket,
        "ADGENX_MAKE_DURABLE": "server",
        "ADGENX_RETENTION_GRACE_HOURS": str(GRACE_SECONDS / 3600),
    }


@asynccontextmanager
async def retention(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.retention.run", env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Wisher:
    """Asks for sweeps, and sees them answered."""

    def __init__(self, bus: Bus) -> None:
        self._wishes = Records(bus, Bucket.RETENTION, SweepWanted)
        self._states = Records(bus, Bucket.RETENTION, SweepState)

    async def ask(self) -> float:
        at = time.time()
        await self._wishes.put("-.wanted", SweepWanted(at=at))
        return at

    async def state(self) -> SweepState | None:
        found = await self._states.get("-")
        return found.value if found else None

    async def swept(self) -> None:
        at = await self.ask()

        async def answered() -> bool:
            state = await self.state()
            return state is not None and state.ended_at > 0 and state.wanted_at >= at

        await eventually(answered)


async def store(bus: Bus, artifacts: Artifacts, count: int, *, named: bool) -> set[str]:
    """Store objects, each named by a job record or by nothing; return their keys."""
    jobs = Records(bus, Bucket.JOBS, JobRecord)
    keys = set()
    for number in range(count):
        body = f"{named} {number}".encode()
        sha256 = hashlib.sha256(body).hexdigest()
        ref = ArtifactRef(
            key=artifact_key("acme", sha256),
            sha256=sha256,
            media_type="image/png",
            size_bytes=len(body),
        )
        await artifacts.put(body, "acme", ref.media_type)
        keys.add(ref.key)
        if named:
            record = JobRecord(
                tenant="acme",
                campaign_id="c",
                request_id=f"r{number}",
                capability=Capability.IMAGE,
                job_id=f"j{number}",
                state=JobState.OK,
                request_hash="h",
                accepted_at=1.0,
                outputs=[ref],
            )
            await jobs.put(f"acme.c.r{number}", record)
    return keys


async def objects(artifacts: Artifacts) -> set[str]:
    return {s.key async for page in artifacts.objects.pages("") for s in page}


async def test_killed_in_every_sweep_it_ends_with_what_is_named(
    bus: Bus, artifacts: Artifacts, environment: dict[str, str]
) -> None:
    named = await store(bus, artifacts, 10, named=True)
    unnamed = await store(bus, artifacts, 60, named=False)
    wisher = Wisher(bus)

    async def is_old() -> bool:
        stats = [await artifacts.objects.stat(key) for key in unnamed]
        return all(s and s.modified.timestamp() < time.time() - GRACE_SECONDS for s in stats)

    await eventually(is_old)

    async def moves() -> bool:
        return any("/trash/" in key for key in await objects(artifacts))

    await wisher.ask()
    async with retention(environment) as process:
        await eventually(moves)
        process.kill()
    there = await objects(artifacts)
    assert named <= there
    assert all([await artifacts.stat(key) for key in unnamed])  # whatever was moved, and how far
    async with retention(environment) as process:

        async def is_done() -> bool:
            await wisher.swept()
            return await objects(artifacts) == named

        await eventually(is_done, seconds=40)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
