"""A server falls silent, its connections stay open: who has written to it goes elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import nats.errors
import pytest

from bus import connection, embedded
from bus.settings import Settings, load

pytestmark = [
    pytest.mark.integration,
    # A connection that is dropped, not closed, is what this is about.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

MUCH = b"x" * 500_000
"""Twenty of it are more than two sockets hold."""


class Wire:
    """A line to a server. Once cut, what lies on it is never delivered; new calls get through."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._uncut = asyncio.Event()
        self._uncut.set()
        self.calls = 0

    def cut(self) -> None:
        """Let nothing of what has been connected so far through any more."""
        self._uncut.clear()
        self._uncut = asyncio.Event()
        self._uncut.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        uncut = self._uncut
        there, back = await asyncio.open_connection("127.0.0.1", self._port)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while uncut.is_set() and (data := await source.read(65536)):
                    target.write(data)
                    await target.drain()
            if not uncut.is_set():
                await asyncio.Event().wait()  # silent, and open

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(carry(reader, back))
                group.create_task(carry(there, writer))
        finally:
            for end in (back, writer):
                end.transport.abort()


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    given = load({"HOME": str(tmp_path), "ADGENX_DATA_DIR": str(tmp_path / "data")})
    async with embedded.stack(given) as stack:
        yield stack.settings


@pytest.fixture
async def wire(settings: Settings) -> AsyncIterator[tuple[Wire, Settings]]:
    """A line, and the settings of who uses it."""
    made = Wire(int(settings.nats_url.rpartition(":")[2]))
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield made, msgspec.structs.replace(settings, nats_url=f"nats://127.0.0.1:{port}")
    finally:
        server.close()


async def test_what_was_not_sent_keeps_nobody_from_another_connection(
    wire: tuple[Wire, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, settings = wire
    monkeypatch.setattr(connection, "PING_SECONDS", 0.2)
    async with connection.connected(settings, "test") as bus:
        line.cut()
        for _ in range(20):
            await bus.publish("nobody.listens", MUCH)
        async with asyncio.timeout(20):
            while line.calls < 2 or not bus.nc.is_connected:  # noqa: ASYNC110 - nats-py reconnects
                await asyncio.sleep(0.02)
            with contextlib.suppress(nats.errors.NoRespondersError):
                await bus.request("nobody.answers")


async def test_it_ends_though_the_server_takes_nothing(
    wire: tuple[Wire, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, settings = wire
    monkeypatch.setattr(connection, "FLUSH_SECONDS", 0.2)
    bus = await connection.connect(settings, "test")
    line.cut()
    for _ in range(20):
        await bus.publish("nobody.listens", MUCH)
    async with asyncio.timeout(20):
        await bus.drain()
    assert bus.nc.is_closed
