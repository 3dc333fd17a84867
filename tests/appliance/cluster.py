"""An appliance on three hosts: a NATS server on each, the store on the first, services spread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import hosts
import msgspec
import nats.errors
import nats.js.errors
from load import TENANTS
from noop_services import whole_house
from yard import COORDINATOR, LOOK_SECONDS, ROUTER, Player, until, worker

from bus import topology
from bus.access import keys
from bus.access.nats_conf import Route, Server, Tls, render
from bus.access.policy import Parties, users
from bus.access.s3_policy import identities
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.records import Records
from bus.servers import NATS_BINARY, S3_BINARY, binary
from bus.settings import Settings, load
from contracts.errors import AdgenxError
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket, Stream

TESTS = Path(__file__).parents[1]
STORE_HOST = "h1"
REPLICAS = 3
START_SECONDS = 90.0
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a network namespace that this test has made
BUCKET = "adgenx"
CLIENT = "admin"
"""Whose key our client has: it is every tenant at once, and reads everything at the end."""
SPREAD = {
    "h1": ("coordinator", "noop_painter", "noop_studio", "draft_copy"),
    "h2": ("router", "coordinator", "noop_sketcher", "noop_director", "noop_brittle"),
    "h3": ("router", "noop_painter", "noop_sketcher", "noop_studio", "draft_copy"),
    # What stands on two hosts goes on while one of them is away.
}
ALONE = {"noop_director": "h3", "noop_brittle": "h1"}
"""The second places of what is left."""


class Cluster:
    """Three hosts at work. `bus` is a client's connection from outside of all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services = folder / "services"
        self.generations = folder / "generations.log"
        self.generations.touch()
        self.cast: dict[str, Player] = {}
        self.bus: Bus
        self.models = [*whole_house(self.services), "draft_copy"]
        parties = Parties(services=tuple(self.models), tenants=TENANTS, replicated=True)
        self._users = users(parties)
        self._keys = keys.make(folder / "secrets", self._users)
        self._tls = certificate(folder)

    def settings(self, *nats_hosts: str) -> Settings:
        """Return what a client of these hosts' servers is told."""
        urls = ",".join(f"tls://{hosts.address(host)}:4222" for host in nats_hosts)
        return load(self._told(CLIENT, urls))

    def _told(self, user: str, nats_url: str) -> dict[str, str]:
        told = {
            "NATS_URL": nats_url,
            "NATS_CA": str(self._tls.ca),
            "SECRETS_DIR": str(self.folder / "secrets" / user),
            "S3_ENDPOINT": f"http://{hosts.address(STORE_HOST)}:8333",
            "S3_PATIENCE_SECONDS": "2",
            # The store is another host's: nobody else can sync it. No plug is pulled here.
            "MAKE_DURABLE": "server",
            "STREAM_REPLICAS": str(REPLICAS),
            "ACK_WAIT_SECONDS": "4",
            "PUBLISH_TIMEOUT_SECONDS": "2",
            "LEASE_PATIENCE_SECONDS": "0.5",
            "SERVICES_PATH": str(self.services),
            "DATA_DIR": str(self.folder),
        }
        credentials = {"CREDENTIALS_DIRECTORY": str(self.folder / "secrets" / user)}
        return {**{f"ADGENX_{k}": v for k, v in told.items()}, **credentials}

    def _environment(self, host: str, user: str) -> Mapping[str, str]:
        own = {"ADGENX_DATA_DIR": str(self.folder / host), "ADGENX_DEVICE": host}
        local = "tls://127.0.0.1:4222"  # its own server, whatever the wire does
        told = {**self._told(user, local), **own}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ADGENX_")}
        return {
            **kept,
            **told,
            "CHAOS_GENERATIONS": str(self.generations),
            "PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS / "chaos"))),
        }

    def start(self, host: str, name: str, argv: list[str], env: Mapping[str, str]) -> None:
        """Start a process on a host; it is started again whenever it ends."""
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        player = Player(name, folder, hosts.on(host, *argv), env)
        self.cast[f"{host}/{name}"] = player
        player.look()

    def start_servers(self) -> None:
        """Start NATS everywhere, and the store where it lives."""
        for host in hosts.NAMES:
            (self.folder / host).mkdir()
            config = self.folder / host / "nats.conf"
            server = nats_server(host, self.folder / host / "nats", self._tls)
            config.write_text(render(server, self._users, self._keys.nkeys), encoding="utf-8")
            argv = [binary(NATS_BINARY), "--config", str(config)]
            self.start(host, "nats", argv, {"PATH": os.defpath})
        told = self.folder / "identities.json"
        told.write_bytes(identities(self._users, self._keys.s3, BUCKET))
        self.start(STORE_HOST, "s3", store_argv(self.folder / "s3", told), {"PATH": os.defpath})

    def start_services(self) -> list[str]:
        """Start every service in both of its places; return the models' names."""
        roles = {"router": ROUTER, "coordinator": COORDINATOR}
        places = [(host, name) for host, names in SPREAD.items() for name in names]
        for host, name in (*places, *((host, name) for name, host in ALONE.items())):
            argv = [sys.executable, "-m", *roles.get(name, worker(name))]
            self.start(host, name, argv, self._environment(host, name))
        return self.models

    async def keep(self) -> None:
        """Start again whoever ends; runs until cancelled."""
        while True:
            for player in self.cast.values():
                player.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def lead(self, stream: Stream | str, host: str) -> None:
        """Have a stream led by this host's server."""

        async def led() -> bool:
            body = msgspec.json.encode({"placement": {"preferred": host}})
            with contextlib.suppress(nats.errors.Error, nats.js.errors.Error):
                info = await self.bus.js.stream_info(str(stream))
                if info.cluster is not None and info.cluster.leader == host:
                    return True
                await self.bus.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", body)
            return False

        await until(led, f"{stream} to be led by {host}", START_SECONDS)

    async def current(self) -> bool:
        """Say whether every replica of every stream has everything."""
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error):
            for info in await self.bus.js.streams_info():
                found = info.cluster
                if found is None or not found.leader or not found.replicas:
                    return False
                if any(not peer.current or peer.offline for peer in found.replicas):
                    return False
            return True
        return False

    async def announced(self, *services: str) -> None:
        """Wait until these services have announced themselves."""
        table = Records(self.bus, Bucket.SERVICES, ServiceRecord)

        async def there() -> bool:
            with contextlib.suppress(AdgenxError):
                ready = {
                    record.value.manifest.name
                    for record in await table.under()
                    if record.value.state is ServiceState.READY
                }
                return set(services) <= ready
            return False

        await until(there, f"{services} to announce themselves", START_SECONDS)

    def tails(self) -> str:
        """Return the ends of all logs, for the report of a failure."""
        return "\n".join(f"--- {name}: {p.tail()}" for name, p in self.cast.items())

    def end(self) -> None:
        """Kill everybody."""
        for player in self.cast.values():
            player.end()


