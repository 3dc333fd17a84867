"""Ten thousand jobs wait for one slow service: what the router costs, and how it comes back.

The service is announced and nobody works for it, so that JOBS stays full; a worker without a model
is let on only to see how soon a restarted router hands out the next job.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from bench.servers import fresh
from bus import gate
from bus.connection import Bus, connected
from bus.listing import subjects_in
from bus.records import Records
from bus.settings import Settings
from contracts import subjects
from contracts.capability import Capability, Tier
from contracts.codec import encode
from contracts.jobs import Job, Run, RunState
from contracts.manifest import (
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.operating import CancelAll
from contracts.requests import GenerateImage
from contracts.subjects import Bucket, Stream

SIZES = (100, 1_000, 10_000)
TENANTS = ("acme", "bolt")
AT_ONCE = 256
IDLE_SECONDS = 20.0
PLACES = 2
PATIENCE_SECONDS = 300.0


class Process:
    """A router, and what it has cost so far."""

    def __init__(self, found: Settings) -> None:
        extra = {"ADGENX_DATA_DIR": str(found.data_dir), "ADGENX_LOG_LEVEL": "error"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.router.run"], env={**os.environ, **extra}
        )
        self._proc = Path(f"/proc/{self._process.pid}")

    @property
    def cpu_seconds(self) -> float:
        """CPU time, the kernel's for it included."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_mb(self) -> float:
        """Resident memory."""
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def kill(self) -> None:
        """End it with -9."""
        self._process.kill()
        self._process.wait()


class Row(msgspec.Struct, frozen=True):
    """One size: seconds unless named otherwise; `idle` in percent of a core."""

    size: int
    take_in: float
    rss_mb: float
    idle: float
    late: float
    restart: float
    empty: float


async def _until(look: Callable[[], Awaitable[bool]]) -> float:
    """Wait on a condition; return the seconds that it took."""
    began = time.perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await look():  # noqa: ASYNC110 - other processes and the server set no event
            await asyncio.sleep(0.02)
    return time.perf_counter() - began


async def _announce(bus: Bus) -> None:
    record = ServiceRecord(
        manifest=Manifest(
            name="slow",
            version="1.0.0",
            tier=Tier.DRAFT,
            accepts=[Capability.IMAGE.request_type],
            model=ModelSection(name="slow", licence="Apache-2.0", commercial_use=True),
            resources=ResourceSection(memory_gb=1),
        ),
        revision="1",
        state=ServiceState.READY,
        workers=1,
        announced_at=time.time(),
        worker="bench",
    )
    await Records(bus, Bucket.SERVICES, ServiceRecord).put(
        subjects.worker_key("slow", "bench"), record
    )


async def _ask(bus: Bus, name: str, number: int, priority: int) -> None:
    request = GenerateImage(prompt=name, width=64, height=64, priority=priority)
    subject = subjects.request(TENANTS[number % 2], Capability.IMAGE, "-", name)
    await gate.publish_once(bus, subject, encode(request))


async def _ask_many(bus: Bus, size: int) -> None:
    width = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with width:
            await _ask(bus, f"r{number:05}", number, number // 2 % 8)

    await asyncio.gather(*map(one, range(size)))


async def _inside(bus: Bus) -> list[str]:
    """Return the subjects of the work messages in JOBS."""
    return await subjects_in(bus, Stream.JOBS)


async def _finish(bus: Bus, subject: str) -> Job:
    """Do one job as a worker would, and take it off JOBS."""
    found = await gate.last(bus, Stream.JOBS, subject)
    assert found is not None
    job = msgspec.json.decode(found.data, type=Job)
    run = Run(attempt=1, owner="bench", state=RunState.FAILED, job_key=job.key)
    run = msgspec.structs.replace(run, ended_at=time.time())
    await Records(bus, Bucket.RUNS, Run).create(subjects.run_key("slow", job.job_id), run)
    await gate.remove(bus, Stream.JOBS, found.sequence)
    return job


async def _overtaken(bus: Bus) -> float:
    """Ask for something interactive and do jobs until it goes; return the seconds of that."""
    await _ask(bus, "late", 1, 9)
    record = f"$KV.{Bucket.JOBS}.{subjects.job_key(TENANTS[1], '-', 'late')}"
    await _until(lambda: _there(bus, record))
    began = time.perf_counter()
    for _ in range(PLACES + 8):
        inside = await _inside(bus)
        await _finish(bus, inside[0])
        await _until(lambda gone=inside[0]: _refilled(bus, gone))  # type: ignore[misc]  # a default binds it
        names = [await gate.last(bus, Stream.JOBS, s) for s in await _inside(bus)]
        if any(b'"late"' in found.data for found in names if found is not None):
            break
    return time.perf_counter() - began


async def _there(bus: Bus, subject: str) -> bool:
    return bool(await subjects_in(bus, f"KV_{Bucket.JOBS}", subject))


async def _refilled(bus: Bus, gone: str) -> bool:
    inside = await _inside(bus)
    return gone not in inside and len(inside) == PLACES


async def _stored(bus: Bus, stream: str) -> int:
    return int((await bus.js.stream_info(stream)).state.messages)


async def _one(found: Settings, size: int) -> Row:
    async with connected(found, "bench") as bus:
        await _announce(bus)
        router = Process(found)
        began = time.perf_counter()
        await _ask_many(bus, size)

        async def recorded() -> bool:
            return await _stored(bus, f"KV_{Bucket.JOBS}") >= size

        await _until(recorded)
        take_in = time.perf_counter() - began
        used = router.cpu_seconds
        await asyncio.sleep(IDLE_SECONDS)  # nothing happens: what that costs is the question
        idle = (router.cpu_seconds - used) / IDLE_SECONDS * 100
        rss_mb = router.rss_mb
        late = await _overtaken(bus)
        router.kill()
        inside = await _inside(bus)
        await _announce(bus)
        for subject in inside:
            await _finish(bus, subject)
        router = Process(found)

        async def serving() -> bool:
            return len(await _inside(bus)) == PLACES

        restart = await _until(serving)
        began = time.perf_counter()
        for tenant in TENANTS:
            await gate.publish_once(bus, subjects.cancel_all(tenant, "stop"), encode(CancelAll()))

        async def empty() -> bool:
            return await _stored(bus, Stream.REQUESTS) == 0

        await _until(empty)
        emptied = time.perf_counter() - began
        router.kill()
    return Row(size, take_in, rss_mb, idle, late, restart, emptied)


async def _run() -> list[Row]:
    rows = []
    for size in SIZES:
        async with fresh() as servers:
            rows.append(await _one(servers.settings, size))
    return rows


def main() -> str:
    """Return the table."""
    lines = [
        "### A long queue",
        "",
        "| waiting | taken in s | RSS MB | idle CPU | interactive ms | restart s | cancel all s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.size:,} | {row.take_in:.1f} | {row.rss_mb:.0f} | {row.idle:.1f} % "
        f"| {row.late * 1000:.0f} | {row.restart:.2f} | {row.empty:.1f} |"
        for row in asyncio.run(_run())
    ]
    return "\n".join(lines)
