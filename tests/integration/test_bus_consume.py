"""Continuous pull on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from bus_servers import eventually

from bus import consume, gate
from bus.connection import Bus
from bus.consume import Delivery
from bus.listing import subjects_in
from bus.servers import NatsServer
from bus.topology import durable, ensure_consumer
from contracts import subjects
from contracts.errors import UnknownOutcomeError
from contracts.subjects import Stream

pytestmark = pytest.mark.integration


@asynccontextmanager
async def consumer(
    bus: Bus, handle: Callable[[Delivery], Awaitable[None]], *, in_flight: int, wait: float = 30.0
) -> AsyncIterator[asyncio.Task[None]]:
    wanted = durable("test", [subjects.all_jobs()], ack_wait_seconds=wait)
    await ensure_consumer(bus, Stream.JOBS, wanted)
    task = asyncio.create_task(
        consume.consume(bus, Stream.JOBS, "test", handle, in_flight=in_flight)
    )
    yield task
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def publish(bus: Bus, first: int, count: int) -> None:
    for number in range(first, first + count):
        await gate.publish_once(bus, subjects.job("svc", f"j{number}"), b"x")


async def test_everything_comes_and_never_more_than_allowed_at_once(bus: Bus) -> None:
    now, most, seen = 0, 0, []
    two = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now > 1:
            two.set()
        await two.wait()
        now -= 1
        seen.append(delivery.subject)
        await consume.ack(bus, delivery)

    async with consumer(bus, handle, in_flight=8):
        await publish(bus, 0, 200)

        async def emptied() -> bool:
            return await subjects_in(bus, Stream.JOBS) == []

        await eventually(emptied)
    assert len(seen) == len(set(seen)) == 200
    assert 1 < most <= 8


async def test_what_a_handler_raises_leaves_the_message_to_come_again(bus: Bus) -> None:
    deliveries: list[int] = []

    async def handle(delivery: Delivery) -> None:
        deliveries.append(delivery.delivered)
        if delivery.delivered == 1:
            raise UnknownOutcomeError("no answer")
        if delivery.delivered == 2:
            raise ValueError("a defect")
        await consume.ack(bus, delivery)

    async with consumer(bus, handle, in_flight=4, wait=0.3):
        await publish(bus, 0, 1)

        async def emptied() -> bool:
            return await subjects_in(bus, Stream.JOBS) == []

        await eventually(emptied)
    assert deliveries == [1, 2, 3]


async def test_it_goes_on_when_the_server_comes_back(bus: Bus, nats_server: NatsServer) -> None:
    seen: set[str] = set()

    async def handle(delivery: Delivery) -> None:
        seen.add(delivery.subject)
        await consume.ack(bus, delivery)

    async with consumer(bus, handle, in_flight=4, wait=1.0):
        await publish(bus, 0, 5)
        nats_server.process.kill()
        await nats_server.start()

        async def back() -> bool:
            return bus.nc.is_connected

        await eventually(back)
        await publish(bus, 5, 5)

        async def all_seen() -> bool:
            return len(seen) == 10

        await eventually(all_seen)


async def test_stopping_finishes_what_is_in_hand(bus: Bus) -> None:
    started, go, done = asyncio.Event(), asyncio.Event(), []

    async def handle(delivery: Delivery) -> None:
        started.set()
        await go.wait()
        done.append(delivery.subject)
        await consume.ack(bus, delivery)

    async with consumer(bus, handle, in_flight=4) as task:
        await publish(bus, 0, 1)
        await started.wait()
        bus.stopping.set()
        await asyncio.sleep(0)
        assert not task.done()
        go.set()
        async with asyncio.timeout(10):
            await task
    assert len(done) == 1


async def test_a_consumer_that_is_made_late_is_waited_for(bus: Bus) -> None:
    seen = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        await consume.ack(bus, delivery)
        seen.set()

    task = asyncio.create_task(consume.consume(bus, Stream.JOBS, "test", handle, in_flight=4))
    await publish(bus, 0, 1)
    await ensure_consumer(bus, Stream.JOBS, durable("test", [subjects.all_jobs()]))
    async with asyncio.timeout(20):
        await seen.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
