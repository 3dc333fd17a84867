"""Looks at one campaign go one after the other, and a burst of calls shares one."""

from __future__ import annotations

import asyncio

import pytest

from contracts.errors import UnknownOutcomeError
from services.coordinator.shell import Desk

pytestmark = pytest.mark.unit


class Looks:
    """Counts looks, and lets each go on only when the test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self.now = 0
        self.go = asyncio.Semaphore(0)
        self.came = asyncio.Semaphore(0)

    async def look(self, key: str) -> None:
        self.begun.append(key)
        self.came.release()
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go.acquire()
        self.now -= 1


async def until_begun(looks: Looks, count: int) -> None:
    """Wait for so many more looks to begin."""
    async with asyncio.timeout(5):
        for _ in range(count):
            await looks.came.acquire()


async def test_calls_during_a_look_share_the_one_after_it() -> None:
    looks = Looks()
    desk = Desk(looks.look)
    calls = [asyncio.create_task(desk.look("a"))]
    await until_begun(looks, 1)
    calls += [asyncio.create_task(desk.look("a")) for _ in range(10)]
    looks.go.release()
    await until_begun(looks, 1)
    looks.go.release()
    await asyncio.gather(*calls)
    assert looks.begun == ["a", "a"]
    assert looks.most == 1


async def test_campaigns_do_not_wait_for_one_another() -> None:
    looks = Looks()
    desk = Desk(looks.look)
    calls = [asyncio.create_task(desk.look(key)) for key in ("a", "b")]
    await until_begun(looks, 2)
    assert looks.most == 2
    looks.go.release()
    looks.go.release()
    await asyncio.gather(*calls)


async def test_a_look_that_fails_tells_its_callers_and_blocks_nobody() -> None:
    fails = [True]

    async def look(_: str) -> None:
        if fails.pop() if fails else False:
            raise UnknownOutcomeError("the server is away")

    desk = Desk(look)
    with pytest.raises(UnknownOutcomeError):
        await desk.look("a")
    await desk.look("a")


async def test_a_caller_that_is_cancelled_does_not_cancel_the_look_of_the_others() -> None:
    looks = Looks()
    desk = Desk(looks.look)
    first, second = (asyncio.create_task(desk.look("a")) for _ in range(2))
    await until_begun(looks, 1)
    first.cancel()
    looks.go.release()
    await second
    assert looks.begun == ["a"]
    with pytest.raises(asyncio.CancelledError):
        await first
