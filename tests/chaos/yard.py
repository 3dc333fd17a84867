"""Two real servers and any cast of real processes, each of which may be hurt and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from bus import embedded, topology
from bus.connection import Bus, connected
from bus.processes import ServerProcess
from bus.records import Records
from bus.settings import Settings, load
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket

HERE = Path(__file__).parent
TAMPERED = str(HERE / "tampered.py")
LOOK_SECONDS = 0.03
START_SECONDS = 60.0

ROUTER = ("services.router.run",)
COORDINATOR = ("services.coordinator.run",)


def worker(service: str) -> tuple[str, ...]:
    """Return the module and arguments of a service's worker."""
    return ("bus.worker.run", service)


async def until(
    look: Callable[[], Awaitable[object]], what: str, seconds: float = START_SECONDS
) -> object:
    """Wait on a condition; fail, saying which one was not met."""
    deadline = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)


def state_of(pid: int) -> str:
    """Return the kernel's letter for a process: R, S, T (stopped), Z; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _text(file: Path) -> str:
    """Return what a file holds; nothing while it is not there."""
    try:
        return file.read_text()
    except OSError:
        return ""


class Player:
    """One process of the cast. `wanted`: it is started again whenever it ends."""

    def __init__(self, name: str, folder: Path, argv: list[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.wanted = True
        self.starts = 0
        self._process = ServerProcess(name, folder, argv, env)
        self._not_before = 0.0

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return self._process.pid or 0

    def look(self) -> None:
        """Start it if it should run and does not."""
        now = time.monotonic()
        if self.wanted and not self._process.alive and now >= self._not_before:
            self._process.start()
            self.starts += 1
            self._not_before = now + 0.3

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it for good."""
        self.wanted = False
        if self._process.alive:
            self._process.kill()

    def children(self) -> list[int]:
        """Return the process ids of its children: where a model runs."""
        with contextlib.suppress(OSError):
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            return [int(p) for p in listed.read_text().split()]
        return []

    def tail(self) -> str:
        """Return the end of its log."""
        return self._process.tail()


