"""With replicas a record is read from the stream's leader: it answers as a direct get does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from bus import gate, topology
from bus.access.policy import Kind, Parties, users
from bus.connection import Bus, connected
from bus.records import Conflict, Records
from bus.settings import Settings
from contracts.campaign import OpenEntry
from contracts.errors import UnknownOutcomeError
from contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.integration

KEY = "acme.camp-1"
LEADER_ONLY = "$JS.API.STREAM.MSG.GET.KV_open"


@pytest.fixture
async def replicated(nats_settings: Settings, bus: Bus) -> AsyncIterator[Bus]:
    """A process that is told of replicas; one server with one replica answers it all the same."""
    await topology.ensure(bus)
    told = msgspec.structs.replace(nats_settings, stream_replicas=3)
    async with connected(told, "test") as found:
        yield found


async def test_a_record_is_read_from_the_leader_as_it_is(replicated: Bus) -> None:
    records = Records(replicated, Bucket.OPEN, OpenEntry)
    asked: list[str] = []
    plain = replicated.request

    async def listening(subject: str, *arguments: bytes, **options: object) -> object:
        asked.append(subject)
        return await plain(subject, *arguments, **options)  # type: ignore[arg-type]  # passed on

    replicated.request = listening  # type: ignore[method-assign, assignment]  # heard, not changed
    assert await records.get(KEY) is None
    revision = await records.create(KEY, OpenEntry(revision=1))
    found = await records.get(KEY)
    assert found is not None
    assert (found.revision, found.key, found.value.revision) == (revision, KEY, 1)
    assert asked.count(LEADER_ONLY) == 2


async def test_a_message_comes_with_its_time(replicated: Bus) -> None:
    subject = "adgenx.evt.acme.camp-1.camp-1.accepted"
    published = await gate.publish_once(replicated, subject, b'{"x": 1}')
    found = await gate.last(replicated, Stream.EVENTS, subject)
    assert found is not None
    assert (found.subject, found.sequence, found.data) == (subject, published.sequence, b'{"x": 1}')
    assert found.stored_at > 1_700_000_000


async def test_a_persons_deletion_marker_reads_as_absent(replicated: Bus) -> None:
    records = Records(replicated, Bucket.OPEN, OpenEntry)
    await records.create(KEY, OpenEntry(revision=1))
    await replicated.js.publish(f"$KV.open.{KEY}", b"", headers={"KV-Operation": "DEL"})
    assert await records.get(KEY) is None
    again = await records.create(KEY, OpenEntry(revision=2))
    assert not isinstance(again, Conflict)


async def test_another_error_is_no_absence(replicated: Bus) -> None:
    with pytest.raises(UnknownOutcomeError, match="10059"):
        await gate.last(replicated, "NOWHERE", "a.b")


def test_whoever_reads_a_stream_with_replicas_may_ask_its_leader_but_no_tenant() -> None:
    alone = {user.name: user for user in users(Parties(services=("flux",)))}
    for user in users(Parties(services=("flux",), replicated=True)):
        more = set(user.publish) - set(alone[user.name].publish)
        assert all(s.startswith("$JS.API.STREAM.MSG.GET.") for s in more)
        streams = {s.split(".")[4] for s in user.publish if s.startswith("$JS.API.DIRECT.GET.")}
        if user.kind in (Kind.ROLE, Kind.SERVICE):
            assert {f"$JS.API.STREAM.MSG.GET.{stream}" for stream in streams} <= set(user.publish)
        if user.kind is Kind.TENANT:
            assert not more
