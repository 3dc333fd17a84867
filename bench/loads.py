"""One shape of load for every system: so many jobs, so many in flight, from publish to result."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

Publish = Callable[[str], Awaitable[None]]


class Load(msgspec.Struct, frozen=True):
    """What was measured: milliseconds from the call of publish to the result, jobs per second."""

    p50_ms: float
    p99_ms: float
    jobs_per_second: float


async def measure(
    nc: Client,
    results: str,
    name_of: Callable[[str], str],
    publish: Publish,
    names: list[str],
    in_flight: int,
) -> Load:
    """Publish every name, at most `in_flight` unanswered, and wait for every result.

    `results` is the subject of the results, `name_of` takes the name out of a result's subject.
    """
    begun: dict[str, float] = {}
    took: list[float] = []
    answered: dict[str, asyncio.Event] = {name: asyncio.Event() for name in names}

    async def arrived(message: Msg) -> None:
        name = name_of(message.subject)
        if name in begun and not answered[name].is_set():
            took.append(time.perf_counter() - begun[name])
            answered[name].set()

    heard = await nc.subscribe(results, cb=arrived)
    await nc.flush()
    places = asyncio.Semaphore(in_flight)

    async def one(name: str) -> None:
        async with places:
            begun[name] = time.perf_counter()
            await publish(name)
            await asyncio.wait_for(answered[name].wait(), 60)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name))
    seconds = time.perf_counter() - started
    await heard.unsubscribe()
    cuts = statistics.quantiles(took, n=100)
    return Load(cuts[49] * 1000, cuts[98] * 1000, len(names) / seconds)
