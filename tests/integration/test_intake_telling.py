"""What a tenant was told before: asked for under its own subject, page by page, its own alone."""

from __future__ import annotations

import msgspec
import pytest

from bus import gate, topology
from bus.connection import Bus
from contracts import subjects
from contracts.codec import encode
from contracts.telling import AskEvents, ToldEvents, is_pattern
from services.cli import told
from services.intake import telling
from services.intake.telling import Teller

pytestmark = pytest.mark.integration

COUNT = 40


@pytest.fixture
async def teller(bus: Bus) -> None:
    await topology.ensure(bus)
    for tenant in ("alice", "bob"):
        for number in range(COUNT):
            subject = subjects.event(tenant, "spring", f"r{number}", "accepted")
            await gate.publish_once(bus, subject, b'{"type": "accepted.v1", "n": %d}' % number)
    await Teller(bus).start()


async def ask(bus: Bus, tenant: str, body: bytes) -> ToldEvents:
    answer = await bus.request(subjects.ask_events(tenant), body)
    return msgspec.json.decode(answer.data, type=ToldEvents)


@pytest.mark.usefixtures("teller")
async def test_a_tenant_is_told_all_of_its_own_in_order(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PAGE_BYTES", 200)
    found, last, pages = [], 0, 0
    while True:
        page = await ask(bus, "alice", encode(AskEvents(pattern="spring.>", after=last)))
        found += page.events
        pages += 1
        if not page.more:
            break
        last = page.events[-1].sequence
    assert [e.subject for e in found] == [
        subjects.event("alice", "spring", f"r{n}", "accepted") for n in range(COUNT)
    ]
    assert bytes(found[3].body) == b'{"type": "accepted.v1", "n": 3}'
    assert pages > 3


@pytest.mark.usefixtures("teller")
async def test_a_pattern_reaches_no_further_than_the_subject_it_is_asked_under(
    bus: Bus,
) -> None:
    everything = await ask(bus, "bob", b'{"type": "ask_events.v1"}')
    assert len(everything.events) == COUNT
    assert all(e.subject.startswith("adgenx.evt.bob.") for e in everything.events)
    assert not (await ask(bus, "carol", b'{"type": "ask_events.v1"}')).events
    for pattern in ("", "..", "> .x", ">.x", "a b", "*.é", ">>"):
        assert not is_pattern(pattern)
        refused = await ask(bus, "alice", encode(AskEvents(pattern=pattern)))
        assert refused.error is not None
        assert not refused.events
    assert (await ask(bus, "alice", b"no json")).error is not None


@pytest.mark.usefixtures("teller")
async def test_the_command_line_reads_the_same_either_way(bus: Bus) -> None:
    as_operator = msgspec.structs.replace(bus.settings, tenant="alice")
    as_tenant = msgspec.structs.replace(as_operator, nats_inbox_prefix="_INBOX_tenant-alice")
    assert not as_operator.of_tenant
    assert as_tenant.of_tenant
    read = []
    for settings in (as_operator, as_tenant):
        bus.settings = settings
        read.append(await told.events(bus, "spring.>"))
    assert [m.subject for m in read[0]] == [m.subject for m in read[1]]
    assert [m.data for m in read[0]] == [m.data for m in read[1]]
    assert len(read[0]) == COUNT
