"""Who keeps the embedded servers: a full disk is noticed whenever it happens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from bus import embedded
from bus.full_disk import Disk
from bus.servers import Server

pytestmark = pytest.mark.unit


class OneServer:
    """A server that has just ended, and counts what is done with it."""

    name = "s3"
    wanted = True

    def __init__(self) -> None:
        self.alive = False
        self.starts = 0
        self.restarted = asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        self.alive = True

    async def restart(self) -> None:
        self.restarted.set()


class FullAfterTheStart(Disk):
    """A disk that fills as soon as the server is back, and has room a look later."""

    def __init__(self, server: OneServer) -> None:
        super().__init__(Path())
        self._server = server
        self._looks = 0

    def recovered(self) -> bool:
        self._looks += self._server.starts
        return self._looks == 2


async def test_a_disk_that_fills_right_after_a_start_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(embedded, "FIRST_BACKOFF_SECONDS", 3600.0)
    server = OneServer()
    keeper = asyncio.create_task(embedded._keep(cast("Server", server), FullAfterTheStart(server)))
    async with asyncio.timeout(5):
        await server.restarted.wait()
    keeper.cancel()
    assert server.starts == 1


async def test_between_two_starts_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(embedded, "FIRST_BACKOFF_SECONDS", 3600.0)
    looked = asyncio.Event()
    server = OneServer()

    class Roomy(Disk):
        """A disk with room; says when it was looked at often enough."""

        looks = 0

        def recovered(self) -> bool:
            if server.starts:
                server.alive = False  # it ends as soon as it is started
                self.looks += 1
            if self.looks == 20:
                looked.set()
            return False

    keeper = asyncio.create_task(embedded._keep(cast("Server", server), Roomy(Path())))
    async with asyncio.timeout(5):
        await looked.wait()
    keeper.cancel()
    assert server.starts == 1