def certificate(folder: Path) -> Tls:
    """Return a certificate for all three hosts that signs itself, and so is its own CA."""
    names = ",".join(f"IP:{address}" for address in ("127.0.0.1", *map(hosts.address, hosts.NAMES)))
    cert, key = folder / "cert.pem", folder / "key.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")
    named = ("-subj", "/CN=cluster", "-addext", f"subjectAltName={names}")
    openssl = shutil.which("openssl") or "openssl"
    argv = [openssl, "req", "-x509", *curve, *named, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True)
    return Tls(cert=cert, key=key, ca=cert)


def nats_server(host: str, store: Path, tls: Tls) -> Server:
    """Return what one of the three servers is."""
    others = [h for h in hosts.NAMES if h != host]
    peers = tuple(f"{hosts.address(h)}:6222" for h in others)
    return Server(
        store_dir=store,
        host=EVERYWHERE,
        name=host,
        tls=tls,
        cluster=Route(listen=f"{EVERYWHERE}:6222", peers=peers, tls=tls),
    )


def store_argv(data: Path, identities: Path) -> list[str]:
    """Return the command line of SeaweedFS; only S3 is for other hosts, the rest for itself."""
    data.mkdir()
    return [
        *(binary(S3_BINARY), "-logtostderr=true", "mini", f"-dir={data}", "-ip=127.0.0.1"),
        *(f"-ip.bind={EVERYWHERE}", "-s3.port=8333", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.config={identities}", f"-bucket={BUCKET}", "-admin.ui=false", "-webdav=false"),
        *("-master.telemetry=false", "-volume.preStopSeconds=0"),
    ]


async def _topology(made: Cluster) -> bool:
    """Say whether every stream is there: a fresh cluster elects before it can make one."""
    with contextlib.suppress(AdgenxError, nats.js.errors.Error):
        await topology.ensure(made.bus)
        return True
    return False


async def _store(settings: Settings) -> bool:
    artifacts = Artifacts(settings)
    try:
        with contextlib.suppress(AdgenxError):
            await artifacts.ensure_bucket()
            return True
        return False
    finally:
        artifacts.close()


@contextlib.asynccontextmanager
async def cluster(folder: Path, *client_of: str) -> AsyncIterator[Cluster]:
    """Run three hosts at work for a block; our client knows the servers of `client_of`."""
    made = Cluster(folder)
    with hosts.wired():
        made.start_servers()
        keeper = asyncio.create_task(made.keep())
        try:
            settings = made.settings(*client_of)
            async with connected(settings, "observer") as bus:
                made.bus = bus
                await until(lambda: _topology(made), "the streams", START_SECONDS)
                await until(lambda: _store(settings), "the store", START_SECONDS)
                await made.announced(*made.start_services())
                yield made
        except BaseException:
            print(made.tails())  # noqa: T201 - pytest shows it when the test fails
            raise
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            made.end()
