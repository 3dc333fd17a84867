"""From `kill -9` of a process to the next promise and the next result, on a running appliance."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench import noop
from bus import settings
from bus.connection import Bus, connected
from bus.gate import publish_once
from contracts import subjects
from contracts.brief import Form
from contracts.codec import encode
from contracts.errors import BusUnavailableError, TransientError
from contracts.identity import NO_CAMPAIGN
from contracts.requests import GenerateMesh

REPEATS = 5
START_SECONDS = 60.0
VICTIMS = {
    "nats-server": "servers/nats/nats.pid",
    "S3 server": "servers/s3/s3.pid",
    "router": "services/router.pid",
    "worker": "services/noop.pid",
}
FIRST_LOOK_SECONDS = 0.25
"""How often the appliance looks after its processes: part of every figure."""


class Recovery(msgspec.Struct, frozen=True):
    """Seconds from the kill."""

    accepted: float
    result: float


class Asker:
    """Asks for no-op jobs and waits for their results."""

    def __init__(self, bus: Bus, name: str = "recovery") -> None:
        self._bus = bus
        self._name = name
        self._results: dict[str, asyncio.Event] = {}
        self._number = 0

    async def start(self) -> None:
        """Listen to results; the subscription outlives reconnections."""
        pattern = subjects.event("default", NO_CAMPAIGN, "*", "mesh_generation_result")

        async def heard(message: object) -> None:
            name = str(getattr(message, "subject", "")).split(".")[4]
            self._results.setdefault(name, asyncio.Event()).set()

        await self._bus.nc.subscribe(pattern, cb=heard)

    async def once(self, began: float) -> Recovery:
        """Ask until it is accepted, wait for the result; return both as seconds since `began`."""
        self._number += 1
        name = f"{self._name}-{self._number}"
        subject = subjects.request("default", "mesh", NO_CAMPAIGN, name)
        body = encode(GenerateMesh(prompt=f"{name} {'x' * 1000}", form=Form.CAN))
        done = self._results.setdefault(name, asyncio.Event())
        while True:
            try:
                await publish_once(self._bus, subject, body)
                break
            except TransientError:
                await asyncio.sleep(0.01)
        accepted = time.monotonic() - began
        await asyncio.wait_for(done.wait(), START_SECONDS)
        return Recovery(accepted, time.monotonic() - began)


async def measure(data: Path) -> dict[str, list[Recovery]]:
    """Kill each victim several times; in between, wait until all is well again."""
    found: dict[str, list[Recovery]] = {victim: [] for victim in VICTIMS}
    given = settings.load({"ADGENX_DATA_DIR": str(data), "HOME": str(data)})
    given = msgspec.structs.replace(given, publish_timeout_seconds=1.0)
    async with connected(given, "bench") as bus:
        await noop.announced(given)
        asker = Asker(bus)
        await asker.start()
        await asker.once(time.monotonic())
        for _ in range(REPEATS):
            for victim, pid_file in VICTIMS.items():
                await asker.once(time.monotonic())
                os.kill(int((data / pid_file).read_text().split()[0]), signal.SIGKILL)
                found[victim].append(await asker.once(time.monotonic()))
                await _steady(asker)
    return found


async def _steady(asker: Asker) -> None:
    """Wait until results come as fast as always: the supervisor's back-off must be over."""
    ends_at = time.monotonic() + noop.START_SECONDS
    quick = 0
    while quick < REPEATS and time.monotonic() < ends_at:
        recovery = await asker.once(time.monotonic())
        quick = quick + 1 if recovery.result < FIRST_LOOK_SECONDS else 0


def main() -> str:
    """Return the table of medians and ranges."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        extra = {"ADGENX_DATA_DIR": str(data), "ADGENX_SERVICES_PATH": str(noop.SERVICES)}
        log = (Path(folder) / "log").open("wb")
        appliance = subprocess.Popen(
            [sys.executable, "-m", "services.cli.appliance"],
            env={**os.environ, **extra},
            stderr=log,
        )
        try:
            found = asyncio.run(_once_running(data))
        finally:
            appliance.terminate()
            appliance.wait()
            log.close()
    lines = [
        "### From kill -9 to the next promise and the next result",
        "",
        "| killed | request accepted after s | result after s |",
        "|---|---|---|",
    ]
    for victim, recoveries in found.items():
        cells = []
        for field in ("accepted", "result"):
            values = sorted(getattr(r, field) for r in recoveries)
            middle = statistics.median(values)
            cells.append(f"{middle:.2f} ({values[0]:.2f}-{values[-1]:.2f})")
        lines.append(f"| {victim} | {' | '.join(cells)} |")
    return "\n".join(lines)


async def _once_running(data: Path) -> dict[str, list[Recovery]]:
    """Measure once the appliance has written down where its servers are."""
    ends_at = time.monotonic() + START_SECONDS
    while not (data / "appliance.pid").exists():
        if time.monotonic() > ends_at:
            raise BusUnavailableError("the appliance did not start")
        await asyncio.sleep(0.05)
    return await measure(data)
