"""A thousand watchers of one campaign's progress, against plain subjects in the same run.

Ours are subscriptions of a campaign's progress subjects, which the stream PROGRESS also keeps; the
floor is the same number of subscriptions of a subject that no stream keeps.
"""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import os
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import nats
from nats.aio.msg import Msg

from bench.floor import Connect
from bench.servers import connect_of, fresh
from contracts import events, subjects

WATCHERS = 1000
PROCESSES = 2
EVENTS = 300
PER_SECOND = 30
REPEATS = 3
SETTLE_SECONDS = 5.0
TICKS = os.sysconf("SC_CLK_TCK")


class Heard(msgspec.Struct, frozen=True):
    """What was delivered, and how old it was then, in milliseconds."""

    deliveries: int
    ages_ms: list[float]


class Row(msgspec.Struct, frozen=True):
    """One way in one repeat."""

    way: str
    delivered: float
    p99_ms: float
    cpu_us: float


def _watch(connect: Connect, subject: str, pipe: Connection) -> None:
    asyncio.run(_watching(connect, subject, pipe))


async def _watching(connect: Connect, subject: str, pipe: Connection) -> None:
    """Subscribe many times on one connection; say so, and at the end what was heard."""
    nc = await nats.connect(**connect)
    count = 0
    ages: list[float] = []

    async def heard(message: Msg) -> None:
        nonlocal count
        count += 1
        if count % WATCHERS == 0:
            at = msgspec.json.decode(message.data, type=events.Progress).at
            ages.append((time.time() - at) * 1000)

    for _ in range(WATCHERS // PROCESSES):
        await nc.subscribe(subject, cb=heard)
    await nc.flush()
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    pipe.send(Heard(count, ages))
    await nc.close()


async def once(connect: Connect, server_pid: int, way: str) -> Row:
    """Measure one way once."""
    prefix = "bench.progress" if way == "plain" else "adgenx.progress"
    subject = subjects.progress("default", "watched", "*").replace("adgenx.progress", prefix)
    spawn = mp.get_context("spawn")
    pipes = []
    processes = []
    for _ in range(PROCESSES):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_watch, args=(connect, subject, theirs), daemon=True)
        process.start()
        processes.append(process)
        pipes.append(ours)
    for pipe in pipes:
        await asyncio.to_thread(pipe.recv)
    nc = await nats.connect(**connect)
    before = _cpu_seconds(server_pid)
    for number in range(EVENTS):
        await nc.publish(subject.replace("*", "job"), _progress(number))
        await nc.flush()
        await asyncio.sleep(1 / PER_SECOND)
    await asyncio.sleep(SETTLE_SECONDS)
    spent = _cpu_seconds(server_pid) - before
    heard: list[Heard] = []
    for pipe in pipes:
        pipe.send("end")
        heard.append(await asyncio.to_thread(pipe.recv))
    for process in processes:
        process.join()
    await nc.close()
    ages = [age for part in heard for age in part.ages_ms]
    deliveries = sum(part.deliveries for part in heard)
    wanted = EVENTS * WATCHERS
    p99 = statistics.quantiles(ages, n=100)[98]
    return Row(way, deliveries / wanted, p99, spent / wanted * 1e6)


def _progress(number: int) -> bytes:
    progress = events.Progress(
        request_id="job",
        campaign_id="watched",
        service="noop",
        phase="frames",
        done=number,
        total=EVENTS,
        fraction=number / EVENTS,
        attempt=1,
        at=time.time(),
    )
    return msgspec.json.encode(progress)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def run() -> list[Row]:
    """Measure both ways, in turns."""
    rows = []
    async with fresh() as servers:
        server_pid = servers.nats.process.pid
        assert server_pid is not None
        for repeat in range(REPEATS):
            ways = ("plain", "progress") if repeat % 2 else ("progress", "plain")
            rows += [await once(connect_of(servers.settings), server_pid, way) for way in ways]
    return rows


def main() -> str:
    """Return the table of medians."""
    rows = asyncio.run(run())
    lines = [
        f"### {WATCHERS} watchers of one campaign, {PER_SECOND} events per second",
        "",
        "| way | delivered | p99 age ms | server CPU per delivery µs | ratio |",
        "|---|---|---|---|---|",
    ]
    plain = statistics.median(r.cpu_us for r in rows if r.way == "plain")
    for way in ("plain", "progress"):
        mine = [r for r in rows if r.way == way]
        cpu = statistics.median(r.cpu_us for r in mine)
        p99 = statistics.median(r.p99_ms for r in mine)
        delivered = min(r.delivered for r in mine)
        lines.append(f"| {way} | {delivered:.2%} | {p99:.1f} | {cpu:.2f} | {cpu / plain:.2f} |")
    return "\n".join(lines)
