"""Servers for the tests of this folder, and waiting for what happens in them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from bus.ports import claim
from bus.servers import NatsServer
from bus.settings import Secret, Settings, load

PATIENCE_SECONDS = 20.0


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
    return NatsServer(folder, settings, port=port, sync_always=sync_always), settings
