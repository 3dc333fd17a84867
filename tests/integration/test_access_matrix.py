"""Each cell of the table on a real server: allowed where it says so, refused everywhere else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import nats.errors
import pytest
from access_box import Box, box
from access_cells import connected, declared, greeted, published, subscribed, tried
from bus_servers import eventually
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.access.policy import Parties, users
from bus.connection import connected as bus_connected
from bus.gate import Outcome, publish_once

pytestmark = pytest.mark.integration

PARTIES = Parties(
    services=("composer", "draft_copy", "flux"), tenants=("alice", "bob"), gateway=True
)
TAKEN = "$JS.API.DIRECT.GET.EVENTS.adgenx.evt.*.*.*.text_generation_result"
"""A right of the coordinator that one test takes away."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Without streams: what is allowed has no effect, so that everything can be tried."""
    started = box(tmp_path_factory.mktemp("box"), PARTIES)
    asyncio.run(started.start_nats(provisioned=False))
    yield started
    asyncio.run(started.stop())


async def test_every_cell_is_as_declared(running: Box) -> None:
    publish, subscribe = published(running.users.values()), subscribed(running.users.values())
    assert len(publish) > 800
    assert len(subscribe) > 60
    for user in running.users.values():
        refused = await tried(running, user.name, publish, subscribe)
        expected = declared(user, publish, subscribe)
        assert refused - expected == set(), f"{user.name} is refused what it may"
        assert expected - refused == set(), f"{user.name} may what it is to be refused"
        assert (user.name == "admin") == (not expected)


async def test_a_right_that_is_taken_away_shows(tmp_path: Path) -> None:
    tampered = box(tmp_path / "box", PARTIES, without={"coordinator": TAKEN})
    whole = {user.name: user for user in box(tmp_path / "whole", PARTIES).users.values()}
    await tampered.start_nats(provisioned=False)
    try:
        publish = published(whole.values())
        refused = await tried(tampered, "coordinator", publish, [])
    finally:
        await tampered.stop()
    assert refused - declared(whole["coordinator"], publish, []) == {
        ("publish", TAKEN.replace("*", "x"))
    }


async def test_nobody_comes_in_without_a_key_of_the_table(running: Box) -> None:
    stranger = box(running.folder / "elsewhere", PARTIES)
    for who in (None, stranger):
        assert b"Authorization Violation" in await greeted(running.ports["nats"], who)
    assert await greeted(running.ports["nats"], running) == b"PONG\r\n"


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    started = box(tmp_path_factory.mktemp("provisioned"), PARTIES)
    asyncio.run(started.start_nats())
    yield started
    asyncio.run(started.stop())


async def _ask(nc: Client, subject: str, body: object = None) -> dict[str, object]:
    answer = await nc.request(subject, json.dumps(body).encode() if body else b"", timeout=5)
    found: dict[str, object] = json.loads(answer.data)
    return found


async def test_a_consumer_takes_no_other_services_jobs(provisioned: Box) -> None:
    """The filter stands in the subject: another one in the body is refused by the server."""
    nc = await connected(provisioned, "flux")
    subject = "$JS.API.CONSUMER.CREATE.JOBS.flux.adgenx.job.flux.*"
    config = {"name": "flux", "durable_name": "flux", "ack_policy": "explicit"}
    for filters in ("adgenx.job.composer.*", "adgenx.job.*.*", ""):
        body = {"stream_name": "JOBS", "config": config | {"filter_subject": filters}}
        answer = await _ask(nc, subject, body)
        assert "error" in answer, filters
    body = {"stream_name": "JOBS", "config": config | {"filter_subject": "adgenx.job.flux.*"}}
    assert "error" not in await _ask(nc, subject, body)
    await nc.close()


