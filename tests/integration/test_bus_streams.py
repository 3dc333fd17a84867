from __future__ import annotations

import asyncio

import msgspec
import nats.errors
import pytest
from nats.js.api import StorageType

from bus import gate, topology
from bus.connection import Bus, connected
from bus.gate import SubjectRefusedError
from bus.settings import Settings
from bus.topology import BUCKETS, STREAMS, TopologyError, ensure_consumer, ensure_stream
from contracts import subjects
from contracts.errors import BusUnavailableError
from contracts.subjects import Stream

pytestmark = pytest.mark.integration


async def updates(bus: Bus) -> dict[str, object]:
    """When each stream was made, and how it is configured."""
    infos = await bus.js.streams_info()
    return {i.config.name or "": (i.created, i.config.as_dict()) for i in infos}


async def test_the_server_holds_exactly_what_is_declared(bus: Bus) -> None:
    declared = {s.config(1).name: s.config(1).as_dict() for s in (*STREAMS, *BUCKETS)}
    held = {i.config.name: i.config.as_dict() for i in await bus.js.streams_info()}
    assert held.keys() == declared.keys()
    for name, wanted in declared.items():
        found = held[name]
        assert {k: found.get(k) for k, v in wanted.items() if v is not None} == {
            k: v for k, v in wanted.items() if v is not None
        }


async def test_ensuring_again_changes_nothing(bus: Bus) -> None:
    await gate.publish_once(bus, subjects.request("ann", "text", "-", "r1"), b"{}")
    before = await updates(bus)
    await topology.ensure(bus)
    assert await updates(bus) == before
    assert (await bus.js.stream_info(Stream.REQUESTS)).state.messages == 1


async def test_many_processes_may_ensure_at_once(nats_settings: Settings) -> None:
    async with connected(nats_settings, "one") as one, connected(nats_settings, "two") as two:
        await asyncio.gather(*(topology.ensure(b) for b in (one, two, one, two)))
        assert len(await one.js.streams_info()) == len(STREAMS) + len(BUCKETS)


async def test_a_limit_is_changed_in_place(bus: Bus) -> None:
    await gate.publish_once(bus, subjects.request("ann", "text", "-", "r1"), b"{}")
    smaller = msgspec.structs.replace(STREAMS[0], max_bytes=10 * topology.MIB)
    await ensure_stream(bus.js, smaller.config(1))
    info = await bus.js.stream_info(Stream.REQUESTS)
    assert (info.config.max_bytes, info.state.messages) == (10 * topology.MIB, 1)
    await topology.ensure(bus)
    assert (await bus.js.stream_info(Stream.REQUESTS)).config.max_bytes == STREAMS[0].max_bytes


async def test_what_cannot_be_changed_in_place_is_a_typed_error(bus: Bus) -> None:
    other = msgspec.structs.replace(STREAMS[0], storage=StorageType.MEMORY)
    with pytest.raises(TopologyError, match="REQUESTS"):
        await ensure_stream(bus.js, other.config(1))


async def test_a_server_that_does_not_answer_is_a_typed_error(
    nats_settings: Settings,
) -> None:
    hasty = msgspec.structs.replace(nats_settings, publish_timeout_seconds=0.2)
    async with connected(hasty, "hasty") as other:
        await other.nc.close()
        with pytest.raises(BusUnavailableError):
            await topology.ensure(other)


async def test_a_consumer_is_changed_in_place_and_keeps_what_it_delivered(bus: Bus) -> None:
    await ensure_consumer(bus, Stream.JOBS, topology.worker_consumer("flux", 0.5, workers=1))
    await gate.publish_once(bus, subjects.job("flux", "j1"), b"{}")
    pull = await bus.js.pull_subscribe_bind("flux", Stream.JOBS)
    (message,) = await pull.fetch(1, timeout=2)
    await ensure_consumer(bus, Stream.JOBS, topology.worker_consumer("flux", 7.0, workers=3))
    info = await bus.js.consumer_info(Stream.JOBS, "flux")
    assert (info.config.ack_wait, info.config.max_ack_pending) == (7.0, 3)
    assert info.num_ack_pending == 1
    await message.ack_sync()
    assert (await bus.js.stream_info(Stream.JOBS)).state.messages == 0


async def test_each_service_gets_its_own_jobs(bus: Bus) -> None:
    for service in ("flux", "kimi"):
        await ensure_consumer(bus, Stream.JOBS, topology.worker_consumer(service, 30, workers=1))
        await gate.publish_once(bus, subjects.job(service, "j1"), service.encode())
    for service in ("flux", "kimi"):
        pull = await bus.js.pull_subscribe_bind(service, Stream.JOBS)
        (message,) = await pull.fetch(1, timeout=2)
        assert message.data == service.encode()
        with pytest.raises(nats.errors.TimeoutError):
            await pull.fetch(1, timeout=0.1)


async def test_a_job_is_delivered_for_ever_until_it_is_acknowledged(bus: Bus) -> None:
    await ensure_consumer(bus, Stream.JOBS, topology.worker_consumer("flux", 0.1, workers=1))
    await gate.publish_once(bus, subjects.job("flux", "j1"), b"{}")
    pull = await bus.js.pull_subscribe_bind("flux", Stream.JOBS)
    seen = [(await pull.fetch(1, timeout=5))[0].metadata.num_delivered for _ in range(6)]
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_an_overlapping_consumer_is_a_typed_error(bus: Bus) -> None:
    await ensure_consumer(bus, Stream.JOBS, topology.worker_consumer("flux", 30, workers=1))
    twin = topology.durable("twin", [subjects.job_filter("flux")])
    with pytest.raises(TopologyError, match="twin"):
        await ensure_consumer(bus, Stream.JOBS, twin)


async def test_a_consumer_needs_its_stream(bus: Bus) -> None:
    with pytest.raises(SubjectRefusedError, match="NOWHERE"):
        await ensure_consumer(bus, "NOWHERE", topology.durable("a", ["b.*"]))


async def test_progress_keeps_the_last_value(bus: Bus) -> None:
    subject = subjects.progress("ann", "c1", "r1")
    for i in range(3):
        await bus.js.publish(subject, b"%d" % i)
    message = await gate.last(bus, Stream.PROGRESS, subject)
    assert message is not None
    assert message.data == b"2"
    assert (await bus.js.stream_info(Stream.PROGRESS)).state.messages == 1
