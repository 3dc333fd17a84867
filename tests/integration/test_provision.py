"""`adgenx provision` as a unit runs it: it makes what lacks and mends what differs, and says so."""

from __future__ import annotations

import asyncio
import secrets
import sys

import msgspec
import pytest
from router_rig import environment_of

from bus.connection import connected
from bus.settings import Settings
from contracts.subjects import Stream

pytestmark = pytest.mark.integration


async def provision(environment: dict[str, str]) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", "provision", "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    changes: list[str] = msgspec.json.decode(said)["changes"]
    return changes


async def test_it_says_what_it_changed_and_changes_nothing_twice(
    nats_settings: Settings, s3_settings: Settings
) -> None:
    async with connected(nats_settings, "test") as bus:
        environment = environment_of(bus, s3_settings)
        environment["ADGENX_S3_BUCKET"] = f"test-{secrets.token_hex(6)}"
        made = await provision(environment)
        assert {"made stream REQUESTS", "made stream KV_disks"} <= set(made)
        assert made[-1] == f"made bucket {environment['ADGENX_S3_BUCKET']}"
        assert await provision(environment) == []
        info = await bus.js.stream_info(Stream.EVENTS)
        await bus.js.update_stream(altered(info.config, max_bytes=1 << 20))
        await bus.js.delete_stream(Stream.DEAD)
        assert await provision(environment) == ["changed stream EVENTS", "made stream DEAD"]


def altered(config: object, **changes: object) -> object:
    """Return nats-py's configuration with something changed."""
    return config.evolve(**changes)  # type: ignore[attr-defined]  # nats-py's own base class
