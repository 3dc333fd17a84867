"""A laptop's whole appliance: the embedded servers and every service, as supervised processes.

    python -m services.cli.appliance [--until-idle SECONDS]

`adgenx up` runs it in the foreground, `adgenx run` in the background when no bus answers. A process
that ends is started again, slower while it keeps ending. SIGTERM ends the services first, then the
servers. With --until-idle it ends itself when nothing is open and nobody has asked for so long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from appliance.roles import ROLES
from bus import direct, embedded, exposition, settings, telemetry, topology
from bus.connection import Bus, connected
from bus.processes import ServerProcess
from bus.records import Records
from bus.worker.folder import ServiceFolder, discover
from bus.worker.needs import any_of, lacking
from contracts.campaign import OpenEntry
from contracts.errors import TransientError
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bus.settings import Settings

log = structlog.get_logger(__name__)

WATCH_SECONDS = 0.25
IDLE_LOOK_SECONDS = 2.0
FIRST_WORK_SECONDS = 90.0
STEADY_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 10.0
STOP_SECONDS = 15.0
NEEDS_SECONDS = 30.0
"""Weights that have come, or a server that answers now, are looked for so often."""

METRICS_VARIABLE = "ADGENX_METRICS_LISTEN"
HEALTH_VARIABLE = "ADGENX_HEALTH_LISTEN"
ANY_PORT = "127.0.0.1:0"
"""Where a service shows its metrics, and the observer the box's health, unless the variables say
otherwise; set to nothing, nowhere."""
EXPECTED_VARIABLE = "ADGENX_EXPECTED_SERVICES"

PID_FILE = "appliance.pid"
ALREADY_RUNNING = 3
"""Exit status when another process keeps this data directory's appliance running."""


def service_commands(found: Settings) -> dict[str, list[str]]:
    """Return the command line of every service process by its name."""
    python = sys.executable
    commands = {role: [python, "-m", f"services.{role}.run"] for role in ROLES}
    for folder in discover(found.service_folders):
        commands[folder.name] = [python, "-m", "bus.worker.run", folder.name]
    return commands


def _expected(found: Settings) -> list[str]:
    """Return who should always be there: whoever needs neither weights nor a server."""
    needy = {s.name for s in discover(found.service_folders) if any_of(s.manifest)}
    return sorted(service_commands(found).keys() - needy)


class Keeper:
    """Keeps one process running."""

    def __init__(self, name: str, folder: Path, argv: list[str], env: Mapping[str, str]) -> None:
        self.process = ServerProcess(name, folder, argv, env)
        self.lacks = ""
        """What it needs and has not: it is not started before it has."""
        self._backoff = FIRST_BACKOFF_SECONDS
        self._since = 0.0
        self._not_before = 0.0

    def look(self, now: float) -> None:
        """Start the process if it does not run and its time has come."""
        if self.lacks or self.process.alive or now < self._not_before:
            return
        if self._since:
            log.warning("process.ended", process=self.process.name)
            steady = now - self._since > STEADY_SECONDS
            self._backoff = FIRST_BACKOFF_SECONDS if steady else self._backoff * 2
            self._backoff = min(self._backoff, LONGEST_BACKOFF_SECONDS)
        self.process.start()
        self._since = now
        self._not_before = now + self._backoff


