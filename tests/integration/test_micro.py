"""Every process is found by NATS's own discovery; asked here as any client would, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from bus import micro
from bus.connection import Bus, connected
from bus.micro import About
from bus.settings import Settings

pytestmark = pytest.mark.integration

ABOUT = About(version="1.2.3", tier="draft", description="A painter")


class RawClient:
    """A client of NATS that knows nothing but its protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, *asked: str, count: int = 1) -> list[dict[str, Any]]:
        """Ask with empty messages, one after the other; return the first answers."""
        self._writer.write(b"SUB _INBOX.raw 1\r\n")
        for subject in asked:
            self._writer.write(f"PUB {subject} _INBOX.raw 0\r\n\r\n".encode())
        found = []
        async with asyncio.timeout(10):
            while len(found) < count:
                line = await self._reader.readline()
                if line.startswith(b"PING"):
                    self._writer.write(b"PONG\r\n")
                elif line.startswith(b"MSG _INBOX.raw"):
                    body = await self._reader.readexactly(int(line.split()[-1]) + 2)
                    found.append(msgspec.json.decode(body[:-2]))
        self._writer.write(b"UNSUB 1\r\n")
        return found


@asynccontextmanager
async def raw_client(settings: Settings) -> AsyncIterator[RawClient]:
    url = urlsplit(settings.nats_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    assert (await reader.readline()).startswith(b"INFO ")
    options = {
        "verbose": False,
        "user": settings.nats_user,
        "pass": settings.nats_password.reveal(),
    }
    writer.write(b"CONNECT " + msgspec.json.encode(options) + b"\r\n")
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_ping_finds_every_process_once_and_says_how_each_is(
    bus: Bus, nats_settings: Settings
) -> None:
    bus.reason = lambda: "its weights are not on disk"
    async with (
        connected(nats_settings, "router") as other,
        micro.answering(bus, "paint", ABOUT),
        micro.answering(other, "router", About()),
        raw_client(nats_settings) as client,
    ):
        await asyncio.gather(bus.nc.flush(), other.nc.flush())
        answers = {a["name"]: a for a in await client.ask("$SRV.PING", count=2)}
        assert answers.keys() == {"paint", "router"}
        paint, router = answers["paint"], answers["router"]
        assert paint["type"] == router["type"] == "io.nats.micro.v1.ping_response"
        assert paint["version"] == "1.2.3"
        assert router["version"] == micro.release_version()
        assert paint["metadata"]["tier"] == "draft"
        assert paint["metadata"]["state"] == "unavailable"
        assert paint["metadata"]["why"] == "its weights are not on disk"
        assert router["metadata"]["state"] == "ready"
        assert "why" not in router["metadata"]
        assert paint["id"] != router["id"]


async def test_one_name_and_one_process_are_asked_by_themselves(
    bus: Bus, nats_settings: Settings
) -> None:
    async with (
        connected(nats_settings, "second") as second,
        micro.answering(bus, "paint", ABOUT),
        micro.answering(second, "paint", ABOUT),
        micro.answering(second, "router", About()),
        raw_client(nats_settings) as client,
    ):
        await asyncio.gather(bus.nc.flush(), second.nc.flush())
        ids = {a["id"] for a in await client.ask("$SRV.PING.paint", count=2)}
        assert len(ids) == 2
        one = min(ids)
        [info] = await client.ask(f"$SRV.INFO.paint.{one}")
        assert info["id"] == one
        assert info["description"] == "A painter"
        assert info["endpoints"] == []
        assert info["type"] == "io.nats.micro.v1.info_response"
        [stats] = await client.ask("$SRV.STATS.router")
        assert stats["type"] == "io.nats.micro.v1.stats_response"
        assert stats["started"].endswith("Z")


async def test_what_nobody_knows_is_not_answered_and_who_has_gone_is_not_found(
    bus: Bus, nats_settings: Settings
) -> None:
    async with raw_client(nats_settings) as client:
        async with micro.answering(bus, "paint", ABOUT):
            # Were the first one answered, its answer would come first.
            await bus.nc.flush()
            [answer] = await client.ask("$SRV.SCHEMA.paint", "$SRV.PING.paint")
            assert answer["type"] == "io.nats.micro.v1.ping_response"
        async with connected(nats_settings, "asker") as asker:
            assert await micro.ping(asker, 0.2) == []


async def test_a_process_finds_the_others(bus: Bus, nats_settings: Settings) -> None:
    async with (
        connected(nats_settings, "asker") as asker,
        micro.answering(bus, "paint", ABOUT),
        micro.answering(bus, "router", About()),
    ):
        await bus.nc.flush()
        found = await micro.ping(asker, 0.5)
        assert sorted(p.name for p in found) == ["paint", "router"]
