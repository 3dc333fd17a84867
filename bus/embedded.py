"""The laptop's own servers: nats-server and SeaweedFS as child processes with their own folder.

    <data>/stack.lock       held while a supervisor lives: one stack per folder
    <data>/credentials.json made once, 0600
    <data>/endpoints.json   0600, present while the stack runs; `settings.load` reads it
    <data>/ports.json       the ports, kept while they are free
    <data>/nats  <data>/s3  the data;  <data>/servers  configuration, logs and pid files

Everything listens on the loopback alone and asks for credentials: NATS a password, S3 a key, and
SeaweedFS's filer and volume ports, open to everybody by default, a signed token that only its own
S3 side can make. Its master's HTTP port and its gRPC ports know no such thing, so that on a
machine with untrusted local users the store should be a server of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus.full_disk import Disk
from bus.ports import LOOPBACK, claim
from bus.processes import ServerError, ServerProcess
from bus.servers import S3_PORTS, NatsServer, S3Server, Server, write_private
from bus.settings import ENDPOINTS_FILE, Durability, Secret, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger(__name__)

START_ATTEMPTS = 3
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0
WATCH_SECONDS = 0.1
LOCK_SECONDS = 0.5
STEADY_SECONDS = 10.0


class StackRunningError(ServerError):
    """Another process keeps the servers of this data directory running: use those."""

    code = "STACK_RUNNING"


class Credentials(msgspec.Struct, frozen=True):
    """Random keys of one data directory, made at its first start."""

    nats_user: str
    nats_password: str
    s3_access_key: str
    s3_secret_key: str
    store_signing_keys: list[str]


def _credentials(path: Path) -> Credentials:
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    made = Credentials(
        nats_user="adgenx",
        nats_password=secrets.token_urlsafe(24),
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_urlsafe(30),
        store_signing_keys=[secrets.token_urlsafe(32) for _ in range(4)],
    )
    write_private(path, msgspec.json.encode(made))
    return made


class Stack:
    """Both servers of one data directory, owned by this process.

    `settings` is the given one with the servers' addresses and keys filled in, after `start`.
    """

    nats: NatsServer
    s3: S3Server

    def __init__(self, settings: Settings, *, sync_always: bool = True) -> None:
        self.settings = settings
        self._data = settings.data_dir
        self._sync_always = sync_always
        self._lock: int | None = None

    async def start(self) -> Settings:
        """Start both; return the settings to reach them. StackRunningError, ServerError."""
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._hold_lock()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self.settings

    async def _start(self) -> None:
        for attempt in range(START_ATTEMPTS):
            await asyncio.to_thread(self._configure)
            failed: Exception | None = None
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.nats.start())
                    group.create_task(self.s3.start())
            except* ServerError as errors:
                failed = errors.exceptions[0]
            if failed is None:
                break
            # Somebody may have taken a port between our look and the server's bind.
            await self._stop_servers()
            if attempt + 1 == START_ATTEMPTS:
                raise failed  # not inside except*: Python 3.11.2 would wrap it in a group
        write_private(self._data / ENDPOINTS_FILE, msgspec.json.encode(self._endpoints()))

    def _configure(self) -> None:
        made = _credentials(self._data / "credentials.json")
        folders = {name: self._data / "servers" / name for name in ("nats", "s3")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, folder in folders.items():  # a left-over holds the ports that we want to keep
            ServerProcess(name, folder, []).end_stale()
        ports = claim(self._data / "ports.json", ("nats", *S3_PORTS))
        self.settings = msgspec.structs.replace(
            self.settings,
            nats_url=f"nats://{LOOPBACK}:{ports['nats']}",
            nats_user=made.nats_user,
            nats_password=Secret(made.nats_password),
            s3_endpoint=f"http://{LOOPBACK}:{ports['s3']}",
            s3_access_key=Secret(made.s3_access_key),
            s3_secret_key=Secret(made.s3_secret_key),
            make_durable=Durability.SYNCFS,
        )
        self.nats = NatsServer(
            folders["nats"], self.settings, port=ports.pop("nats"), sync_always=self._sync_always
        )
        self.s3 = S3Server(
            folders["s3"], self.settings, ports=ports, signing_keys=made.store_signing_keys
        )

    def _endpoints(self) -> dict[str, str]:
        """Return what `settings.load` needs to find us, by field name."""
        return {
            "nats_url": self.settings.nats_url,
            "nats_user": self.settings.nats_user,
            "nats_password": self.settings.nats_password.reveal(),
            "s3_endpoint": self.settings.s3_endpoint,
            "s3_access_key": self.settings.s3_access_key.reveal(),
            "s3_secret_key": self.settings.s3_secret_key.reveal(),
        }

    async def supervise(self) -> None:
        """Restart whichever server ends until cancelled; slower while it keeps ending."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_keep(self.nats, Disk(self._data / "nats")))
            group.create_task(_keep(self.s3, Disk(self.settings.store_root)))

    async def stop(self) -> None:
        """End both in order and give the data directory back."""
        await self._stop_servers()
        (self._data / ENDPOINTS_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _stop_servers(self) -> None:
        servers = [s for s in (getattr(self, "nats", None), getattr(self, "s3", None)) if s]
        await asyncio.gather(*(s.stop() for s in servers))

    async def _hold_lock(self) -> None:
        descriptor = os.open(self._data / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise StackRunningError(f"the servers of {self._data} are running already")
            await asyncio.sleep(WATCH_SECONDS)  # somebody may only be looking, as `is_running` does
        self._lock = descriptor


def is_running(data_dir: Path) -> bool:
    """Say whether some process keeps the servers of this data directory running."""
    try:
        descriptor = os.open(data_dir / "stack.lock", os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


async def _keep(server: Server, disk: Disk) -> None:
    """Start a server again when it ends, and when its disk was full.

    The disk is looked at in every round, also between two starts: a full one leaves no other trace.
    """
    backoff = FIRST_BACKOFF_SECONDS
    since = time.monotonic()
    not_before = 0.0
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        recovered = disk.recovered()
        if not server.wanted:
            continue
        if server.alive:
            if recovered:
                log.warning("server.restarted", server=server.name, reason="its disk was full")
                with contextlib.suppress(ServerError):  # the next round tries again
                    await server.restart()
            continue
        if time.monotonic() < not_before:
            continue
        log.warning("server.ended", server=server.name)
        if time.monotonic() - since > STEADY_SECONDS:
            backoff = FIRST_BACKOFF_SECONDS
        try:
            await server.start()
        except ServerError as error:
            log.warning("server.failed", server=server.name, error=error.message)
        since = time.monotonic()
        not_before = since + backoff
        backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)


@contextlib.asynccontextmanager
async def stack(settings: Settings, *, sync_always: bool = True) -> AsyncIterator[Stack]:
    """Run both servers, supervised, for the length of a block."""
    running = Stack(settings, sync_always=sync_always)
    await running.start()
    keeper = asyncio.create_task(running.supervise())
    try:
        yield running
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        await running.stop()
