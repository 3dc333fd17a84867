"""What it costs to sequence a campaign: 12, 30 and 300 no-op steps against a bare sequencer.

The floor is the job protocol's durable writes without a framework (bench/floor.py), and beside it
a sequencer that keeps everything in memory and promises nothing: it asks for the next step of each
chain when the result of the one before arrives. Ours plans nothing here: the campaign's record is
written with its plan, which is what a coordinator finds after its first stage.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import nats

from bench import floor
from bench.noop import announced, services, shelf
from bench.servers import connect_of, fresh
from bus import gate
from bus.connection import connected
from bus.records import Records
from contracts import subjects
from contracts.brief import Brand, Brief, Form, Product
from contracts.campaign import CampaignRecord, CampaignState, OpenEntry, Plan, Step
from contracts.capability import Capability
from contracts.envelope import ENVELOPE_FIELDS
from contracts.requests import GenerateMesh
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from bus.connection import Bus
    from bus.settings import Settings

SIZES = (12, 30, 300)
CHAINS = 6
"""Steps of a campaign that can run at once: each one needs the step so many before it."""
REPEATS = 5
MANY, EACH = 50, 12
"""Campaigns at once, and steps of each."""
TENANT = "bench"
SECONDS = 240


def plan_of(size: int) -> Plan:
    """Return a plan of so many no-op steps in CHAINS chains."""
    return Plan(
        planner="bench",
        stages=["all"],
        steps=[_step(number) for number in range(size)],
        complete=True,
    )


def _name(number: int) -> str:
    return f"mesh.s{number:03}"


def _step(number: int) -> Step:
    request = msgspec.to_builtins(GenerateMesh(prompt="x" * 512, form=Form.CAN, seed=number))
    return Step(
        name=_name(number),
        capability=Capability.MESH,
        request={k: v for k, v in request.items() if k not in ENVELOPE_FIELDS},
        needs=[_name(number - CHAINS)] if number >= CHAINS else [],
    )


def record_of(campaign_id: str, size: int) -> CampaignRecord:
    """Return an open campaign of so many steps; every campaign asks for work of its own."""
    brief = Brief(
        campaign=campaign_id,
        brand=Brand(name="-"),
        product=Product(name="-", what="-"),
        placements=["instagram_reel"],
        locales=["en-US"],
    )
    plan = plan_of(size)
    steps = [
        msgspec.structs.replace(s, request={**s.request, "prompt": f"{campaign_id} {s.name}"})
        for s in plan.steps
    ]
    return CampaignRecord(
        tenant=TENANT,
        campaign_id=campaign_id,
        revision=1,
        state=CampaignState.OPEN,
        brief=brief,
        brief_hash=campaign_id,
        accepted_at=time.time(),
        plan=msgspec.structs.replace(plan, steps=steps),
    )


class _Ours:
    """Campaigns through coordinator, router and worker."""

    def __init__(self, nc: Client, bus: Bus) -> None:
        self._nc = nc
        self._campaigns = Records(bus, Bucket.CAMPAIGNS, CampaignRecord)
        self._open = Records(bus, Bucket.OPEN, OpenEntry)
        self._bus = bus

    async def run(self, names: list[str], size: int) -> float:
        """Return the seconds from the first open entry to the last result."""
        left = set(names)
        done = asyncio.Event()

        async def arrived(message: Msg) -> None:
            left.discard(message.subject.split(".")[3])
            if not left:
                done.set()

        heard = await self._nc.subscribe(subjects.campaign_result_pattern(), cb=arrived)
        await self._nc.flush()
        for name in names:
            await self._campaigns.create(subjects.campaign_key(TENANT, name), record_of(name, size))
        began = time.perf_counter()
        for name in names:
            await self._open.put(subjects.campaign_key(TENANT, name), OpenEntry(revision=1))
            # A cancel of a step that the plan does not have wakes the coordinator, nothing else.
            body = b'{"type": "cancel.v1", "unknown": 1}'
            await gate.publish_once(self._bus, subjects.cancel_campaign(TENANT, name), body)
        await asyncio.wait_for(done.wait(), SECONDS)
        seconds = time.perf_counter() - began
        await heard.unsubscribe()
        return seconds


async def bare(nc: Client, names: list[str], size: int) -> float:
    """Sequence the same graph over the promise floor, in memory."""
    left = len(names) * size
    done = asyncio.Event()

    async def ask(name: str, number: int) -> None:
        await floor.store(nc, f"p.req.{name}_{number}", floor.BODY, floor.ONCE)

    async def arrived(message: Msg) -> None:
        nonlocal left
        name, _, number = message.subject.split(".")[2].rpartition("_")
        if name not in names:
            return
        left -= 1
        if not left:
            done.set()
        elif int(number) + CHAINS < size:
            await ask(name, int(number) + CHAINS)

    heard = await nc.subscribe("p.evt.*.result", cb=arrived)
    await nc.flush()
    began = time.perf_counter()
    await asyncio.gather(*(ask(n, number) for n in names for number in range(min(CHAINS, size))))
    await asyncio.wait_for(done.wait(), SECONDS)
    seconds = time.perf_counter() - began
    await heard.unsubscribe()
    return seconds


@contextmanager
def coordinator(found: Settings) -> Iterator[None]:
    """Run a coordinator for the length of a block."""
    extra = {"ADGENX_DATA_DIR": str(found.data_dir), "ADGENX_LOG_LEVEL": "error"}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.coordinator.run"], env={**os.environ, **extra}
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


Measured = dict[tuple[int, int], list[tuple[float, float]]]
"""(campaigns, steps) -> (floor's, our) milliseconds for each step, one pair for each repeat."""


async def measure() -> Measured:
    """Measure both in turns."""
    found: Measured = {}
    async with fresh() as servers, connected(servers.settings, "bench") as bus:
        here = servers.settings
        connect = connect_of(here)
        nc = await nats.connect(**connect)
        await floor.prepare(connect)
        with floor.running(connect, shelf(here)), services(here), coordinator(here):
            await announced(here)
            await _consumer(bus)
            ours = _Ours(nc, bus)
            rounds = [(1, 12), *((1, size) for size in SIZES), (MANY, EACH)]
            for turn, (count, size) in enumerate(rounds):
                found[count, size] = []  # the first turn only warms everything up
                for repeat in range(REPEATS):
                    names = [f"c{turn}-{repeat}-{n}" for n in range(count)]
                    steps = count * size / 1000
                    low = await bare(nc, names, size) / steps
                    found[count, size].append((low, await ours.run(names, size) / steps))
        await nc.close()
    return found


async def _consumer(bus: Bus) -> None:
    """Wait until the coordinator listens for commands."""
    async with asyncio.timeout(60):
        while True:
            try:
                await bus.js.consumer_info(Stream.CONTROL, "coordinator")
            except nats.js.errors.NotFoundError:
                await asyncio.sleep(0.05)
            else:
                return


def main() -> str:
    """Return the table."""
    lines = [
        "### Campaign overhead",
        "",
        "| campaigns | steps of each | floor ms/step | ours ms/step | ratio |",
        "|---|---|---|---|---|",
    ]
    for (count, size), pairs in asyncio.run(measure()).items():
        low, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = sorted(b / a for a, b in pairs)
        middle = statistics.median(ratios)
        spread = f"{middle:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        lines.append(f"| {count} | {size} | {low:.2f} | {ours:.2f} | {spread} |")
    return "\n".join(lines)