async def test_a_tenant_cannot_have_its_answers_stored_anywhere(provisioned: Box) -> None:
    """The server publishes an answer wherever the question says; a tenant's goes nowhere but to
    its own account, where nothing keeps it.
    """
    admin = await connected(provisioned, "admin")
    event = "adgenx.evt.alice.c.c.accepted"
    assert "seq" in await _ask(admin, event, {"limit": None})
    alice = await connected(provisioned, "tenant-alice")
    for reply in ("$KV.budgets.alice", "adgenx.ops.x", "adgenx.req.bob.campaign.c.c"):
        await alice.publish("adgenx.req.alice.campaign.c.c", b"{}", reply=reply)
        await alice.publish(f"$JS.API.DIRECT.GET.EVENTS.{event}", b"", reply=reply)
    # Behind them all, on the same connection: what they did is done when this is answered.
    got = await alice.request(f"$JS.API.DIRECT.GET.EVENTS.{event}", b"", timeout=5)
    assert got.data == b'{"limit": null}'
    for stream in ("KV_budgets", "CONTROL"):
        state = (await _ask(admin, f"$JS.API.STREAM.INFO.{stream}"))["state"]
        assert isinstance(state, dict)
        assert state["messages"] == 0, stream
    asked = await _ask(admin, "$JS.API.STREAM.INFO.REQUESTS", {"subjects_filter": "adgenx.req.>"})
    assert isinstance(asked["state"], dict)
    assert list(asked["state"]["subjects"]) == ["adgenx.req.alice.campaign.c.c"]
    await alice.close()
    await admin.close()


async def test_within_the_box_an_answer_goes_wherever_the_question_says(provisioned: Box) -> None:
    """What a stolen key of a service can do, and why tenants have accounts of their own."""
    admin = await connected(provisioned, "admin")
    flux = await connected(provisioned, "flux")
    await flux.publish("$KV.services.flux.w", b"{}", reply="$KV.webhooks.planted")
    await flux.flush()

    async def planted() -> bool:
        state = (await _ask(admin, "$JS.API.STREAM.INFO.KV_webhooks"))["state"]
        assert isinstance(state, dict)
        return bool(state["messages"])

    await eventually(planted)
    await flux.close()
    await admin.close()


async def test_a_tenant_is_told_its_own_events_alone(provisioned: Box) -> None:
    admin = await connected(provisioned, "admin")
    alice = await connected(provisioned, "tenant-alice")
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        await heard.put(message.subject)

    await alice.subscribe("adgenx.evt.alice.>", cb=hear)
    await alice.flush()
    for subject in ("adgenx.evt.bob.d.d.accepted", "adgenx.evt.alice.d.d.accepted"):
        await _ask(admin, subject, {"at": 1})
    async with asyncio.timeout(5):
        assert await heard.get() == "adgenx.evt.alice.d.d.accepted"
    assert heard.empty()
    await alice.close()
    await admin.close()


async def test_a_tenants_key_says_whose_it_is(provisioned: Box) -> None:
    async with bus_connected(provisioned.settings("tenant-alice"), "alice") as bus:
        assert bus.settings.tenant == "alice"
        assert bus.settings.of_tenant
        subject = "adgenx.req.alice.music.-.r1"
        assert (await publish_once(bus, subject, b"{}")).outcome is Outcome.STORED
        assert (await publish_once(bus, subject, b"{}")).outcome is Outcome.ALREADY_THERE


async def test_a_rotated_key_and_a_new_tenant_count_after_a_reload(tmp_path: Path) -> None:
    running = box(tmp_path / "box", PARTIES)
    await running.start_nats()
    try:
        port, path = running.ports["nats"], running.secrets / "admin" / "nats.nk"
        others = await connected(running, "router")
        old = path.read_bytes()
        path.unlink()
        running.reload(users(msgspec.structs.replace(PARTIES, tenants=("alice", "bob", "carol"))))

        async def let_in() -> bool:
            return await greeted(port, running) == b"PONG\r\n"

        await eventually(let_in)
        new = path.read_bytes()
        path.write_bytes(old)
        assert b"Authorization Violation" in await greeted(port, running)
        path.write_bytes(new)
        # nats-server 2.15 binds what a new account imports of another at the second reload.
        running.reload(list(running.users.values()))

        async def served() -> bool:
            carol = await connected(running, "tenant-carol")
            try:
                return "seq" in await _ask(carol, "adgenx.req.carol.campaign.c.c", {})
            except nats.errors.NoRespondersError:
                return False
            finally:
                await carol.close()

        await eventually(served)
        # Whoever has nothing to do with it is not so much as disconnected.
        assert others.is_connected
        assert "streams" in await _ask(others, "$JS.API.STREAM.NAMES")
        await others.close()
    finally:
        await running.stop()
