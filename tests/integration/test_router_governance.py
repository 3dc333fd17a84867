"""Budgets, cache, flags and breakers on a real server: what the rules promise, under fire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from router_rig import (
    TENANT,
    Rig,
    costing,
    environment_of,
    fails,
    image,
    ok,
    rig,
    router_process,
    service,
    until,
)

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.direct import last_of_each
from bus.listing import subjects_in
from bus.records import Records
from bus.settings import Settings
from contracts import events, subjects
from contracts.artifacts import artifact_key
from contracts.capability import Capability
from contracts.governance import BreakerRecord, BreakerState, BudgetRecord, Limit
from contracts.jobs import Job, Run
from contracts.ledger import Charge
from contracts.operating import InvalidateCache, ResetBreaker, SetBudget, SetFlag
from contracts.subjects import Bucket, Stream
from services.router.shell import Router

pytestmark = pytest.mark.integration

CAMPAIGN = "c1"


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        yield made


async def charges(desk: Rig) -> list[float]:
    found = await last_of_each(desk.bus, Stream.LEDGER, ">")
    return [msgspec.json.decode(m.data, type=Charge).amount for m in found]


async def settled(desk: Rig, key: str) -> BudgetRecord:
    """Wait until nothing is reserved in a budget any more."""
    budgets = Records(desk.bus, Bucket.BUDGETS, BudgetRecord)

    async def empty() -> BudgetRecord | None:
        found = await budgets.get(key)
        return found.value if found and not found.value.reserved else None

    return await until(empty, f"{key} settled")


# budgets


async def test_fifty_at_once_never_overspend_whatever_is_killed(
    desk: Rig, s3_settings: Settings
) -> None:
    await desk.announce(service("draft_image", cost=1.0))
    await desk.worker("draft_image", costing(1.0))
    names = [f"r{n}" for n in range(50)]
    limit = Limit(amount=10.0)
    asked = await asyncio.gather(
        *(desk.ask(n, image(f"prompt {n}", budget=limit), campaign=CAMPAIGN) for n in names)
    )
    environment = environment_of(desk.bus, s3_settings)
    for number in (0, 20, 40):
        async with router_process(environment) as process:
            await desk.event(names[number], events.ACCEPTED, CAMPAIGN)
            process.kill()
            await process.wait()
    async with router_process(environment), router_process(environment):
        results = await asyncio.gather(*(desk.result(n, campaign=CAMPAIGN) for n in names))
        for subject in asked:
            await desk.emptied(subject)
        record = await settled(desk, f"{TENANT}.{CAMPAIGN}")
    booked = await charges(desk)
    assert sum(booked) == record.spent == 10.0
    assert sum(r.status == "ok" for r in results) == len(booked) == 10
    assert {r.error.code for r in results if r.error} == {"BUDGET"}


async def test_reservations_of_one_moment_share_a_write(desk: Rig) -> None:
    await desk.announce(service("draft_image", cost=1.0, workers=32))
    worker = await desk.worker("draft_image", held=True)
    names = [f"r{n}" for n in range(60)]
    await asyncio.gather(*(desk.ask(n, image(n), campaign=CAMPAIGN) for n in names))
    await desk.router()

    async def at_work() -> bool:
        return len(worker.ran) == len(names)

    await until(at_work, "all are reserved and published")
    found = await Records(desk.bus, Bucket.BUDGETS, BudgetRecord).get(f"{TENANT}.{CAMPAIGN}")
    assert found is not None
    assert len(found.value.reserved) == len(names)
    assert found.revision < len(names) / 2  # its revision counts the writes of the bucket
    worker.go.set()
    await settled(desk, f"{TENANT}.{CAMPAIGN}")


async def test_a_dearer_fallback_needs_the_money_for_it(desk: Rig) -> None:
    await desk.announce(service("cheap", cost=1.0), service("dear", cost=3.0))
    await desk.router()
    await desk.worker("cheap", fails("MODEL_FAILED"))
    dear = await desk.worker("dear")
    await desk.ask("rich", image(budget=Limit(amount=3.5)), campaign=CAMPAIGN)
    assert (await desk.result("rich", campaign=CAMPAIGN)).provider == "dear"
    await desk.ask("poor", image("another", budget=Limit(amount=2.5, revision=2)), campaign="c2")
    poor = await desk.result("poor", campaign="c2")
    assert [(a.service, a.error.code) for a in poor.attempts if a.error] == [
        ("cheap", "MODEL_FAILED")
    ]
    assert poor.error is not None
    assert poor.status == "failed"
    assert dear.ran == ["rich"]
    assert await charges(desk) == [0.25]


async def test_a_tenants_limit_counts_what_it_has_spent(desk: Rig) -> None:
    await desk.announce(service("draft_image", cost=1.0))
    for _ in range(2):
        await desk.router()
    await desk.worker("draft_image", costing(1.0))
    for number in range(3):
        await desk.ask(f"before{number}", image(f"before {number}"))
        assert (await desk.result(f"before{number}")).status == "ok"
    answer = await desk.operate("limit", SetBudget(of_tenant=TENANT, limit=5.0))
    assert (answer.status, answer.changed) == ("done", 1)
    names = [f"after{n}" for n in range(12)]
    await asyncio.gather(*(desk.ask(n, image(n)) for n in names[:6]))
    await asyncio.gather(*(desk.ask(n, image(n), campaign=CAMPAIGN) for n in names[6:]))
    results = [
        *await asyncio.gather(*(desk.result(n) for n in names[:6])),
        *await asyncio.gather(*(desk.result(n, campaign=CAMPAIGN) for n in names[6:])),
    ]
    assert sum(r.status == "ok" for r in results) == 2
    assert {r.error.code for r in results if r.error} == {"BUDGET"}
    assert (await settled(desk, TENANT)).spent == sum(await charges(desk)) == 5.0
    await desk.operate("none", SetBudget(of_tenant=TENANT, limit=None))
    await desk.ask("again", image("again"))
    assert (await desk.result("again")).status == "ok"


async def test_a_request_of_a_deleted_campaign_leaves_no_trace(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    budgets = Records(desk.bus, Bucket.BUDGETS, BudgetRecord)
    await budgets.put(f"{TENANT}.{CAMPAIGN}", BudgetRecord(closed=True))
    await desk.router()
    subject = await desk.ask("late", image(), campaign=CAMPAIGN)
    wrong = await desk.ask("wrong", b"{", campaign=CAMPAIGN)
    await desk.emptied(subject)
    await desk.emptied(wrong)
    assert await desk.jobs.under(TENANT) == []
    assert await desk.runs.under() == []
    assert await subjects_in(desk.bus, Stream.EVENTS) == []


async def test_a_request_says_what_it_may_cost_at_most(desk: Rig) -> None:
    await desk.announce(service("cheap", cost=1.0), service("dear", cost=3.0))
    await desk.router()
    await desk.worker("cheap")
    dear = await desk.worker("dear")
    await desk.ask("r1", image(max_cost=2.0))
    assert (await desk.result("r1")).provider == "cheap"
    body = await desk.event("r1", Capability.IMAGE.request_event)
    asked = msgspec.json.decode(body, type=events.GenerationRequest)
    assert (asked.budget, asked.cost_estimate, asked.preview) == (2.0, 1.0, True)
    assert {c.service: c.chosen for c in asked.candidates} == {"cheap": True, "dear": False}
    assert dear.ran == []


async def test_a_request_that_nobody_does_for_its_money_is_refused_at_once(desk: Rig) -> None:
    away = msgspec.structs.replace(service("away", cost=2.0), workers=0)
    await desk.announce(service("cheap", cost=1.0), service("dear", cost=3.0), away)
    await desk.router()
    cheap = await desk.worker("cheap")
    await desk.ask("r1", image(max_cost=0.5))
    told = await desk.result("r1")  # long before those who are away are given up
    assert told.error is not None
    assert (told.status, told.error.code, told.error.retryable) == ("failed", "BUDGET", False)
    assert "cheap: it may cost 1 US dollars, 0.5 may be spent" in told.error.message
    body = await desk.event("r1", Capability.IMAGE.request_event)
    asked = msgspec.json.decode(body, type=events.GenerationRequest)
    assert {c.service: c.chosen for c in asked.candidates} == dict.fromkeys(
        ("away", "cheap", "dear"), False
    )
    assert cheap.ran == []


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "https://127.0.0.1/x", "https://169.254.169.254/", "x"]
)
async def test_a_webhook_that_may_lead_nowhere_is_refused_before_the_work(
    desk: Rig, url: str
) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    worker = await desk.worker("draft_image")
    await desk.ask("wrong", image(webhook=url))
    wrong = await desk.result("wrong")
    assert wrong.error is not None
    assert (wrong.error.code, wrong.error.field) == ("URL_NOT_ALLOWED", "webhook")
    # A name is not looked up before there is something to deliver.
    await desk.ask("named", image(webhook="https://no-such-name.invalid/x"))
    assert (await desk.result("named")).status == "ok"
    assert worker.ran == ["named"]


async def test_what_was_admitted_is_not_refused_by_a_stricter_router(
    desk: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.announce(service("draft_image"))
    lax = msgspec.structs.replace(desk.bus.settings, webhook_private=True)
    with monkeypatch.context() as patch:
        patch.setattr(desk.bus, "settings", lax)
        before = await desk.start(Router(desk.bus, desk.artifacts).run)
    worker = await desk.worker("draft_image", held=True)
    await desk.ask("r1", image(webhook="http://127.0.0.1:8080/x"))
    await asyncio.wait_for(worker.started.wait(), 20)
    before.cancel()
    await asyncio.wait({before})
    await desk.router()  # its first sweep takes everything in anew
    await desk.ask("r2", image(webhook="http://127.0.0.1:8080/x"))
    assert (await desk.result("r2")).status == "failed"
    worker.go.set()
    assert (await desk.result("r1")).status == "ok"


async def test_what_nobody_may_do_is_asked_and_answered_once(
    desk: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.router.taking.PATIENCE_SECONDS", 0.0)
    await desk.announce(service("draft_image"))
    await desk.router()
    await desk.ask("r1", image(tier="production"))
    assert (await desk.result("r1")).status == "failed"
    body = await desk.event("r1", Capability.IMAGE.request_event)
    asked = msgspec.json.decode(body, type=events.GenerationRequest)
    assert (asked.provider, asked.tier, asked.preview) == ("", "production", False)
    names = await subjects_in(desk.bus, Stream.EVENTS, subjects.request_events(TENANT, "-", "r1"))
    assert sorted(name.rpartition(".")[2] for name in names) == [
        "accepted",
        "image_generation_request",
        "image_generation_result",
    ]


# the cache


def _with_output(sha256: str) -> Callable[[Job, Run], Run]:
    def end(job: Job, run: Run) -> Run:
        ended = ok(job, run)
        key = artifact_key(job.tenant, sha256)
        outputs = [msgspec.structs.replace(ended.outputs[0], key=key, sha256=sha256)]
        return msgspec.structs.replace(ended, outputs=outputs)

    return end


async def test_a_hundred_racers_make_one_generation(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    for _ in range(2):
        await desk.router()
    stored = await desk.artifacts.put(b"pixels", TENANT, "image/png")
    worker = await desk.worker("draft_image", _with_output(stored.sha256))
    names = [f"r{n}" for n in range(100)]
    await asyncio.gather(*(desk.ask(n, image()) for n in names))
    results = await asyncio.gather(*map(desk.result, names))
    assert len(worker.ran) == 1
    assert sorted(r.made for r in results)[-1:] == ["run"]
    assert {r.made for r in results} <= {"run", "follower", "cache"}
    assert sum(r.cost_estimate for r in results) == sum(await charges(desk)) == 0.25


async def test_what_is_forgotten_or_unwanted_is_made_anew(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    stored = await desk.artifacts.put(b"pixels", TENANT, "image/png")
    worker = await desk.worker("draft_image", _with_output(stored.sha256))

    async def made(name: str, **fields: object) -> str:
        await desk.ask(name, image("a can of lemonade", **fields))
        return (await desk.result(name)).made

    assert await made("first") == "run"
    assert await made("hit") == "cache"
    assert await made("fresh", fresh=True) == "run"
    assert await made("hit2") == "cache"
    command = InvalidateCache(of_tenant=TENANT, prompt="a can of lemonade")
    assert (await desk.operate("forget", command)).changed == 1
    assert await made("anew") == "run"
    assert (await desk.operate("nothing", InvalidateCache())).status == "refused"
    assert worker.ran == ["first", "fresh", "anew"]


# what is turned off, and what fails


async def test_a_service_that_is_turned_off_gets_nothing_more_not_even_what_waits(
    desk: Rig,
) -> None:
    await desk.announce(service("cheap"), service("dear", cost=1.0))
    for _ in range(2):
        await desk.router()
    waiting = [f"w{n}" for n in range(4)]
    for name in waiting:
        await desk.ask(name, image(name))
        await desk.event(name, events.ACCEPTED)
    await desk.ask("named", image("named", provider="cheap"))
    await desk.event("named", events.ACCEPTED)
    command = SetFlag(service="cheap", enabled=False, reason="it burns")
    assert (await desk.operate("off", command)).status == "done"
    cheap = await desk.worker("cheap")
    dear = await desk.worker("dear")
    results = await asyncio.gather(*map(desk.result, waiting))
    assert {r.provider for r in results} == {"dear"}
    named = await desk.result("named")
    assert named.error is not None
    assert named.error.code == "NOT_IMPLEMENTED"
    assert "it burns" in named.error.message
    assert sorted(dear.ran) == waiting
    on = SetFlag(service="cheap", enabled=True)
    assert (await desk.operate("on", on)).changed == 1

    async def back() -> bool:
        name = f"later{len(dear.ran)}"
        await desk.ask(name, image(name))
        return (await desk.result(name)).provider == "cheap"

    await until(back, "both routers know")  # one hears of it a moment after the other
    assert len(cheap.ran) == 1


async def test_an_open_breaker_sends_work_elsewhere_until_it_is_mended(desk: Rig) -> None:
    await desk.announce(service("cheap"), service("dear", cost=1.0))
    await desk.router()
    cheap = await desk.worker("cheap", fails("STALLED", retryable=True))
    await desk.worker("dear")
    for number in range(5):
        await desk.ask(f"r{number}", image(f"prompt {number}"))
        assert (await desk.result(f"r{number}")).provider == "dear"
    breakers = Records(desk.bus, Bucket.BREAKERS, BreakerRecord)

    async def opened() -> bool:
        found = await breakers.get("cheap")
        return found is not None and found.value.state is BreakerState.OPEN

    await until(opened, "the breaker is open")
    await desk.ask("spared", image("spared"))
    assert (await desk.result("spared")).provider == "dear"
    assert len(cheap.ran) == 5
    cheap.end = ok
    assert (await desk.operate("mended", ResetBreaker(service="cheap"))).changed == 1
    await desk.ask("back", image("back"))
    assert (await desk.result("back")).provider == "cheap"


# commands nobody could have meant


async def test_a_command_with_an_unusable_id_is_answered_and_taken(desk: Rig) -> None:
    await desk.router()
    for subject in ("adgenx.ctl.acme.cancel.-.bad\u00e9", "adgenx.ops.bad\u00e9"):
        await gate.publish_once(desk.bus, subject, b'{"type":"cancel.v1"}')

    async def told() -> bool:
        return len(await subjects_in(desk.bus, Stream.EVENTS, "adgenx.evt.-.-.*.rejected")) == 2

    async def taken() -> bool:
        return await subjects_in(desk.bus, Stream.CONTROL) == []

    await until(told, "both refusals")
    await until(taken, "both commands are acknowledged")
