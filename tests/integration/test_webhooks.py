"""Webhooks on the real server, against a receiver that does what receivers do."""

from __future__ import annotations

import asyncio
import random
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from webhook_rig import (
    OK,
    PACE,
    TENANT,
    Letter,
    Process,
    Receiver,
    Rig,
    environment,
    receiving,
    sender_settings,
    sending,
    status,
)

from bus import gate
from bus.connection import Bus
from bus.records import Records
from bus.settings import Settings
from bus.webhook_keys import Keyring
from contracts import events, subjects
from contracts.brief import Brief
from contracts.campaign import CampaignRecord, CampaignState
from contracts.codec import encode
from contracts.subjects import Bucket
from contracts.webhook_signature import NoMatchError, verify
from contracts.webhooks import DeliveryState, RetryDelivery, SetWebhook
from services.webhooks.commands import MAX_WEBHOOKS

pytestmark = pytest.mark.integration

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def settings(nats_settings: Settings, tmp_path: Path) -> Settings:
    return sender_settings(nats_settings, tmp_path / "secrets")


@pytest.fixture
def rig(bus: Bus, settings: Settings) -> Rig:
    return Rig(bus, settings)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
def process(settings: Settings) -> Iterator[Process]:
    made = Process(settings)
    yield made
    made.kill()


async def test_a_requests_webhook_is_told_its_result_once_and_signed(
    rig: Rig, receiver: Receiver, settings: Settings
) -> None:
    subject = await rig.end("r1", receiver.url("/a?b=c"))
    await rig.end("nobody-is-told")
    async with sending(settings):
        [record] = await rig.settled(1)
    [letter] = receiver.letters
    assert (record.state, record.status, record.attempts) == (DeliveryState.DELIVERED, 200, 1)
    assert record.subject == subject
    assert letter.path == "/a?b=c"
    assert letter.message_id == record.delivery_id
    assert rig.genuine(letter)
    body = msgspec.json.decode(letter.body)
    assert body["type"] == "generation_result.v1"
    assert body["timestamp"] == "1970-01-01T00:00:01.500Z"
    assert body["data"]["request_id"] == "r1"
    with pytest.raises(NoMatchError):
        verify(letter.headers, letter.body, ["whsec_" + "A" * 32], float(record.ended_at))


