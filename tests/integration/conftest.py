"""Real servers: nats-server per test on a free port with a fresh store, S3 once per session.

`ADGENX_TEST_S3_ENDPOINT` (with `_ACCESS_KEY` and `_SECRET_KEY`) points the artifact tests at
another S3 server, a MinIO container for instance.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from bus_servers import base_settings, contain, make_nats, throw_away
from worker_fake import write_service
from worker_rig import Rig, worker_settings

from bus import topology
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.ports import claim
from bus.processes import ServerError
from bus.servers import S3_PORTS, NatsServer, S3Server
from bus.settings import Durability, Secret, Settings
from bus.worker.folder import ServiceFolder

VOLUME_MIB = 16
"""Every test has a bucket, and every bucket a volume: hundreds must fit on a nearly full disk."""
PORT_ATTEMPTS = 3


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server, _ = make_nats(tmp_path / "nats-server")
    await server.start()
    yield server
    throw_away(server)


@pytest.fixture
def nats_settings(nats_server: NatsServer) -> Settings:
    return nats_server._settings


@pytest.fixture
async def bus(nats_settings: Settings) -> AsyncIterator[Bus]:
    """A connection to a server that holds every declared stream and bucket."""
    async with connected(nats_settings, "test") as bus:
        await topology.ensure(bus)
        yield bus


def _start_s3(folder: Path, settings: Settings) -> S3Server:
    """Start an S3 server; another session may take a port between our look and its bind."""
    for attempt in range(PORT_ATTEMPTS):
        ports = claim(folder / "ports.json", S3_PORTS)
        keyed = msgspec.structs.replace(
            settings,
            s3_endpoint=f"http://127.0.0.1:{ports['s3']}",
            s3_access_key=Secret(secrets.token_hex(10)),
            s3_secret_key=Secret(secrets.token_hex(20)),
        )
        keys = [secrets.token_hex(16) for _ in range(4)]
        server = S3Server(folder, keyed, ports=ports, signing_keys=keys, volume_mib=VOLUME_MIB)
        contain(server, folder)
        try:
            asyncio.run(server.start())
        except ServerError:
            throw_away(server)
            if attempt + 1 == PORT_ATTEMPTS:
                raise
            continue
        return server
    raise AssertionError(PORT_ATTEMPTS)


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("s3-server")
    settings = msgspec.structs.replace(base_settings(folder), s3_patience_seconds=5.0)
    given = os.environ.get("ADGENX_TEST_S3_ENDPOINT")
    if given:
        yield msgspec.structs.replace(
            settings,
            s3_endpoint=given,
            s3_access_key=Secret(os.environ["ADGENX_TEST_S3_ACCESS_KEY"]),
            s3_secret_key=Secret(os.environ["ADGENX_TEST_S3_SECRET_KEY"]),
            make_durable=Durability.SERVER,
        )
        return
    server = _start_s3(folder, settings)
    yield server._settings
    throw_away(server)


@pytest.fixture
async def artifacts(s3_settings: Settings) -> AsyncIterator[Artifacts]:
    """A store with a bucket of its own."""
    settings = msgspec.structs.replace(s3_settings, s3_bucket=f"test-{secrets.token_hex(6)}")
    store = Artifacts(settings)
    await store.ensure_bucket()
    yield store
    store.close()


@pytest.fixture
def service(tmp_path: Path) -> ServiceFolder:
    """The scripted model service."""
    return write_service(tmp_path / "services")


@pytest.fixture
async def rig(
    bus: Bus, nats_settings: Settings, s3_settings: Settings, tmp_path: Path
) -> AsyncIterator[Rig]:
    """The router's side of a worker, with a bucket of its own."""
    bucket = f"test-{secrets.token_hex(6)}"
    settings = worker_settings(nats_settings, s3_settings, bucket, tmp_path / "spool")
    artifacts = Artifacts(settings)
    await artifacts.ensure_bucket()
    yield Rig(bus, artifacts, settings)
    artifacts.close()
