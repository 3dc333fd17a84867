"""Reaching the bus: the one that is configured or running, or an appliance started for it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from appliance.roles import ROLES as NO_MODELS
from bus import embedded, settings
from bus.connection import Bus, connected
from bus.records import Records
from bus.servers import NATS_BINARY, S3_BINARY, binary
from bus.settings import SettingsError
from bus.worker.folder import discover
from bus.worker.needs import lacking
from contracts.errors import BusUnavailableError, TransientError
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket
from services.cli.appliance import ALREADY_RUNNING, service_commands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bus.settings import Settings

READY = ServiceState.READY
PATIENCE_SECONDS = 2.0
GLANCE_SECONDS = 0.2
"""How long a bus is looked for where none is named and none runs here."""
START_SECONDS = 90.0
IDLE_SECONDS = 60.0
IDLE_VARIABLE = "ADGENX_IDLE_SECONDS"
"""An appliance that a command started ends itself after so long without work."""


@contextlib.asynccontextmanager
async def reached(name: str = "adgenx") -> AsyncIterator[Bus]:
    """Connect to the bus that answers; raise BusUnavailableError naming what to do otherwise."""
    try:
        found = impatient(settings.load())
        async with connected(found, name) as bus:
            yield bus
    except BusUnavailableError as error:
        raise BusUnavailableError(
            f"{error.message}; start one with `adgenx up`, or set ADGENX_NATS_URL"
        ) from None


def impatient(found: Settings) -> Settings:
    """Return the settings of a command: a person waits for it."""
    expected = os.environ.get("ADGENX_NATS_URL") or embedded.is_running(found.data_dir)
    patience = PATIENCE_SECONDS if expected else GLANCE_SECONDS
    return msgspec.structs.replace(found, connect_patience_seconds=patience)


async def answers() -> bool:
    """Say whether a bus answers."""
    try:
        async with connected(impatient(settings.load()), "adgenx"):
            return True
    except BusUnavailableError:
        return False


async def ensure_running(say: Callable[[str], None]) -> None:
    """Start an appliance in the background unless a bus answers, and wait until it serves."""
    if await answers():
        return
    found = settings.load()
    if os.environ.get("ADGENX_NATS_URL"):
        raise BusUnavailableError(f"no NATS server answers at {found.nats_url}")
    try:
        for name in (NATS_BINARY, S3_BINARY):
            binary(name)
    except SettingsError as error:
        raise BusUnavailableError(f"no bus answers, and none can start: {error.message}") from None
    say("no bus answers: starting the appliance on this machine")
    process = start_in_background(found, idle_seconds())
    deadline = time.monotonic() + START_SECONDS
    while not embedded.is_running(found.data_dir) or not await answers():
        if process.poll() not in (None, ALREADY_RUNNING) or time.monotonic() > deadline:
            raise BusUnavailableError(
                f"the appliance did not start; see {found.data_dir / 'appliance.log'}"
            )
        await asyncio.sleep(0.1)
    await all_announced(deadline)


def idle_seconds() -> float:
    """Return how long an appliance started here stays without work."""
    text = os.environ.get(IDLE_VARIABLE, "")
    try:
        seconds = float(text) if text else IDLE_SECONDS
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < math.inf:
        raise SettingsError(f"{IDLE_VARIABLE} must be a number of seconds, 1 or more")
    return seconds


def start_in_background(found: Settings, until_idle: float) -> subprocess.Popen[bytes]:
    """Start the appliance in a session of its own, so that Ctrl-C here leaves it running."""
    found.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (found.data_dir / "appliance.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "services.cli.appliance", f"--until-idle={until_idle}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def all_announced(deadline: float) -> None:
    """Wait until every model service that can be is ready, or the deadline (monotonic) passes."""
    found = settings.load()
    lacks = await lacking(discover(found.service_folders), found, os.environ)
    wanted = set(service_commands(found)) - set(NO_MODELS) - set(lacks)
    async with connected(impatient(found), "adgenx") as bus:
        records = Records(bus, Bucket.SERVICES, ServiceRecord)
        while time.monotonic() < deadline:
            with contextlib.suppress(TransientError):
                announced = [r.value for r in await records.under()]
                serving = {w.manifest.name for w in announced if w.state is READY}
                if wanted <= serving:
                    return
            await asyncio.sleep(0.1)
    raise BusUnavailableError("the services did not announce themselves; try `adgenx doctor`")
