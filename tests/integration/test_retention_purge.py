"""What a deleted campaign leaves behind, on the real servers: it goes, and its charges stay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bus_servers import eventually
from retention_rig import DAY, TENANT, House
from router_rig import image, rig, service

from bus import direct, gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from contracts import events, subjects
from contracts.campaign import CampaignState
from contracts.codec import encode
from contracts.errors import UnknownOutcomeError
from contracts.jobs import CacheClaim, JobState
from contracts.subjects import Stream
from services.retention.purge import Purger

pytestmark = pytest.mark.integration


@pytest.fixture
async def house(bus: Bus, artifacts: Artifacts) -> House:
    return House(bus, artifacts)


async def test_of_a_deleted_campaign_only_tombstone_budget_and_charges_stay(house: House) -> None:
    await house.whole_campaign("gone", CampaignState.DELETED)
    await house.request("gone", "late")
    await house.whole_campaign("kept", CampaignState.OK)
    before = await house.left_of("kept")
    state = await house.sweep.run()
    assert (state.campaigns, state.requests, state.pending) == (1, 1, 0)
    assert await house.left_of("gone") == {
        "EVENTS": [subjects.event(TENANT, "gone", "gone", events.DELETE_RESULT)],
        "LEDGER": [subjects.charge(TENANT, "gone", "r1")],
        "KV_campaigns": [f"$KV.campaigns.{TENANT}.gone"],
        "KV_budgets": [f"$KV.budgets.{TENANT}.gone"],
    }
    budget = await house.budgets.get(f"{TENANT}.gone")
    assert budget is not None
    assert (budget.value.closed, budget.value.spent) == (True, 1.5)
    assert await house.left_of("kept") == before


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_a_purge_that_dies_at_any_effect_is_finished_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """Before: each attempt gets one effect further. After: each dies behind its first one."""
    key = await house.whole_campaign("gone", CampaignState.DELETED)
    await house.request("gone", "late")
    effects = {name: getattr(gate, name) for name in ("remove", "store")}
    left = 0

    def dying(name: str) -> Callable[..., Awaitable[Any]]:
        async def effect(*given: object) -> Any:  # noqa: ANN401 - whatever the real one returns
            nonlocal left
            left -= 1
            if left >= 0:
                return await effects[name](*given)
            if late:
                await effects[name](*given)
            raise UnknownOutcomeError("died here")

        return effect

    for name in effects:
        monkeypatch.setattr(gate, name, dying(name))
    deaths = 0
    while True:
        left = 0 if late else deaths
        try:
            await Purger(house.bus).campaign(key)
        except UnknownOutcomeError:
            deaths += 1
        else:
            break
    assert deaths >= (10 if late else 1)
    assert set(await house.left_of("gone")) == {"EVENTS", "LEDGER", "KV_campaigns", "KV_budgets"}


async def test_a_campaign_waits_for_what_is_not_over(house: House) -> None:
    key = await house.campaign("gone", CampaignState.DELETED)
    await house.job("gone", "running", JobState.NEW)
    await house.job("gone", "untold")
    await house.request("gone", "untold")
    purger = Purger(house.bus)
    assert (await purger.campaign(key)).pending
    assert (await purger.campaign(key)).pending
    cancels = await direct.last_of_each(house.bus, Stream.CONTROL, "adgenx.ctl.*.cancel.*.*")
    assert [m.subject for m in cancels] == [subjects.cancel_job(TENANT, "gone", "running")]
    assert len(await house.jobs.under(key)) == 2
    # The router ends the one, and tells the other.
    await house.job("gone", "running", JobState.CANCELLED)
    [message] = await direct.last_of_each(house.bus, Stream.REQUESTS, subjects.all_requests())
    await gate.remove(house.bus, Stream.REQUESTS, message.sequence)
    assert (await purger.campaign(key)).pending is False
    assert await house.jobs.under(key) == []


async def test_what_a_router_that_slept_has_written_is_ended_and_goes(house: House) -> None:
    """A record without a message, of a campaign that is no more: the router itself ends it."""
    key = await house.campaign("gone", CampaignState.DELETED)
    await house.sweep.run()
    await house.job("gone", "late", JobState.NEW, cache_key="a" * 64)
    await house.request("gone", "later", encode(image()))
    async with rig(house.bus, house.artifacts) as desk:
        await desk.announce(service("fake"))
        await desk.router()
        worker = await desk.worker("fake")

        async def purged() -> bool:
            return not (await Purger(house.bus).campaign(key)).pending

        await eventually(purged)
    assert worker.ran == []
    await house.sweep.run()  # the answer to the cancel came after the record
    assert set(await house.left_of("gone")) == {"KV_campaigns", "KV_budgets"}


async def test_a_brief_under_a_deleted_id_is_left_for_its_answer(house: House) -> None:
    key = await house.campaign("gone", CampaignState.DELETED)
    subject = subjects.request(TENANT, subjects.CAMPAIGN, "gone", "gone")
    await gate.publish_once(house.bus, subject, b"{}")
    await Purger(house.bus).campaign(key)
    assert await gate.last(house.bus, Stream.REQUESTS, subject) is not None


async def test_who_wakes_after_the_purge_leaves_nothing_for_ever(house: House) -> None:
    key = await house.campaign("gone", CampaignState.DELETED)
    await house.sweep.run()
    house.later += 30 * DAY
    await house.request("gone", "asked-late")
    job = await house.job("gone", "made-late")
    await house.run_of(await house.job("gone", "r1"))
    await house.jobs.delete(f"{key}.r1", (await house.jobs.under(key))[-1].revision)
    state = await house.sweep.run()
    assert (state.campaigns, state.requests, state.runs) == (1, 1, 1)
    assert job.request_id not in str(await house.left_of("gone"))
    assert set(await house.left_of("gone")) == {"KV_campaigns", "KV_budgets"}
    assert (await house.sweep.run()).campaigns == 0


async def test_a_claim_whose_leader_is_gone_goes_and_others_stay(house: House) -> None:
    await house.job("c", "leads")
    await house.claims.put(f"{TENANT}.{'a' * 64}", CacheClaim(leader=f"{TENANT}.c.leads"))
    await house.claims.put(f"{TENANT}.{'b' * 64}", CacheClaim(leader=f"{TENANT}.c.gone"))
    assert (await house.sweep.run()).claims == 1
    assert [r.key for r in await house.claims.under()] == [f"{TENANT}.{'a' * 64}"]
