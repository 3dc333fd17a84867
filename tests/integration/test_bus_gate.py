from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import msgspec
import nats.errors
import pytest
from bus_servers import eventually
from nats.js.api import DiscardPolicy, StreamConfig

from bus import gate
from bus.connection import Bus, connected
from bus.gate import Outcome, Published, SubjectRefusedError
from bus.servers import NatsServer
from bus.settings import Settings
from contracts import subjects
from contracts.capability import Capability
from contracts.errors import TooLargeError, UnknownOutcomeError
from contracts.subjects import Stream

pytestmark = pytest.mark.integration

SUBJECT = subjects.request("ann", Capability.VIDEO, "c1", "r1")


async def stored(bus: Bus, stream: str) -> int:
    return (await bus.js.stream_info(stream)).state.messages


async def test_the_first_is_stored_and_a_repeat_is_already_there(bus: Bus) -> None:
    first = await gate.publish_once(bus, SUBJECT, b'{"n": 1}')
    again = await gate.publish_once(bus, SUBJECT, b'{"n": 2}')
    assert first == Published(Outcome.STORED, 1)
    assert again == Published(Outcome.ALREADY_THERE, 1)
    message = await gate.last(bus, Stream.REQUESTS, SUBJECT)
    assert message is not None
    assert (message.subject, message.sequence, message.data) == (SUBJECT, 1, b'{"n": 1}')


async def test_of_twenty_racers_one_wins(bus: Bus) -> None:
    racers = (gate.publish_once(bus, SUBJECT, b"%d" % i) for i in range(20))
    outcomes = Counter(await asyncio.gather(*racers))
    assert outcomes[Published(Outcome.STORED, 1)] == 1
    assert outcomes[Published(Outcome.ALREADY_THERE, 1)] == 19


async def test_already_there_survives_a_crash_of_the_server(
    bus: Bus, nats_server: NatsServer
) -> None:
    await gate.publish_once(bus, SUBJECT, b"{}")
    nats_server.kill()
    await nats_server.start()
    assert (await gate.publish_once(bus, SUBJECT, b"{}")).outcome is Outcome.ALREADY_THERE


async def test_a_misspelt_capability_is_refused(bus: Bus) -> None:
    misspelt = subjects.request("ann", "vidoe", "c1", "r1")
    with pytest.raises(SubjectRefusedError, match="vidoe"):
        await gate.publish_once(bus, misspelt, b"{}")


async def test_a_stream_that_is_away_for_a_moment_is_unknown(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's stream between two leaders has no listener, yet exists."""
    request = bus.request

    async def leaderless(subject: str, payload: bytes = b"", **options: object) -> object:
        if subject == SUBJECT:
            raise nats.errors.NoRespondersError
        return await request(subject, payload, **options)

    monkeypatch.setattr(bus, "request", leaderless)
    with pytest.raises(UnknownOutcomeError, match="away"):
        await gate.publish_once(bus, SUBJECT, b"{}")


async def test_a_subject_that_nats_cannot_carry_is_refused(bus: Bus) -> None:
    with pytest.raises(SubjectRefusedError):
        await gate.publish_once(bus, "adgenx.req.ann.video.c 1.r1", b"{}")


async def test_a_full_stream_is_unknown_yet_what_it_holds_is_already_there(bus: Bus) -> None:
    config = StreamConfig(
        name="SMALL",
        subjects=["small.*"],
        max_bytes=1000,
        max_msgs_per_subject=1,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,
    )
    await bus.js.add_stream(config)
    held = await gate.publish_once(bus, "small.a", b"x" * 600)
    with pytest.raises(UnknownOutcomeError, match="10077"):
        await gate.publish_once(bus, "small.b", b"x" * 600)
    again = await gate.publish_once(bus, "small.a", b"x" * 600)
    assert again == Published(Outcome.ALREADY_THERE, held.sequence)
    await gate.remove(bus, "SMALL", held.sequence)
    assert (await gate.publish_once(bus, "small.b", b"x" * 600)).outcome is Outcome.STORED


async def test_a_message_too_large_is_refused_for_good(bus: Bus) -> None:
    with pytest.raises(TooLargeError):
        await gate.publish_once(bus, SUBJECT, b"x" * (600 * 1024))  # more than the stream takes
    with pytest.raises(TooLargeError):
        await gate.publish_once(bus, SUBJECT, b"x" * (2 * 1024 * 1024))  # than the server takes
    assert await stored(bus, Stream.REQUESTS) == 0


async def test_a_timeout_is_unknown_and_asking_again_finds_the_late_twin(
    bus: Bus, nats_settings: Settings, nats_server: NatsServer
) -> None:
    hasty = msgspec.structs.replace(nats_settings, publish_timeout_seconds=0.3)
    async with connected(hasty, "hasty") as other:
        await gate.publish_once(other, subjects.request("ann", "text", "-", "warm"), b"{}")
        process = nats_server.process._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        # It may run on for a moment.
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            with pytest.raises(UnknownOutcomeError):
                await gate.publish_once(other, SUBJECT, b"{}")
        finally:
            process.send_signal(signal.SIGCONT)

        async def twin_arrived() -> bool:
            return await gate.last(bus, Stream.REQUESTS, SUBJECT) is not None

        await eventually(twin_arrived)
        again = await gate.publish_once(other, SUBJECT, b"{}")
    assert again.outcome is Outcome.ALREADY_THERE
    assert await stored(bus, Stream.REQUESTS) == 2


async def test_removing_is_by_sequence_and_says_whether_it_was_there(bus: Bus) -> None:
    first = await gate.publish_once(bus, SUBJECT, b"1")
    assert await gate.remove(bus, Stream.REQUESTS, first.sequence) is True
    assert await gate.last(bus, Stream.REQUESTS, SUBJECT) is None
    second = await gate.publish_once(bus, SUBJECT, b"2")
    assert second.outcome is Outcome.STORED
    assert await gate.remove(bus, Stream.REQUESTS, first.sequence) is False
    assert await gate.remove(bus, Stream.REQUESTS, 99) is False
    assert await stored(bus, Stream.REQUESTS) == 1


async def test_removing_from_the_middle_twice_is_not_unknown(bus: Bus) -> None:
    names = [subjects.request("ann", Capability.IMAGE, "c1", f"r{i}") for i in range(3)]
    _, middle, _ = [await gate.publish_once(bus, n, b"{}") for n in names]
    assert await gate.remove(bus, Stream.REQUESTS, middle.sequence) is True
    assert await gate.remove(bus, Stream.REQUESTS, middle.sequence) is False


async def test_acknowledged_messages_survive_a_kill(bus: Bus, nats_server: NatsServer) -> None:
    names = [subjects.request("ann", Capability.IMAGE, "c1", f"r{i}") for i in range(200)]
    await asyncio.gather(*(gate.publish_once(bus, n, b"{}") for n in names))
    nats_server.kill()
    await nats_server.start()

    async def back() -> bool:
        try:
            return await stored(bus, Stream.REQUESTS) == len(names)
        except TimeoutError:
            return False

    await eventually(back)
