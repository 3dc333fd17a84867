"""A running appliance, as `adgenx up` starts it, for measurements of the whole."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bus import micro, settings
from bus.connection import Bus, connected
from contracts.errors import BusUnavailableError

if TYPE_CHECKING:
    from bus.settings import Settings

START_SECONDS = 120.0
LOOK_SECONDS = 0.05


class Appliance:
    """`adgenx up` with a data folder of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.data = folder / "data"
        self._log = folder / "log"
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("ADGENX_")},
            "ADGENX_DATA_DIR": str(self.data),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The supervisor's process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it, and return at once."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.cli.appliance"], env=self._env, stderr=output
            )

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def settings(self) -> Settings:
        """Return what reaches it, once its servers answer; BusUnavailableError."""
        ends_at = time.monotonic() + START_SECONDS
        while not (self.data / settings.ENDPOINTS_FILE).exists():
            if time.monotonic() > ends_at:
                raise BusUnavailableError(f"the appliance did not start: {self._log}")
            time.sleep(LOOK_SECONDS)
        return settings.load(self._env)

    def pid_of(self, service: str) -> int:
        """Return the process id of a service."""
        return int((self.data / "services" / f"{service}.pid").read_text().split()[0])


@contextmanager
def appliance(folder: Path, **environment: str) -> Iterator[Appliance]:
    """Hold one, started, for a block."""
    made = Appliance(folder, **environment)
    made.start()
    try:
        yield made
    finally:
        made.stop()


async def answering(bus: Bus, names: set[str], but: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the ids of these processes by name once all answer; those in `but` do not count."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            pongs = await micro.ping(bus, LOOK_SECONDS)
            found = {p.name: p.id for p in pongs if p.name in names and p.id not in but}
            if names <= found.keys():
                return found


async def all_answering(found: Settings, names: set[str]) -> dict[str, str]:
    """Return the ids of these processes by name once all answer."""
    async with connected(found, "bench") as bus:
        return await answering(bus, names)