class Yard:
    """The appliance under test. Made by `yard`.

    `bus` is a connection of the observer's own, straight to the server; `direct` are the settings
    that it was made with, `settings` those of the cast, whose lines may be bad ones.
    """

    def __init__(self, folder: Path, stack: embedded.Stack, settings: Settings) -> None:
        self.folder = folder
        self.stack = stack
        self.direct = settings
        self.settings = settings
        self.services = folder / "services"
        self.generations = folder / "generations.log"
        self.generations.touch()
        self.cast: dict[str, Player] = {}
        self.bus: Bus

    async def add_lines(self) -> None:
        """Put a line that can be made bad before each server; call before adding players."""
        ports = {}
        for kind, url in (("nats", self.direct.nats_url), ("s3", self.direct.s3_endpoint)):
            control = self.folder / f"{kind}.json"
            control.write_text("{}")
            port = url.rpartition(":")[2].rstrip("/")
            argv = [sys.executable, str(HERE / "lines.py"), kind, str(control), port]
            self.cast[f"line.{kind}"] = Player(f"line.{kind}", self.folder, argv, os.environ)
            self.cast[f"line.{kind}"].look()
            written = control.with_suffix(".port")

            async def listening(written: Path = written) -> bool:
                return bool(_text(written))

            await until(listening, f"the {kind} line")
            ports[kind] = _text(written)
        self.settings = msgspec.structs.replace(
            self.direct,
            nats_url=f"nats://127.0.0.1:{ports['nats']}",
            s3_endpoint=f"http://127.0.0.1:{ports['s3']}",
        )

    def order(self, kind: str, **orders: object) -> None:
        """Tell a line how bad to be; nothing means good."""
        control = self.folder / f"{kind}.json"
        part = control.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(orders))
        part.replace(control)

    def add(
        self, name: str, what: tuple[str, ...], *, tamper: str = "", **environment: str
    ) -> Player:
        """Start a process of the cast; `tamper` names what is wrong with it (see tampered.py)."""
        how = [TAMPERED, tamper, what[0]] if tamper else ["-m", what[0]]
        argv = [sys.executable, *how, *what[1:]]
        player = Player(name, self.folder, argv, {**self._environment(), **environment})
        self.cast[name] = player
        player.look()
        return player

    def _environment(self) -> dict[str, str]:
        mine = self.settings
        given = {
            "NATS_URL": mine.nats_url,
            "NATS_USER": mine.nats_user,
            "NATS_PASSWORD": mine.nats_password.reveal(),
            "S3_ENDPOINT": mine.s3_endpoint,
            "S3_ACCESS_KEY": mine.s3_access_key.reveal(),
            "S3_SECRET_KEY": mine.s3_secret_key.reveal(),
            "S3_PATIENCE_SECONDS": str(mine.s3_patience_seconds),
            "MAKE_DURABLE": mine.make_durable.value,
            "DATA_DIR": str(mine.data_dir),
            "SPOOL_DIR": str(mine.spool_dir),
            "ACK_WAIT_SECONDS": str(mine.ack_wait_seconds),
            "PUBLISH_TIMEOUT_SECONDS": str(mine.publish_timeout_seconds),
            "DRAIN_SECONDS": str(mine.drain_seconds),
            "SERVICES_PATH": str(self.services),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ADGENX_")}
        python = [str(HERE.parents[1]), *filter(None, [kept.get("PYTHONPATH")])]
        return {
            **kept,
            **{f"ADGENX_{k}": v for k, v in given.items()},
            "CHAOS_GENERATIONS": str(self.generations),
            "PYTHONPATH": os.pathsep.join(python),
        }

    def server_pid(self, name: str) -> int:
        """Return the process id of `nats` or `s3`; 0 while it does not run."""
        return (self.stack.nats if name == "nats" else self.stack.s3).process.pid or 0

    async def keep(self) -> None:
        """Start again whoever ends; runs until cancelled."""
        while True:
            for player in self.cast.values():
                player.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def announced(self, *services: str) -> None:
        """Wait until these services have announced themselves."""
        table = Records(self.bus, Bucket.SERVICES, ServiceRecord)

        async def there() -> bool:
            found = {
                r.value.manifest.name
                for r in await table.under()
                if r.value.state is ServiceState.READY
            }
            return set(services) <= found

        await until(there, f"{services} to announce themselves")

    def resume(self) -> None:
        """Let whoever is stopped go on."""
        for player in self.cast.values():
            player.signal(signal.SIGCONT)
            for child in player.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGCONT)
        for name in ("nats", "s3"):
            if pid := self.server_pid(name):
                os.kill(pid, signal.SIGCONT)

    def tails(self) -> str:
        """Return the ends of all logs, for the report of a failure."""
        return "\n".join(f"--- {p.name}: {p.tail()}" for p in self.cast.values())

    def close(self) -> None:
        """Kill everybody."""
        self.resume()
        for player in self.cast.values():
            player.end()


@contextlib.asynccontextmanager
async def yard(
    folder: Path, *, ack_wait_seconds: float = 2.0, sync_always: bool = False
) -> AsyncIterator[Yard]:
    """Run the servers, supervised, and keep a cast running, for the length of a block."""
    given = load({"HOME": str(folder), "ADGENX_DATA_DIR": str(folder / "data")})
    given = msgspec.structs.replace(
        given,
        ack_wait_seconds=ack_wait_seconds,
        publish_timeout_seconds=2.0,
        drain_seconds=5.0,
        s3_patience_seconds=1.0,
        spool_dir=folder / "spool",
    )
    async with embedded.stack(given, sync_always=sync_always) as stack:
        made = Yard(folder, stack, stack.settings)
        made.services.mkdir(exist_ok=True)
        keeper = asyncio.create_task(made.keep())
        try:
            async with connected(stack.settings, "observer") as bus:
                await topology.ensure(bus)
                made.bus = bus
                yield made
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            made.close()
