"""A durable's messages are asked for again whatever the connection does."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bus import consume
from bus.consume import Delivery
from bus.pulse import Pulses

pytestmark = pytest.mark.unit


class _Nc:
    """A connection that breaks at the first subscription and the first publication."""

    def __init__(self) -> None:
        self.subscribed = 0
        self.published = 0
        self.inbox = ""
        self.asked = asyncio.Event()

    def new_inbox(self) -> str:
        self.inbox = f"_INBOX.{self.subscribed}"
        return self.inbox

    async def subscribe(self, _inbox: str, **_: object) -> object:
        self.subscribed += 1
        if self.subscribed == 1:
            raise ConnectionResetError
        return SimpleNamespace(unsubscribe=self._unsubscribe)

    async def publish(self, subject: str, _body: bytes, *, reply: str) -> None:
        assert (subject, reply) == ("$JS.API.CONSUMER.MSG.NEXT.S.durable", self.inbox)
        self.published += 1
        if self.published == 1:
            raise BrokenPipeError
        self.asked.set()

    async def _unsubscribe(self) -> None:
        raise ConnectionResetError


async def test_a_connection_that_breaks_ends_no_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consume, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(consume, "SILENCE_SECONDS", 0.0)
    nc = _Nc()
    reconnected: list[object] = []
    bus = SimpleNamespace(
        nc=nc,
        pulses=Pulses(),
        stopping=nc.asked,
        on_reconnect=reconnected.append,
        forget_reconnect=reconnected.remove,
    )

    async def handle(_: Delivery) -> None:
        raise AssertionError("nothing came")

    async with asyncio.timeout(10):
        await consume.consume(cast("Any", bus), "S", "durable", handle)
    assert (nc.subscribed >= 2, nc.published >= 2, reconnected) == (True, True, [])
