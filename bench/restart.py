"""From the end of a process to its serving again, for each, and for the whole appliance."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

from appliance.roles import ROLES
from bench import noop
from bench.recovery import Asker
from bench.running import Appliance, all_answering, answering, appliance
from bus.connection import connected

REPEATS = 5
WHOLE = "the whole appliance"
STEADY_SECONDS = 11.0
"""A process that ran for so long is started again at once; before, its supervisor waits longer."""


async def of_each(running: Appliance) -> dict[str, list[float]]:
    """Kill each process in turns; return the seconds until another one answers discovery."""
    names = (*ROLES, "noop")
    found: dict[str, list[float]] = {name: [] for name in names}
    async with connected(running.settings(), "bench") as bus:
        ids = await answering(bus, set(names))
        for _ in range(REPEATS):
            for name in names:
                began = time.monotonic()
                os.kill(running.pid_of(name), signal.SIGKILL)
                ids |= await answering(bus, {name}, frozenset({ids[name]}))
                found[name].append(time.monotonic() - began)
            await asyncio.sleep(STEADY_SECONDS)  # its back-off is no part of a first fault
    return found


async def of_all(running: Appliance) -> tuple[list[float], list[float], list[float]]:
    """Restart everything; return the seconds it took to end, to accept and to deliver a job."""
    ended: list[float] = []
    accepted: list[float] = []
    delivered: list[float] = []
    for _ in range(REPEATS):
        began = time.monotonic()
        running.stop()
        ended.append(time.monotonic() - began)
        running.start()
        started = time.monotonic()
        async with connected(running.settings(), "bench") as bus:
            asker = Asker(bus, f"restart-{len(ended)}")
            await asker.start()
            recovery = await asker.once(started)
        accepted.append(recovery.accepted)
        delivered.append(recovery.result)
        await all_answering(running.settings(), {*ROLES, "noop"})
    return ended, accepted, delivered


def _cell(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> str:
    """Return both tables."""
    with tempfile.TemporaryDirectory() as folder:
        extra = {"ADGENX_SERVICES_PATH": str(noop.SERVICES)}
        with appliance(Path(folder), **extra) as running:
            each = asyncio.run(of_each(running))
            ended, accepted, delivered = asyncio.run(of_all(running))
    lines = [
        "### From kill -9 to serving, by process",
        "",
        "| killed | answers discovery after s |",
        "|---|---|",
        *(f"| {name} | {_cell(values)} |" for name, values in each.items()),
        "",
        f"### Restart of {WHOLE}",
        "",
        "| ended after s | from the start: request accepted after s | first result after s |",
        "|---|---|---|",
        f"| {_cell(ended)} | {_cell(accepted)} | {_cell(delivered)} |",
    ]
    return "\n".join(lines)
