"""Servers for the tests of this folder, and waiting for what happens in them.

They are child processes, or with ADGENX_TEST_SERVERS=containers containers of our image.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from bus.ports import claim
from bus.servers import NatsServer, Server
from bus.settings import Secret, Settings, load

PATIENCE_SECONDS = 20.0
CONTAINED = os.environ.get("ADGENX_TEST_SERVERS", "") == "containers"


async def eventually(
    condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE_SECONDS
) -> None:
    """Return as soon as the condition holds; fail when it never does."""
    async with asyncio.timeout(seconds):
        # What is waited for happens in another process, which sets no event of ours.
        while not await condition():  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)


def base_settings(folder: Path) -> Settings:
    """Settings that know this test's folder and nothing of the machine."""
    return load({"HOME": str(folder), "ADGENX_DATA_DIR": str(folder / "data")})


def make_nats(folder: Path, *, sync_always: bool = False) -> tuple[NatsServer, Settings]:
    """One nats-server of its own, not started; without fsync, which only a power cut would miss."""
    folder.mkdir(parents=True, exist_ok=True)
    port = claim(folder / "ports.json", ["nats"])["nats"]
    settings = msgspec.structs.replace(
        base_settings(folder),
        nats_url=f"nats://127.0.0.1:{port}",
        nats_user="tester",
        nats_password=Secret(secrets.token_hex(8)),
        publish_timeout_seconds=2.0,
        drain_seconds=5.0,
    )
    server = NatsServer(folder, settings, port=port, sync_always=sync_always)
    contain(server, folder)
    return server, settings


def contain(server: Server, folder: Path) -> None:
    """Let a server that was not started yet run in a container, if that is asked for."""
    if CONTAINED:
        from bus_containers import ContainerProcess  # noqa: PLC0415 - only where Docker is

        server.process = ContainerProcess(server.name, folder, server.process.argv)


def throw_away(server: Server) -> None:
    """End a server whose data nobody needs: there is no need to close it in order."""
    server.process.kill()
    if CONTAINED:
        from bus_containers import ContainerProcess  # noqa: PLC0415 - the same

        assert isinstance(server.process, ContainerProcess)
        server.process.remove()
