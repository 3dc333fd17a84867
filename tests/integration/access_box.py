"""A box as the installer makes it, on loopback: every process with its own nkey and S3 key."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from bus import topology
from bus.access import keys, nats_conf, s3_policy
from bus.access.keys import Keyring
from bus.access.policy import Parties, User, users
from bus.connection import connect
from bus.ports import claim
from bus.processes import ServerProcess
from bus.servers import NATS_BINARY, S3_PORTS, S3Server, binary
from bus.settings import Settings, load

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
CA_VARIABLES = ("ADGENX_NATS_CA", "ADGENX_S3_CA")


def store_with(tls: nats_conf.Tls | None) -> type[S3Server]:
    """Return the store as a box starts it: with a certificate its S3 port speaks TLS alone."""
    if tls is None:
        return S3Server

    class Secured(S3Server):
        def _argv(self) -> list[str]:
            return [*super()._argv(), f"-s3.cert.file={tls.cert}", f"-s3.key.file={tls.key}"]

    return Secured


class Box:
    """Servers with the rendered configuration; processes are started with their users' keys."""

    def __init__(self, folder: Path, found: list[User], tls: nats_conf.Tls | None = None) -> None:
        self.folder = folder
        self.tls = tls
        self.users = {user.name: user for user in found}
        self.secrets = folder / "secrets"
        self.keyring: Keyring = keys.make(self.secrets, found)
        self.ports = claim(folder / "ports.json", ("nats", "http", *S3_PORTS))
        self._log = folder / "nats" / "nats.log"
        self._processes: dict[str, ServerProcess] = {}
        self._s3: S3Server | None = None

    def environment(self, user: str) -> dict[str, str]:
        """Return what a unit of this user is told; nothing in it is secret."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("ADGENX_", "USE_"))},
            "CREDENTIALS_DIRECTORY": str(self.secrets / user),
            "ADGENX_NATS_URL": f"{'tls' if self.tls else 'nats'}://127.0.0.1:{self.ports['nats']}",
            "ADGENX_S3_ENDPOINT": f"http{'s' if self.tls else ''}://127.0.0.1:{self.ports['s3']}",
            **({v: str(self.tls.ca) for v in CA_VARIABLES} if self.tls else {}),
            "ADGENX_DATA_DIR": str(self.folder / "data" / user),
            "ADGENX_STORE_DIR": str(self.folder / "data" / "admin" / "s3"),
            "ADGENX_CONNECT_PATIENCE_SECONDS": str(START_SECONDS),
        }

    def settings(self, user: str) -> Settings:
        """Return what a process of this user reads."""
        return load(self.environment(user))

    async def start_nats(self, *, provisioned: bool = True) -> None:
        """Start nats-server under the rendered configuration, and make the streams."""
        folder = self.folder / "nats"
        folder.mkdir(exist_ok=True)
        config = self._render()
        self.run("nats", folder, [binary(NATS_BINARY), "--config", str(config)])
        bus = await connect(self.settings("admin"), "admin")
        try:
            if provisioned:
                await topology.ensure(bus)
        finally:
            await bus.drain()

    def _render(self) -> Path:
        server = nats_conf.Server(
            store_dir=self.folder / "nats" / "data",
            port=self.ports["nats"],
            monitoring_port=self.ports["http"],
            tls=self.tls,
        )
        config = self.folder / "nats" / "nats-server.conf"
        config.write_text(nats_conf.render(server, self.users.values(), self.keyring.nkeys))
        return config

    def reload(self, found: list[User]) -> None:
        """Let these users in from now on, with the keys that there are, and nobody else."""
        self.users = {user.name: user for user in found}
        self.keyring = keys.make(self.secrets, found)
        self._render()
        pid = self._processes["nats"].pid
        assert pid is not None
        os.kill(pid, signal.SIGHUP)

    async def start_store(self) -> None:
        """Start the store under the rendered identities."""
        folder = self.folder / "s3"
        folder.mkdir(exist_ok=True)
        found = self.settings("admin")
        self._s3 = store_with(self.tls)(
            folder,
            found,
            ports={name: self.ports[name] for name in S3_PORTS},
            signing_keys=[secrets.token_urlsafe(32) for _ in range(4)],
            identities=s3_policy.identities(self.users.values(), self.keyring.s3, found.s3_bucket),
        )
        await self._s3.start()

    def run(
        self, name: str, folder: Path, argv: list[str], env: Mapping[str, str] | None = None
    ) -> None:
        """Start a process that ends with this box."""
        process = self._processes[name] = ServerProcess(name, folder, argv, env)
        process.start()

    def serve(self, name: str, module: str, *arguments: str) -> None:
        """Start a process of the product as a user."""
        folder = self.folder / "processes"
        folder.mkdir(exist_ok=True)
        argv = [sys.executable, "-m", module, *arguments]
        self.run(name, folder, argv, {**self.environment(name), "PYTHONPATH": str(REPOSITORY)})

    def adgenx(
        self, user: str, *arguments: str, seconds: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line with a user's key."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli.main", *arguments],
            env=self.environment(user),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def refusals(self) -> list[str]:
        """Return every line in which nats-server says that it has refused something."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if "Violation" in line or "authentication error" in line]

    def logged(self, text: str) -> list[str]:
        """Return the processes whose logs hold a text."""
        logs = (self.folder / "processes").glob("*.log")
        return sorted(log.stem for log in logs if text in log.read_text(errors="replace"))

    def alive(self, name: str) -> bool:
        """Say whether a process runs."""
        return self._processes[name].alive

    def said(self, name: str) -> str:
        """Return what a process has logged."""
        return self._processes[name].tail()

    def end(self, names: Iterable[str]) -> None:
        """End processes in order."""
        for name in names:
            self._processes.pop(name).stop()

    async def stop(self) -> None:
        """End everything."""
        others = [name for name in self._processes if name != "nats"]
        for pid in filter(None, (self._processes[name].pid for name in others)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)  # they drain side by side
        self.end(others)
        if self._s3 is not None:
            await self._s3.stop()
        self.end(list(self._processes))


def box(
    folder: Path,
    parties: Parties,
    without: Mapping[str, str] | None = None,
    tls: nats_conf.Tls | None = None,
) -> Box:
    """Return a box for these; `without` takes one published subject away from a user each."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [_less(user, (without or {}).get(user.name)) for user in users(parties)]
    return Box(folder, found, tls)


def _less(user: User, subject: str | None) -> User:
    if subject is None:
        return user
    assert subject in user.publish, f"{user.name} may not publish to {subject} anyway"
    left = tuple(pattern for pattern in user.publish if pattern != subject)
    return msgspec.structs.replace(user, publish=left)