async def test_keys_lie_in_files_that_only_their_owner_reads_and_nowhere_else(
    rig: Rig, receiver: Receiver, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    await rig.end("r1", receiver.url())
    async with sending(settings):
        await rig.settled(1)
    file = settings.secrets_dir / "webhooks" / f"{TENANT}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    [key] = Keyring(settings.secrets_dir).signing(TENANT, 0.0)
    said = capfd.readouterr()
    assert "webhook.attempted" in said.out + said.err
    assert key.key not in said.out + said.err
    assert key.key not in repr(key)
    assert key.key not in repr(await rig.records())


def flaky(_letter: Letter, count: int) -> bytes | None:
    """Do each thing that goes wrong once, then take it."""
    answers = [status(500), None, status(302, "Location: http://127.0.0.1:1/else"), b"nonsense"]
    return answers[count] if count < len(answers) else OK


async def test_a_flaky_receiver_gets_every_event_with_the_same_id_at_each_attempt(
    rig: Rig, settings: Settings
) -> None:
    async with receiving(flaky) as receiver, sending(settings):
        for n in range(5):
            await rig.end(f"r{n}", receiver.url())
        records = await rig.settled(5)
    assert {(r.state, r.attempts) for r in records} == {(DeliveryState.DELIVERED, 5)}
    for record in records:
        letters = receiver.of(record.delivery_id)
        assert len(letters) == 5
        assert len({x.body for x in letters}) == 1
        assert all(rig.genuine(x) for x in letters)
    # The redirect was not followed: everything that came, came to the address that was given.
    assert {x.path for x in receiver.letters} == {"/hook"}


async def test_a_receiver_that_asks_for_patience_gets_it(rig: Rig, settings: Settings) -> None:
    def busy(_: Letter, count: int) -> bytes:
        return status(429, "Retry-After: 2") if count == 0 else OK

    async with receiving(busy) as receiver, sending(settings):
        await rig.end("r1", receiver.url())
        await rig.settled(1)
    first, second = receiver.letters
    assert second.at - first.at >= 2.0  # our own first wait would be a twentieth of a second


async def test_gone_is_dead_at_once_and_can_be_tried_again(rig: Rig, settings: Settings) -> None:
    gone = True

    def respond(_letter: Letter, _count: int) -> bytes:
        return status(410) if gone else OK

    async with receiving(respond) as receiver, sending(settings):
        await rig.end("r1", receiver.url())
        [dead] = await rig.settled(1)
        assert (dead.state, dead.status, dead.attempts) == (DeliveryState.DEAD, 410, 1)
        gone = False
        assert (await rig.command(dead.delivery_id, RetryDelivery())).status == "done"
        [delivered] = await rig.settled(1)
        assert delivered.state is DeliveryState.DELIVERED
        assert (await rig.command(dead.delivery_id, RetryDelivery())).status == "too_late"
        assert (await rig.command("msg_unknown", RetryDelivery())).status == "unknown"
    assert len({x.message_id for x in receiver.letters}) == 1


async def test_a_delivery_that_always_fails_is_dead_after_its_last_attempt(
    rig: Rig, nats_settings: Settings, tmp_path: Path
) -> None:
    hurried = sender_settings(nats_settings, tmp_path / "secrets", pace=PACE / 100)
    async with receiving(lambda _letter, _count: status(503)) as receiver, sending(hurried):
        await rig.end("r1", receiver.url())
        [dead] = await rig.settled(1)
    assert (dead.state, dead.attempts) == (DeliveryState.DEAD, 8)
    assert dead.error == "the receiver answers 503"
    assert len(receiver.letters) == 8


async def test_an_address_that_is_not_public_is_dead_without_a_connection(
    rig: Rig, receiver: Receiver, settings: Settings
) -> None:
    strict = msgspec.structs.replace(settings, webhook_private=False)
    async with sending(strict):
        await rig.end("r1", receiver.url())
        await rig.end("r2", receiver.url().replace("http:", "https:"))
        records = await rig.settled(2)
    assert {r.state for r in records} == {DeliveryState.DEAD}
    assert all(r.error.startswith("URL_NOT_ALLOWED") for r in records)
    assert not receiver.letters


async def test_a_hanging_receiver_does_not_keep_the_others_from_their_letters(
    rig: Rig, receiver: Receiver, settings: Settings
) -> None:
    receiver.hanging.add("/hangs")
    async with receiving() as other, sending(settings):
        for n in range(40):
            await rig.end(f"hangs{n}", receiver.url("/hangs"))
        await asyncio.wait_for(receiver.arrived.wait(), 20)
        await rig.end("r1", other.url())
        await asyncio.wait_for(other.arrived.wait(), 20)
        waiting = [r for r in await rig.records() if r.url == receiver.url("/hangs")]
    assert [r.state for r in waiting] == [DeliveryState.PENDING] * 40


async def test_a_standing_webhook_is_told_what_it_asked_for_until_it_is_ended(
    rig: Rig, receiver: Receiver, settings: Settings
) -> None:
    await rig.end("before", "")
    async with sending(settings):
        every = SetWebhook(url=receiver.url("/every"))
        assert (await rig.command("w1", every)).status == "done"
        campaigns = SetWebhook(url=receiver.url("/campaigns"), events=["campaign_result"])
        assert (await rig.command("w2", campaigns)).status == "done"
        refused = await rig.command("w3", SetWebhook(url="ftp://127.0.0.1/x"))
        assert (refused.status, refused.error and refused.error.code) == (
            "refused",
            "URL_NOT_ALLOWED",
        )
        unread = await rig.command("w4", b'{"type":"set_webhook.v1","url":"x","evnts":[]}')
        assert unread.error is not None
        assert "events" in unread.error.message
        for n in range(2, MAX_WEBHOOKS):
            unheard = SetWebhook(url=receiver.url(f"/{n}"), events=["campaign_result"])
            assert (await rig.command(f"more{n}", unheard)).status == "done"
        assert (await rig.command("w5", every)).status == "refused"
        assert (await rig.command("w2", campaigns)).status == "done"  # setting again is no more
        for n in range(2, MAX_WEBHOOKS):
            await rig.command(f"more{n}", SetWebhook(url=""))
        await rig.end("r1")
        await rig.end("r2", receiver.url("/every"))  # the same address twice is told once
        await rig.end("r3", tenant="other")
        [one, two] = await rig.settled(2)
        assert {one.url, two.url} == {receiver.url("/every")}
        assert (await rig.command("w1", SetWebhook(url=""))).status == "done"
        assert (await rig.command("w1", SetWebhook(url=""))).status == "unknown"
        await rig.end("r4")
        told = await campaign_ends(rig, "spring")
        await rig.settled(3)
    assert sorted(x.path for x in receiver.letters) == ["/campaigns", "/every", "/every"]
    assert told in {r.subject for r in await rig.records()}


async def campaign_ends(rig: Rig, campaign_id: str, webhook: str = "") -> str:
    brief = msgspec.json.decode((GOLDEN / "run_campaign.v1.json").read_bytes())["brief"]
    record = CampaignRecord(
        tenant=TENANT,
        campaign_id=campaign_id,
        revision=1,
        state=CampaignState.OK,
        brief=msgspec.convert(brief, Brief),
        brief_hash="",
        accepted_at=1.0,
        webhook=webhook,
    )
    await Records(rig.bus, Bucket.CAMPAIGNS, CampaignRecord).create(
        f"{TENANT}.{campaign_id}", record
    )
    result = events.CampaignResult(request_id=campaign_id, revision=1, status="ok", at=2.0)
    name = f"{events.CAMPAIGN_RESULT}.1"
    subject = subjects.event(TENANT, campaign_id, campaign_id, name)
    await gate.publish_once(rig.bus, subject, encode(result))
    return subject


async def test_a_campaigns_webhook_is_told_its_result_and_not_its_steps(
    rig: Rig, receiver: Receiver, settings: Settings
) -> None:
    told = await campaign_ends(rig, "spring", receiver.url())
    await rig.end("r1-still", receiver.url(), campaign_id="spring")
    by_hand = await rig.end("by-hand", receiver.url("/own"), campaign_id="spring")
    async with sending(settings):
        records = await rig.settled(2)
    assert {r.subject for r in records} == {told, by_hand}
    assert {x.path for x in receiver.letters} == {"/hook", "/own"}


async def test_two_senders_tell_each_event_once(
    rig: Rig, receiver: Receiver, settings: Settings
) -> None:
    """Both find all of it when they start: whoever writes the claim first sends, alone."""
    for n in range(60):
        await rig.owe(await rig.end(f"r{n}"), receiver.url(f"/{n % 10}"))
    async with sending(settings), sending(settings):
        records = await rig.settled(60)
    assert {(r.state, r.attempts) for r in records} == {(DeliveryState.DELIVERED, 1)}
    assert sorted(x.message_id for x in receiver.letters) == sorted(r.delivery_id for r in records)


async def test_a_damaged_record_keeps_no_other_delivery_from_being_found(
    rig: Rig, receiver: Receiver, settings: Settings
) -> None:
    """Only the sweep knows of a delivery whose sender died."""
    await rig.bus.js.publish(f"$KV.{Bucket.DELIVERIES}.{TENANT}.msg_damaged", b"{")
    await rig.owe(await rig.end("r1"), receiver.url())
    async with sending(settings):
        await asyncio.wait_for(receiver.arrived.wait(), 20)
    assert [x.path for x in receiver.letters] == ["/hook"]


async def test_a_sender_killed_in_mid_delivery_loses_nothing(
    rig: Rig, receiver: Receiver, process: Process
) -> None:
    """Killed between claim and settling, again and again: each event comes, with one id."""
    receiver.hanging.add("/hook")
    for n in range(12):
        await rig.end(f"r{n}", receiver.url())
    for _ in range(3):
        receiver.arrived.clear()
        process.start()
        await asyncio.wait_for(receiver.arrived.wait(), 30)
        process.kill()
    receiver.hanging.clear()

    async def owed() -> bool:
        return len(await rig.records()) == 12

    process.start()
    await eventually(owed)
    records = await rig.settled(12)
    assert {r.state for r in records} == {DeliveryState.DELIVERED}
    came = {x.message_id for x in receiver.letters}
    assert came == {r.delivery_id for r in records}
    assert max(len(receiver.of(i)) for i in came) > 1  # one was cut off, and came again


async def adgenx(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run the command line; return its exit status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.main",
        *arguments,
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_the_command_line_sets_lists_and_tries_again(rig: Rig, settings: Settings) -> None:
    settings = msgspec.structs.replace(settings, tenant=TENANT)
    gone = True
    async with (
        receiving(lambda _letter, _count: status(410) if gone else OK) as receiver,
        sending(settings),
    ):
        url = receiver.url("/hook?token=secret")
        assert await adgenx(settings, "webhook", "set", url, "--id", "w1") == (0, "w1: done\n")
        assert (await adgenx(settings, "webhook", "set", "http://10.0.0.1:22/"))[0] == 2
        await rig.end("r1")
        [dead] = await rig.settled(1)
        _, listed = await adgenx(settings, "webhook", "list", "--dead")
        assert dead.delivery_id in listed
        assert "the receiver answers 410" in listed
        assert "token=secret" not in listed
        gone = False
        again = await adgenx(settings, "webhook", "retry", "--all")
        assert again == (0, f"{dead.delivery_id}: done\n")
        await rig.settled(1)
        for nothing in (("list", "--dead"), ("retry", "--all")):
            assert await adgenx(settings, "webhook", *nothing) == (0, "no dead delivery\n")
        assert await adgenx(settings, "webhook", "end", "w1") == (0, "w1: done\n")
        assert (await adgenx(settings, "webhook", "retry", dead.delivery_id))[0] == 1

    # Keys: the sender's own, and after a rotation the new one before it.
    _, shown = await adgenx(settings, "webhook", "key", TENANT)
    key = shown.strip()
    letter = receiver.letters[-1]
    assert verify(letter.headers, letter.body, [key], letter.at)
    _, rotated = await adgenx(settings, "webhook", "key", TENANT, "--rotate")
    new, old = rotated.splitlines()
    assert old.startswith(f"{key}  until ")
    assert new.startswith("whsec_")
    assert key not in new


@pytest.mark.parametrize("seed", [1])
async def test_two_senders_killed_at_random_lose_nothing_against_a_flaky_receiver(
    rig: Rig, settings: Settings, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - the storm is to be the same again
    storm = True

    def respond(_letter: Letter, _count: int) -> bytes | None:
        if not storm or chance.random() < 0.6:
            return OK
        return chance.choice([None, status(503), status(429, "Retry-After: 0")])

    async with receiving(respond) as receiver:
        senders = [Process(settings), Process(settings)]
        try:
            for sender in senders:
                sender.start()
            for n in range(60):
                await rig.end(f"r{n}", receiver.url(f"/{n % 7}"))
                if n % 10 == 9:
                    receiver.arrived.clear()
                    await asyncio.wait_for(receiver.arrived.wait(), 30)
                    victim = chance.choice(senders)
                    victim.kill()
                    victim.start()
            storm = False
            records = await rig.settled(60)
        finally:
            for sender in senders:
                sender.kill()
    assert {r.state for r in records} == {DeliveryState.DELIVERED}
    for record in records:
        letters = receiver.of(record.delivery_id)
        assert letters
        assert len({x.body for x in letters}) == 1
    assert len(receiver.letters) == sum(len(receiver.of(r.delivery_id)) for r in records)
