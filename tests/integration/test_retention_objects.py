"""Whose file stays, whose goes, and whose comes back, on the real servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from bus_servers import eventually
from retention_rig import BRIEF, DAY, GRACE, HOUR, TENANT, House, ref_of
from router_rig import image, rig, service

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from contracts import events, subjects
from contracts.artifacts import ArtifactRef
from contracts.assets import Asset, AssetRole
from contracts.campaign import CampaignState
from contracts.capability import Capability
from contracts.codec import encode
from contracts.identity import job_id_of
from contracts.jobs import Job, JobState, Run, RunState
from contracts.subjects import Stream
from services.retention.sweep import Sweep, Tools
from services.router.stores import ServerStores

pytestmark = pytest.mark.integration


@pytest.fixture
async def house(bus: Bus, artifacts: Artifacts) -> House:
    return House(bus, artifacts)


async def test_every_kind_of_name_holds_an_object(house: House) -> None:
    refs = {}
    for name in ("job", "run", "brief", "request", "asset", "receipt", "nobody"):
        refs[name] = ref_of(name.encode())
        await house.artifacts.put(name.encode(), TENANT, "image/png")
    await house.job("c", "r1", outputs=(refs["job"],))
    running = await house.job("c", "r2", JobState.NEW)
    await house.run_of(await house.job("c", "r3", JobState.NEW))
    run = Run(
        attempt=1,
        owner="w",
        state=RunState.OK,
        job_key=f"{TENANT}.c.r3",
        outputs=[refs["run"]],
    )
    await house.runs.put(subjects.run_key("fake", job_id_of(TENANT, "c", "r3")), run)
    brief = msgspec.structs.replace(BRIEF, assets=[Asset(role=AssetRole.LOGO, ref=refs["brief"])])
    await house.campaign("c", CampaignState.OPEN, brief=brief)
    await house.request("c", "r4", encode({"picture": refs["request"]}))
    asset = events.AssetResult(request_id="u1", asset=refs["asset"])
    subject = subjects.event(TENANT, "-", "u1", events.ASSET_RESULT)
    await gate.publish_once(house.bus, subject, encode(asset))
    await house.run_of(running, state=RunState.CLAIMED)
    await house.artifacts.put_receipt(TENANT, "fake", running.job_id, encode([refs["receipt"]]))
    for _ in range(3):
        await house.sweep_after(GRACE + HOUR)
    there = {n for n, ref in refs.items() if await house.artifacts.objects.stat(ref.key)}
    assert there == set(refs) - {"nobody"}
    assert await house.artifacts.get_receipt(TENANT, "fake", running.job_id) is not None


async def test_what_nobody_names_is_readable_for_the_grace_and_then_gone(house: House) -> None:
    ref = ref_of(b"film")
    key = await house.campaign("c", CampaignState.OK)
    await house.artifacts.put(b"film", TENANT, "video/mp4")
    await house.job("c", "r1", outputs=(ref,))
    await house.sweep_after(10 * DAY)
    await house.campaign("c", CampaignState.DELETED)
    await house.sweep_after(HOUR)  # an old object, unnamed since a moment ago
    assert await house.jobs.under(key) == []
    assert await house.artifacts.objects.stat(ref.key) is None
    assert await house.artifacts.read(ref.key) == b"film"
    assert await house.artifacts.objects.stat(ref.key) is not None
    for _ in range(3):
        await house.sweep_after(GRACE + HOUR)
    assert await house.artifacts.stat(ref.key) is None
    assert [p async for p in house.artifacts.objects.pages("")] == []


async def test_a_young_object_is_left_alone(house: House) -> None:
    stored = await house.artifacts.put(b"just stored", TENANT, "image/png")
    await house.sweep_after(GRACE - HOUR)
    assert await house.artifacts.objects.stat(stored.key) is not None


class Between:
    """Does something in the middle of a sweep: right before or after its n-th delete."""

    def __init__(self, house: House, act: Callable[[], Awaitable[None]], *, after: bool) -> None:
        self._remove = house.artifacts.objects.remove
        self._act = act
        self._after = after
        house.artifacts.objects.remove = self._hooked  # type: ignore[method-assign]  # the hook

    async def _hooked(self, key: str) -> None:
        if "/sha256/" not in key:
            await self._remove(key)
            return
        if not self._after:
            await self._act()
        await self._remove(key)
        if self._after:
            await self._act()


async def test_a_worker_that_was_told_exists_just_before_the_delete(house: House) -> None:
    await house.artifacts.put(b"film", TENANT, "video/mp4")

    async def store() -> None:
        assert (await house.artifacts.put(b"film", TENANT, "video/mp4")).existed

    Between(house, store, after=False)
    await house.sweep_after(GRACE + HOUR)
    ref = ref_of(b"film")
    assert await house.artifacts.objects.stat(ref.key) is None
    await house.job("c", "r1", outputs=(ref,))  # it commits only now, and is read at once
    assert await house.artifacts.read(ref.key) == b"film"


async def test_what_becomes_named_during_the_sweep_is_back_at_its_end(house: House) -> None:
    await house.artifacts.put(b"film", TENANT, "video/mp4")
    ref = ref_of(b"film")

    async def commit() -> None:
        await house.job("c", "r1", outputs=(ref,))

    Between(house, commit, after=True)
    await house.sweep_after(GRACE + HOUR)
    assert await house.artifacts.objects.stat(ref.key) is not None
    for _ in range(3):
        await house.sweep_after(GRACE + HOUR)
    assert await house.artifacts.objects.stat(ref.key) is not None


async def test_a_hit_whose_leader_and_object_go_while_it_looks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router has read the claim and its leader; before it looks for the object, all is gone."""
    await house.artifacts.put(b"film", TENANT, "image/png")
    ref = ref_of(b"film")
    look = ServerStores.exist
    looks = 0

    def made(_: Job, run: Run) -> Run:
        return msgspec.structs.replace(run, state=RunState.OK, outputs=[ref], cost=0.25)

    async def exist(stores: ServerStores, outputs: list[ArtifactRef]) -> bool:
        nonlocal looks
        looks += 1
        await house.campaign("lead", CampaignState.DELETED)
        assert (await house.sweep_after(GRACE + HOUR)).requests == 1
        assert await house.artifacts.objects.stat(ref.key) is None
        return await look(stores, outputs)

    async with rig(house.bus, house.artifacts) as desk:
        await desk.announce(service("fake"))
        await desk.router()
        await desk.worker("fake", made)
        await house.request("lead", "r1", encode(image()))
        lead = subjects.request(TENANT, "image", "lead", "r1")

        async def told() -> bool:
            name = Capability.IMAGE.result_event
            event = subjects.event(TENANT, "lead", "r1", name)
            is_told = await gate.last(house.bus, Stream.EVENTS, event) is not None
            return is_told and await gate.last(house.bus, Stream.REQUESTS, lead) is None

        await eventually(told)
        monkeypatch.setattr(ServerStores, "exist", exist)
        await desk.ask("r2", image())
        result = await desk.result("r2")
    assert (looks, result.status, result.made) == (1, "ok", "cache")
    assert await house.jobs.under(f"{TENANT}.lead") == []
    for _ in range(3):
        await house.sweep_after(GRACE + HOUR)
    assert await house.artifacts.objects.stat(ref.key) is not None


async def test_what_is_named_after_the_sweep_and_never_read_comes_back_by_itself(
    house: House,
) -> None:
    await house.artifacts.put(b"film", TENANT, "video/mp4")
    await house.sweep_after(GRACE + HOUR)
    ref = ref_of(b"film")
    await house.job("c", "r1", outputs=(ref,))
    for _ in range(3):
        await house.sweep_after(GRACE + HOUR)
    assert await house.artifacts.objects.stat(ref.key) is not None


async def test_a_sweeper_that_stood_still_behind_its_copy_deletes_nothing(house: House) -> None:
    stored = await house.artifacts.put(b"film", TENANT, "video/mp4")
    sync = house.artifacts.make_durable

    async def slow() -> None:
        house.later += GRACE / 2
        await sync()

    house.artifacts.make_durable = slow  # type: ignore[method-assign]  # a machine that slept
    house.sweep = Sweep(Tools(house.bus, house.artifacts, house.now, house._rest))
    await house.sweep_after(GRACE + HOUR)
    assert await house.artifacts.objects.stat(stored.key) is not None
