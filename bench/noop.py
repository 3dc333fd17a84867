"""No-op jobs through the whole system against both floors, interleaved in one run."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import nats
from nats.aio.client import Client

from bench import floor
from bench.loads import Load, measure
from bench.servers import connect_of, fresh
from bus.connection import connected
from bus.gate import publish_once
from bus.records import Records
from bus.settings import Settings
from contracts import subjects
from contracts.brief import Form
from contracts.codec import encode
from contracts.identity import NO_CAMPAIGN
from contracts.manifest import ServiceRecord
from contracts.requests import GenerateMesh
from contracts.subjects import Bucket

SERVICES = Path(__file__).parent / "services"
REPEATS = 5
JOBS = {1: 200, 64: 1500}
START_SECONDS = 60.0
SYSTEMS = ("bare", "promise", "ours")


class Row(msgspec.Struct, frozen=True):
    """One system in one repeat."""

    system: str
    in_flight: int
    load: Load


@contextmanager
def services(found: Settings) -> Iterator[None]:
    """Run a router and one worker for the length of a block."""
    extra = {
        "ADGENX_DATA_DIR": str(found.data_dir),
        "ADGENX_SERVICES_PATH": str(SERVICES),
        "ADGENX_LOG_LEVEL": "error",
    }
    commands = (["services.router.run"], ["bus.worker.run", "noop"])
    processes = [
        subprocess.Popen([sys.executable, "-m", *c], env={**os.environ, **extra}) for c in commands
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def announced(found: Settings) -> None:
    """Wait until the worker serves."""
    async with connected(found, "bench") as bus:
        records = Records(bus, Bucket.SERVICES, ServiceRecord)
        async with asyncio.timeout(START_SECONDS):
            while not await records.under("noop"):  # noqa: ASYNC110 - another process announces
                await asyncio.sleep(0.05)


async def load_of(
    nc: Client, found: Settings, system: str, names: list[str], in_flight: int
) -> Load:
    """Measure one system once."""
    if system == "bare":
        return await measure(
            nc, "b.evt.*", _last, lambda n: _store(nc, f"b.job.{n}"), names, in_flight
        )
    if system == "promise":
        return await measure(
            nc, "p.evt.*.result", _third, lambda n: _store(nc, f"p.req.{n}"), names, in_flight
        )
    async with connected(found, "bench") as bus:

        async def publish(name: str) -> None:
            # A prompt of its own for every job: an equal one would be a cache hit.
            body = encode(GenerateMesh(prompt=f"{name} {'x' * 1024}", form=Form.CAN))
            await publish_once(bus, subjects.request("default", "mesh", NO_CAMPAIGN, name), body)

        results = subjects.event("default", NO_CAMPAIGN, "*", "mesh_generation_result")
        return await measure(nc, results, lambda s: s.split(".")[4], publish, names, in_flight)


def shelf(found: Settings) -> floor.Shelf:
    """Return where the floor's worker puts its artifacts."""
    return floor.Shelf(
        endpoint=found.s3_endpoint.removeprefix("http://"),
        access_key=found.s3_access_key.reveal(),
        secret_key=found.s3_secret_key.reveal(),
        bucket=found.s3_bucket,
        volume=str(found.store_root),
    )


def _last(subject: str) -> str:
    return subject.rpartition(".")[2]


def _third(subject: str) -> str:
    return subject.split(".")[2]


async def _store(nc: Client, subject: str) -> None:
    await floor.store(nc, subject, floor.BODY, floor.ONCE)


async def run(*, sync_always: bool) -> list[Row]:
    """Measure every system, in turns."""
    rows: list[Row] = []
    async with fresh(sync_always=sync_always) as servers:
        found = servers.settings
        connect = connect_of(found)
        nc = await nats.connect(**connect)
        await floor.prepare(connect)
        with floor.running(connect, shelf(found)), services(found):
            await announced(found)
            for in_flight, count in JOBS.items():
                for repeat in range(REPEATS + 1):
                    turn = repeat % len(SYSTEMS)
                    for system in (*SYSTEMS[turn:], *SYSTEMS[:turn]):
                        tag = f"{system}-{in_flight}-{repeat}-"
                        names = [f"{tag}{n}" for n in range(count)]
                        load = await load_of(nc, found, system, names, in_flight)
                        if repeat:  # the first one warms everything up
                            rows.append(Row(system, in_flight, load))
        await nc.close()
    return rows


def table(rows: list[Row]) -> str:
    """Return the measurements as a Markdown table of medians and ratios to the promise floor."""
    lines = [
        "| in flight | system | p50 ms | p99 ms | jobs/s | p50 ratio | p99 ratio | rate ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for in_flight in JOBS:
        base = [r.load for r in rows if (r.system, r.in_flight) == ("promise", in_flight)]
        for system in SYSTEMS:
            loads = [r.load for r in rows if (r.system, r.in_flight) == (system, in_flight)]
            cells = [
                f"{statistics.median(getattr(x, f) for x in loads):.2f}"
                for f in ("p50_ms", "p99_ms", "jobs_per_second")
            ]
            cells += [_ratio(loads, base, f) for f in ("p50_ms", "p99_ms", "jobs_per_second")]
            lines.append(f"| {in_flight} | {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(loads: list[Load], base: list[Load], field: str) -> str:
    ratios = sorted(getattr(a, field) / getattr(b, field) for a, b in zip(loads, base, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def main() -> str:
    """Measure with and without `sync_interval: always`."""
    parts = []
    for sync_always in (True, False):
        title = "sync_interval: always" if sync_always else "default sync"
        parts.append(
            f"### No-op jobs, {title}\n\n{table(asyncio.run(run(sync_always=sync_always)))}"
        )
    return "\n\n".join(parts)