async def keep(keepers: list[Keeper], ended: asyncio.Event) -> None:
    """Keep the processes running until the event is set, then end them all at once."""
    while not ended.is_set():
        for keeper in keepers:
            keeper.look(time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await ended.wait()
    await asyncio.gather(
        *(asyncio.to_thread(k.process.stop, STOP_SECONDS) for k in keepers),
    )


async def look_for_needs(
    keepers: Mapping[str, Keeper], services: list[ServiceFolder], found: Settings
) -> None:
    """Let services start whose weights or server are here, now and as soon as they come.

    One that has started stays: its worker says itself what it lacks later.
    """
    waiting = list(services)
    while waiting:
        lacks = await lacking(waiting, found, os.environ)
        for service in waiting:
            keepers[service.name].lacks = lacks.get(service.name, "")
            if not keepers[service.name].lacks:
                log.info("service.equipped", service=service.name)
        waiting = [service for service in waiting if service.name in lacks]
        await asyncio.sleep(NEEDS_SECONDS)


async def end_when_idle(bus: Bus, seconds: float, ended: asyncio.Event) -> None:
    """Set the event once nothing has been open or asked for so many seconds.

    Whoever started it may still be waiting for its services: until something is asked for the first
    time, it stays for at least `FIRST_WORK_SECONDS`.
    """
    entries = Records(bus, Bucket.OPEN, OpenEntry)
    busy_at = time.monotonic()
    changes, told = 0, -1
    while not ended.is_set():
        await asyncio.sleep(min(IDLE_LOOK_SECONDS, seconds / 4))
        try:
            waiting = await direct.last_of_each(bus, Stream.REQUESTS, "adgenx.req.>")
            last = (await bus.js.stream_info(Stream.EVENTS)).state.last_seq
            is_open = bool(waiting or await entries.under())
        except (TransientError, OSError, TimeoutError):
            continue
        patience = seconds if changes > 1 else max(seconds, FIRST_WORK_SECONDS)
        if is_open or last != told:
            busy_at, told = time.monotonic(), last
            changes += 1
        elif time.monotonic() - busy_at > patience:
            log.info("appliance.idle")
            ended.set()


async def serve(found: Settings, idle_seconds: float) -> None:
    """Run the appliance until SIGTERM, SIGINT or idleness."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with embedded.stack(found) as servers:
        targets = (found.data_dir / exposition.FOLDER).glob("*.json")
        exposition.remove_stale(targets)  # of services that are no more, too
        folder = found.data_dir / "services"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with connected(servers.settings, "appliance") as bus:
            await topology.ensure(bus)
            # The services run in a folder of their own, where a relative path means another one.
            extra = os.pathsep.join(str(f.resolve()) for f in found.service_folders)
            environment = {
                METRICS_VARIABLE: ANY_PORT,
                HEALTH_VARIABLE: ANY_PORT,
                EXPECTED_VARIABLE: ",".join(_expected(found)),
                **os.environ,
                "ADGENX_DATA_DIR": str(found.data_dir.resolve()),
                "ADGENX_MODELS_DIR": str(found.models_dir.resolve()),
                "ADGENX_ENVIRONMENTS_DIR": str(found.environments_dir.resolve()),
                "ADGENX_SECRETS_DIR": str(found.secrets_dir.resolve()),
                "ADGENX_SERVICES_PATH": extra,
            }
            keepers = {
                name: Keeper(name, folder, argv, environment)
                for name, argv in service_commands(found).items()
            }
            needy = [s for s in discover(found.service_folders) if any_of(s.manifest)]
            for service in needy:
                keepers[service.name].lacks = "not looked at yet"
            looking = asyncio.create_task(look_for_needs(keepers, needy, found))
            (found.data_dir / PID_FILE).write_text(str(os.getpid()))
            log.info("appliance.started", services=len(keepers) - len(needy), waiting=len(needy))
            idle = (
                asyncio.create_task(end_when_idle(bus, idle_seconds, ended))
                if idle_seconds
                else None
            )
            await keep(list(keepers.values()), ended)
            looking.cancel()
            if idle is not None:
                idle.cancel()


def main(argv: list[str] | None = None) -> int:
    """Run the appliance; the process's exit status is returned."""
    parser = argparse.ArgumentParser(prog="python -m services.cli.appliance")
    parser.add_argument("--until-idle", type=float, default=0.0, metavar="SECONDS")
    given = parser.parse_args(argv)
    found = settings.load()
    telemetry.configure("appliance", found)
    try:
        asyncio.run(serve(found, given.until_idle))
    except embedded.StackRunningError as error:
        log.warning("appliance.refused", reason=error.message)
        return ALREADY_RUNNING
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
