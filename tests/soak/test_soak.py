"""Hours of small jobs: nothing grows, nothing stalls. Ten seconds in CI, `make soak` for long.

Two workers share one durable, which is where an unexplained stall of a minute was once seen: any
job that takes longer than half of ack_wait fails the test.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from bus import direct, embedded, settings, topology
from bus.connection import Bus, connected
from bus.gate import publish_once
from bus.records import Records
from bus.settings import Settings
from contracts import subjects
from contracts.brief import Form
from contracts.codec import encode
from contracts.events import GenerationResult
from contracts.identity import NO_CAMPAIGN
from contracts.manifest import ServiceRecord
from contracts.requests import GenerateMesh
from contracts.subjects import Bucket, Stream

SECONDS = float(os.environ.get("ADGENX_SOAK_SECONDS", "10"))
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(SECONDS + 180),
]

SERVICES = Path(__file__).parents[2] / "bench" / "services"
IN_FLIGHT = 8
ACK_WAIT_SECONDS = 30.0
SAMPLES = 40
LONG_SECONDS = 600.0
"""Only a run of this length says anything about memory: allocators warm up for minutes."""
GROWTH = 1.10
"""The last quarter's median memory, against the second quarter's."""
FD_SLACK = 8
"""Descriptors may come and go with a connection; they must not climb."""
COMMANDS = {
    "router": ["services.router.run"],
    "worker-1": ["bus.worker.run", "noop"],
    "worker-2": ["bus.worker.run", "noop"],
}


class Sample(msgspec.Struct, frozen=True):
    """What one process holds at one moment."""

    rss_kb: int
    descriptors: int


@contextmanager
def running(found: Settings, folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run a router and two workers for the length of a block."""
    with ExitStack() as stack:
        processes = {}
        for name, command in COMMANDS.items():
            extra = {
                "ADGENX_DATA_DIR": str(found.data_dir),
                "ADGENX_SPOOL_DIR": str(folder / name),
                "ADGENX_SERVICES_PATH": str(SERVICES),
                "ADGENX_LOG_LEVEL": "warning",
                "ADGENX_ACK_WAIT_SECONDS": str(ACK_WAIT_SECONDS),
            }
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", *command], env={**os.environ, **extra}, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            processes[name] = process
        yield processes


def sample(pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return Sample(int(rss.split()[1]), len(list(Path(f"/proc/{pid}/fd").iterdir())))


async def consumers(bus: Bus) -> int:
    """Return how many consumers the server holds, over all streams."""
    return sum(s.state.consumer_count for s in await bus.js.streams_info())


class Load:
    """Asks for one job after another, so many at once, and remembers how long each took."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.took: list[float] = []
        self.failed: list[GenerationResult] = []
        self._waiting: dict[str, asyncio.Event] = {}

    async def run(self, seconds: float) -> None:
        pattern = subjects.event("default", NO_CAMPAIGN, "*", "mesh_generation_result")
        heard = await self.bus.nc.subscribe(pattern, cb=self._heard)
        ends_at = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for lane in range(IN_FLIGHT):
                group.create_task(self._lane(lane, ends_at))
        await heard.unsubscribe()

    async def _lane(self, lane: int, ends_at: float) -> None:
        number = 0
        while time.monotonic() < ends_at:
            number += 1
            name = f"soak-{lane}-{number}"
            answered = self._waiting[name] = asyncio.Event()
            request = GenerateMesh(prompt=f"{name} {'x' * 1000}", form=Form.CAN)
            began = time.monotonic()
            subject = subjects.request("default", "mesh", NO_CAMPAIGN, name)
            await publish_once(self.bus, subject, encode(request))
            await asyncio.wait_for(answered.wait(), ACK_WAIT_SECONDS * 2)
            self.took.append(time.monotonic() - began)
            del self._waiting[name]

    async def _heard(self, message: object) -> None:
        result = msgspec.json.decode(message.data, type=GenerationResult)  # type: ignore[attr-defined]  # a Msg
        if result.status != "ok":
            self.failed.append(result)
        waiting = self._waiting.get(result.request_id)
        if waiting is not None:
            waiting.set()


async def observe(
    processes: dict[str, int], bus: Bus, seconds: float
) -> tuple[dict[str, list[Sample]], list[int]]:
    """Look at every process, again and again."""
    seen: dict[str, list[Sample]] = defaultdict(list)
    counted = []
    for _ in range(SAMPLES):
        await asyncio.sleep(seconds / SAMPLES)  # the pace of the samples, not a wait for anything
        for name, pid in processes.items():
            seen[name].append(sample(pid))
        counted.append(await consumers(bus))
    return seen, counted


async def ready(bus: Bus) -> None:
    records = Records(bus, Bucket.SERVICES, ServiceRecord)
    async with asyncio.timeout(60):
        while len(await records.under("noop")) < len(COMMANDS) - 1:  # noqa: ASYNC110 - other processes announce
            await asyncio.sleep(0.1)


async def test_nothing_grows_and_nothing_stalls(tmp_path: Path) -> None:
    given = settings.load({"ADGENX_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)})
    async with embedded.stack(given) as servers:
        found = servers.settings
        async with connected(found, "soak") as bus:
            await topology.ensure(bus)
            with running(found, tmp_path) as processes:
                await ready(bus)
                load = Load(bus)
                pids = {name: process.pid for name, process in processes.items()}
                (seen, counted), _ = await asyncio.gather(
                    observe(pids, bus, SECONDS), load.run(SECONDS)
                )
                assert all(process.poll() is None for process in processes.values())
            waiting = await direct.last_of_each(bus, Stream.REQUESTS, subjects.all_requests())
    report(seen, load)
    assert load.failed == []
    assert waiting == []
    assert max(load.took) < ACK_WAIT_SECONDS / 2
    assert max(counted[SAMPLES // 4 :]) == min(counted[SAMPLES // 4 :])
    for name, samples in seen.items():
        settled = samples[SAMPLES // 4 :]
        assert settled[-1].descriptors <= settled[0].descriptors + FD_SLACK, name
        if SECONDS >= LONG_SECONDS:
            early, late = samples[SAMPLES // 4 : SAMPLES // 2], samples[-SAMPLES // 4 :]
            ratio = _median(late) / _median(early)
            assert ratio < GROWTH, (name, ratio)


def _median(samples: list[Sample]) -> float:
    return statistics.median(s.rss_kb for s in samples)


def report(seen: dict[str, list[Sample]], load: Load) -> None:
    """Print what `make soak` is run for."""
    print(  # noqa: T201 - the figures are the point of the long run
        f"{len(load.took)} jobs in {SECONDS:g} s, slowest {max(load.took):.2f} s, "
        f"median {statistics.median(load.took) * 1000:.0f} ms"
    )
    for name, samples in seen.items():
        first, last = samples[SAMPLES // 4], samples[-1]
        print(  # noqa: T201 - the figures are the point of the long run
            f"{name}: {first.rss_kb // 1024} MB -> {last.rss_kb // 1024} MB, "
            f"{first.descriptors} -> {last.descriptors} descriptors"
        )
