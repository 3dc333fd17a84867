"""What a work queue holds although it was acknowledged goes, and nothing else does.

The state that a full disk leaves behind is made by moving a durable past a message that its filter
did not match yet: below its floor, pending for nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nats.js.api import ConsumerConfig
from router_rig import Rig, image, rig, service, until

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.direct import last_of_each
from bus.leftovers import Gleaner, leftovers
from bus.topology import durable, ensure_consumer, worker_consumer
from contracts import subjects
from contracts.jobs import JobState
from contracts.subjects import Stream
from services.router import shell

pytestmark = pytest.mark.integration


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        yield made


async def leave_over(
    bus: Bus, stream: Stream, left: str, other: str, wanted: ConsumerConfig
) -> int:
    """Put a message below the floor of the durable `wanted`; return its sequence."""
    sequence = (await gate.publish_once(bus, left, b"{}")).sequence
    assert wanted.durable_name
    narrow = durable(wanted.durable_name, [other], max_ack_pending=wanted.max_ack_pending or 1)
    await ensure_consumer(bus, stream, narrow)
    await gate.publish_once(bus, other, b"{}")
    await acknowledge(bus, stream, wanted.durable_name)
    await ensure_consumer(bus, stream, wanted)
    info = await bus.js.consumer_info(stream, wanted.durable_name)
    assert (info.num_pending, info.num_ack_pending) == (0, 0)
    return sequence


async def acknowledge(bus: Bus, stream: Stream, name: str) -> None:
    """Take a durable's next message and acknowledge it."""
    subscription = await bus.js.pull_subscribe_bind(name, str(stream))
    [message] = await subscription.fetch(1)
    await message.ack_sync()
    await subscription.unsubscribe()


async def test_a_message_below_the_floor_is_found_and_goes_at_the_second_look(bus: Bus) -> None:
    left, other = subjects.job("flux", "left"), subjects.job("flux", "other")
    wanted = worker_consumer("flux", 30.0, workers=4)
    sequence = await leave_over(bus, Stream.JOBS, left, other, wanted)
    assert {(f.subject, f.sequence) for f in await leftovers(bus, Stream.JOBS)} == {
        (left, sequence)
    }
    gleaner = Gleaner(bus, (Stream.JOBS, Stream.CONTROL))
    assert await gleaner.look() == 0
    assert await gate.last(bus, Stream.JOBS, left) is not None
    assert await gleaner.look() == 1
    assert await gate.last(bus, Stream.JOBS, left) is None
    assert await gleaner.look() == 0


async def test_what_waits_what_is_held_and_what_is_nobodys_stays(bus: Bus) -> None:
    wanted = worker_consumer("flux", 30.0, workers=1)
    await ensure_consumer(bus, Stream.JOBS, wanted)
    names = [subjects.job("flux", "held"), subjects.job("flux", "waits"), subjects.job("ray", "x")]
    await gate.publish_once(bus, subjects.job("flux", "done"), b"{}")
    for name in names:
        await gate.publish_once(bus, name, b"{}")
    await acknowledge(bus, Stream.JOBS, "flux")
    subscription = await bus.js.pull_subscribe_bind("flux", str(Stream.JOBS))
    assert len(await subscription.fetch(1)) == 1
    gleaner = Gleaner(bus, (Stream.JOBS,))
    assert [await gleaner.look(), await gleaner.look(), await gleaner.look()] == [0, 0, 0]
    assert [await gate.last(bus, Stream.JOBS, name) for name in names].count(None) == 0


async def test_a_later_message_under_the_same_subject_is_not_touched(bus: Bus) -> None:
    left, other = subjects.job("flux", "left"), subjects.job("flux", "other")
    wanted = worker_consumer("flux", 30.0, workers=4)
    sequence = await leave_over(bus, Stream.JOBS, left, other, wanted)
    one, two = Gleaner(bus, (Stream.JOBS,)), Gleaner(bus, (Stream.JOBS,))
    await one.look()
    await two.look()
    await one.look()
    again = await gate.publish_once(bus, left, b"{}")
    assert again.sequence > sequence
    assert await two.look() == 0
    found = await gate.last(bus, Stream.JOBS, left)
    assert found is not None
    assert found.sequence == again.sequence


async def test_every_filter_of_a_durable_counts(bus: Bus) -> None:
    left = subjects.cancel_campaign("acme", "spring")
    other = subjects.delete_campaign("acme", "winter")
    wanted = durable("coordinator", subjects.campaign_command_patterns())
    await leave_over(bus, Stream.CONTROL, left, other, wanted)
    assert {found.subject for found in await leftovers(bus, Stream.CONTROL)} == {left}


async def test_a_job_whose_message_nobody_is_given_is_published_again_and_ends(
    desk: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "GLEANING_SECONDS", 0.2)
    await desk.announce(service("flux"))
    await desk.router()
    subject = await desk.ask("r1", image())

    async def published() -> int | None:
        found = await last_of_each(desk.bus, Stream.JOBS, subjects.job_filter("flux"))
        return found[0].sequence if found else None

    stuck = await until(published, what="its message in JOBS")
    other = subjects.job("flux", "other")
    await ensure_consumer(desk.bus, Stream.JOBS, durable("flux", [other]))
    await gate.publish_once(desk.bus, other, b"{}")
    await acknowledge(desk.bus, Stream.JOBS, "flux")
    worker = await desk.worker("flux")  # its durable matches every job of the service
    result = await desk.result("r1")
    assert (result.status, worker.ran) == (JobState.OK, ["r1"])
    assert await gate.remove(desk.bus, Stream.JOBS, stuck) is False
    await desk.emptied(subject)


async def test_a_command_that_was_handled_no_longer_swallows_the_next_one(
    desk: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "GLEANING_SECONDS", 0.2)
    left = subjects.cancel_campaign("acme", "spring")
    other = subjects.delete_campaign("acme", "winter")
    wanted = durable("coordinator", subjects.campaign_command_patterns())
    sequence = await leave_over(desk.bus, Stream.CONTROL, left, other, wanted)
    await desk.router()

    async def taken() -> bool | None:
        return (await gate.publish_once(desk.bus, left, b"{}")).sequence > sequence or None

    await until(taken, what="the next command to be stored")
    assert (await desk.bus.js.consumer_info(Stream.CONTROL, "coordinator")).num_pending == 1
