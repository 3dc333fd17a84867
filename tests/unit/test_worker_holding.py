"""Jobs in hand are watched whatever the connection does, and each for itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bus.consume import Delivery
from bus.pulse import Pulses
from bus.settings import Settings
from bus.worker.holding import Claim, Hold, Holding
from contracts.jobs import Run, RunState

pytestmark = pytest.mark.unit


class _Nc:
    """A connection that breaks whenever somebody wants to listen; `heard` counts heartbeats."""

    def __init__(self) -> None:
        self.broken = 0
        self.heard: dict[str, int] = {}
        self.beaten = asyncio.Event()

    async def subscribe(self, _subject: str, **_: object) -> object:
        self.broken += 1
        raise ConnectionResetError

    async def publish(self, reply: str, data: bytes) -> None:
        assert data == b"+WPI"
        self.heard[reply] = self.heard.get(reply, 0) + 1
        self.beaten.set()


def bus_of(nc: _Nc) -> Any:  # noqa: ANN401 - as much of a Bus as is used
    settings = Settings(ack_wait_seconds=0.06)
    return cast(
        "Any", SimpleNamespace(nc=nc, settings=settings, stopping=asyncio.Event(), pulses=Pulses())
    )


def hold_of(owner: str) -> Hold:
    run = Run(attempt=1, owner=owner, state=RunState.CLAIMED, job_key="acme.-.r1")
    return Hold(Delivery("adgenx.job.s.j", b"", owner, 1, 0.0, 1), Claim("s.j", run, 1))


async def test_a_connection_that_breaks_stops_no_heartbeat() -> None:
    nc = _Nc()

    async def still_mine(_: Claim) -> bool:
        return True

    holding = Holding(bus_of(nc), "s", still_mine)
    watching = asyncio.create_task(holding.run())
    async with asyncio.timeout(10):
        with holding.watching(hold_of("one")):
            while nc.heard.get("one", 0) < 3:
                nc.beaten.clear()
                await nc.beaten.wait()
    assert nc.broken >= 1
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_two_deliveries_of_one_job_are_watched_each_until_its_own_end() -> None:
    nc = _Nc()
    superseded = asyncio.Event()

    async def still_mine(claim: Claim) -> bool:
        return claim.run.owner == "second"

    holding = Holding(bus_of(nc), "s", still_mine)
    watching = asyncio.create_task(holding.run())
    first, second = hold_of("first"), hold_of("second")
    first.on_stop = superseded.set
    async with asyncio.timeout(10):
        with holding.watching(second):
            with holding.watching(first):
                await superseded.wait()
            nc.heard.clear()
            while not nc.heard.get("second"):
                nc.beaten.clear()
                await nc.beaten.wait()
    assert first.stopped.is_set()
    assert not second.stopped.is_set()
    assert "first" not in nc.heard
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
