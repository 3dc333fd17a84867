"""Retention on the real servers: what goes, what stays, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from bus_servers import eventually
from router_rig import image, rig, service

from bus import direct, gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.gate import StoredMessage
from bus.records import Records
from contracts import events, subjects
from contracts.artifacts import ArtifactRef, artifact_key, note_key, receipt_key, staging_key
from contracts.assets import Asset, AssetRole, Rights, UploadRecord
from contracts.brief import Brand, Brief, Product
from contracts.campaign import CampaignRecord, CampaignState
from contracts.capability import Capability
from contracts.codec import encode
from contracts.errors import UnknownOutcomeError
from contracts.governance import BudgetRecord
from contracts.identity import job_id_of
from contracts.jobs import Attempt, Buried, CacheClaim, Job, JobRecord, JobState, Run, RunState
from contracts.ledger import Charge
from contracts.requests import GenerateImage
from contracts.retention import SweepState, SweepWanted, TenantSweep
from contracts.subjects import Bucket, Stream
from contracts.webhooks import DeliveryRecord, DeliveryState
from services.retention.purge import Purger
from services.retention.shell import WANTED_KEY, Retention
from services.retention.sweep import STATE_KEY, Sweep, Tools
from services.router.stores import ServerStores

pytestmark = pytest.mark.integration

TENANT = "acme"
HOUR = 3600.0
DAY = 24 * HOUR
GRACE = 48 * HOUR
BRIEF = Brief(
    campaign="k",
    brand=Brand(name="Kestrel"),
    product=Product(name="Kestrel", what="cold brew"),
    placements=["display_300x250"],
    locales=["en-US"],
)


def ref_of(data: bytes) -> ArtifactRef:
    sha256 = hashlib.sha256(data).hexdigest()
    key = artifact_key(TENANT, sha256)
    return ArtifactRef(key=key, sha256=sha256, media_type="image/png", size_bytes=len(data))


class House:
    """The records of one appliance, written by hand, and a sweep whose clock a test moves on."""

    def __init__(self, bus: Bus, artifacts: Artifacts) -> None:
        self.bus = bus
        self.artifacts = artifacts
        self.later = 0.0
        self.campaigns = Records(bus, Bucket.CAMPAIGNS, CampaignRecord)
        self.jobs = Records(bus, Bucket.JOBS, JobRecord)
        self.runs = Records(bus, Bucket.RUNS, Run)
        self.claims = Records(bus, Bucket.CACHE, CacheClaim)
        self.budgets = Records(bus, Bucket.BUDGETS, BudgetRecord)
        self.uploads = Records(bus, Bucket.UPLOADS, UploadRecord)
        self.deliveries = Records(bus, Bucket.DELIVERIES, DeliveryRecord)
        self.states = Records(bus, Bucket.RETENTION, SweepState)
        self.sweep = Sweep(Tools(bus, artifacts, self.now, self._rest))

    def now(self) -> float:
        return time.time() + self.later

    async def _rest(self) -> None:
        pass

    def keep(self, *, days: float) -> None:
        """Let what has ended expire after so many days."""
        self.bus.settings = msgspec.structs.replace(self.bus.settings, retention_days=days)
        self.sweep = Sweep(Tools(self.bus, self.artifacts, self.now, self._rest))

    async def sweep_after(self, seconds: float) -> SweepState:
        self.later += seconds
        return await self.sweep.run()

    async def campaign(self, campaign_id: str, state: CampaignState, **more: Any) -> str:  # noqa: ANN401 - any field of the record
        record = CampaignRecord(
            tenant=TENANT,
            campaign_id=campaign_id,
            revision=1,
            state=state,
            brief=more.pop("brief", BRIEF),
            brief_hash="",
            accepted_at=self.now(),
            **{"ended_at": self.now()} | more,
        )
        await self.campaigns.put(f"{TENANT}.{campaign_id}", record)
        return f"{TENANT}.{campaign_id}"

    async def job(
        self,
        campaign_id: str,
        request_id: str,
        state: JobState = JobState.OK,
        outputs: tuple[ArtifactRef, ...] = (),
        **more: Any,  # noqa: ANN401 - any field of the record
    ) -> JobRecord:
        job = JobRecord(
            tenant=TENANT,
            campaign_id=campaign_id,
            request_id=request_id,
            capability=Capability.IMAGE,
            job_id=job_id_of(TENANT, campaign_id, request_id),
            state=state,
            request_hash="h",
            accepted_at=self.now(),
            service="fake",
            outputs=list(outputs),
            **{"ended_at": self.now() if state.terminal else 0.0} | more,
        )
        await self.jobs.put(f"{TENANT}.{campaign_id}.{request_id}", job)
        return job

    async def run_of(
        self, job: JobRecord, service: str = "fake", state: RunState = RunState.OK
    ) -> None:
        key = subjects.job_key(job.tenant, job.campaign_id, job.request_id)
        run = Run(attempt=1, owner="w", state=state, job_key=key, outputs=job.outputs)
        await self.runs.put(subjects.run_key(service, job.job_id), run)

    async def request(self, campaign_id: str, request_id: str, body: bytes = b"{}") -> None:
        subject = subjects.request(TENANT, "image", campaign_id, request_id)
        await gate.publish_once(self.bus, subject, body)

    async def event(self, campaign_id: str, request_id: str, name: str) -> None:
        subject = subjects.event(TENANT, campaign_id, request_id, name)
        await gate.publish_once(self.bus, subject, b"{}")

    async def whole_campaign(self, campaign_id: str, state: CampaignState) -> str:
        """Write everything that a campaign with one paid, fallen back, buried job leaves."""
        key = await self.campaign(campaign_id, state)
        job = await self.job(
            campaign_id,
            "r1",
            cache_key=hashlib.sha256(campaign_id.encode()).hexdigest(),
            tried=[Attempt(service="other")],
        )
        await self.run_of(job)
        await self.run_of(job, "other", RunState.FAILED)
        claim = subjects.cache_record_key(TENANT, job.cache_key)
        await self.claims.put(claim, CacheClaim(leader=f"{key}.r1"))
        await self.budgets.put(key, BudgetRecord(spent=1.5))
        work = Job(
            job_id=job.job_id,
            tenant=TENANT,
            campaign_id=campaign_id,
            request_id="r1",
            service="other",
            request=GenerateImage(prompt="a can", width=64, height=64),
        )
        buried = Buried(
            job=work, run=Run(attempt=3, owner="w", state=RunState.FAILED, job_key=f"{key}.r1")
        )
        dead = subjects.dead("other", job.job_id)
        await gate.publish_once(self.bus, dead, encode(buried))
        charge = Charge(
            tenant=TENANT,
            campaign_id=campaign_id,
            request_id="r1",
            job_id=job.job_id,
            service="fake",
            amount=1.5,
            at=1.0,
        )
        await gate.publish_once(
            self.bus, subjects.charge(TENANT, campaign_id, "r1"), encode(charge)
        )
        for request_id, name in (
            ("r1", "image_generation_result"),
            (campaign_id, "campaign_result.1"),
            (campaign_id, events.DELETE_RESULT),
        ):
            await self.event(campaign_id, request_id, name)
        progress = subjects.progress(TENANT, campaign_id, "r1")
        await self.bus.js.publish(progress, b"{}")
        return key

    async def left_of(self, campaign_id: str) -> dict[str, list[str]]:
        """Return the subjects that hold something of a campaign, but its own record, by stream."""
        found: dict[str, list[str]] = {}
        for stream in (*Stream, *(f"KV_{b}" for b in Bucket)):
            pattern = ">" if str(stream).startswith("KV_") else "adgenx.>"
            messages = await direct.after(self.bus, stream, pattern, 0)
            mine = [m.subject for m in messages if _is_of(m, campaign_id)]
            if mine:
                found[str(stream)] = mine
        return found


def _is_of(message: StoredMessage, campaign_id: str) -> bool:
    job_id = job_id_of(TENANT, campaign_id, "r1")
    parts = message.subject.split(".")
    return campaign_id in parts or job_id in parts or f".{campaign_id}.".encode() in message.data


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


async def test_receipts_uploads_and_torn_ones_go_with_their_time(house: House) -> None:
    over = await house.job("c", "r1")
    await house.run_of(over)
    store = house.artifacts
    await store.put_receipt(TENANT, "fake", over.job_id, b"[]")
    await store.put_receipt(TENANT, "fake", "unknown", b"[]")
    await store.put_note(TENANT, "fake", over.job_id, "order1", b"n1")
    running = await house.job("c", "r2")
    await house.run_of(running, state=RunState.CLAIMED)
    await store.put_note(TENANT, "fake", running.job_id, "order1", b"n2")
    for upload_id in ("promised", "abandoned"):
        await _staged(store, upload_id)
    promised = UploadRecord(
        tenant=TENANT,
        upload_id="promised",
        role=AssetRole.LOGO,
        size_bytes=1,
        sha256="0" * 64,
        rights=Rights(),
        expires_at=house.now() + 2 * GRACE,
    )
    await house.uploads.put(f"{TENANT}.promised", promised)
    expired = msgspec.structs.replace(promised, upload_id="expired", expires_at=house.now())
    await house.uploads.put(f"{TENANT}.expired", expired)
    store.objects._client._create_multipart_upload(store.objects.bucket, "acme/torn", {})
    nothing = await house.sweep_after(HOUR)
    assert (nothing.uploads, nothing.unfinished) == (0, 0)
    state = await house.sweep_after(GRACE)
    assert (state.uploads, state.unfinished) == (1, 1)
    left = [s.key async for page in store.objects.pages("") for s in page]
    kept = note_key(TENANT, "fake", running.job_id, "order1")
    assert left == [kept, staging_key(TENANT, "promised")]
    assert receipt_key(TENANT, "fake", over.job_id) not in left
    assert [r.key for r in await house.uploads.under()] == [f"{TENANT}.promised"]


async def _staged(store: Artifacts, upload_id: str) -> None:
    stored = await store.put(b"x", TENANT, "image/png")
    await store.objects.copy(stored.key, staging_key(TENANT, upload_id))
    await store.remove(stored.key)


async def test_what_has_expired_goes_and_without_a_limit_nothing_does(house: House) -> None:
    await house.campaign("old", CampaignState.OK)
    await house.campaign("open", CampaignState.OPEN, ended_at=0.0)
    old = await house.job("-", "old")
    await house.run_of(old)
    await house.event("-", "old", "image_generation_result")
    await house.job("-", "running", JobState.NEW)
    await house.job("-", "untold")
    await house.request("-", "untold")
    assert (await house.sweep_after(100 * DAY)).expired == 0
    house.keep(days=30)
    await house.job("-", "young")
    state = await house.sweep.run()
    assert (state.expired, state.requests) == (1, 1)
    commands = await direct.last_of_each(house.bus, Stream.CONTROL, "adgenx.ctl.*.delete.*")
    assert [m.subject for m in commands] == [subjects.delete_campaign(TENANT, "old")]
    left = {r.value.request_id for r in await house.jobs.under(f"{TENANT}.-")}
    assert left == {"running", "untold", "young"}
    assert await house.runs.under() == []
    assert await direct.last_of_each(house.bus, Stream.EVENTS, "adgenx.evt.>") == []


async def test_delivered_webhooks_are_forgotten_after_a_week(house: House) -> None:
    for name, state, days in (
        ("old", DeliveryState.DELIVERED, 8),
        ("young", DeliveryState.DELIVERED, 6),
        ("dead", DeliveryState.DEAD, 80),
        ("pending", DeliveryState.PENDING, 80),
    ):
        record = DeliveryRecord(
            tenant=TENANT,
            delivery_id=name,
            subject=subjects.event(TENANT, "c", "c", "campaign_result.1"),
            url="https://example.com",
            state=state,
            created_at=1.0,
            ended_at=house.now() - days * DAY,
        )
        await house.deliveries.put(f"{TENANT}.{name}", record)
    assert (await house.sweep.run()).deliveries == 1
    left = {r.value.delivery_id for r in await house.deliveries.under()}
    assert left == {"young", "dead", "pending"}


async def test_a_dry_run_counts_and_changes_nothing(house: House) -> None:
    await house.whole_campaign("gone", CampaignState.DELETED)
    await house.artifacts.put(b"nobody's", TENANT, "image/png")
    before = await house.left_of("gone")
    house.later = GRACE + HOUR
    state = await house.sweep.run(7.0, dry_run=True)
    assert (state.dry_run, state.campaigns, state.wanted_at) == (True, 1, 7.0)
    assert await house.left_of("gone") == before
    objects = [s.key async for page in house.artifacts.objects.pages("") for s in page]
    assert objects == [ref_of(b"nobody's").key]


async def test_a_damaged_record_stops_no_sweep_and_loses_nothing(house: House) -> None:
    ref = ref_of(b"film")
    await house.artifacts.put(b"film", TENANT, "video/mp4")
    for bucket in ("campaigns", "jobs", "runs", "budgets", "uploads", "deliveries", "cache"):
        body = b'{"broken": 1, "key": "%s"}' % ref.key.encode()
        await house.bus.js.publish(f"$KV.{bucket}.{TENANT}.c.x", body)
    for _ in range(3):
        await house.sweep_after(GRACE + HOUR)
    assert await house.artifacts.objects.stat(ref.key) is not None


@contextlib.asynccontextmanager
async def serving(house: House) -> AsyncIterator[None]:
    """A retention process that would not sweep by itself."""
    retention = Retention(house.bus, house.artifacts, first_seconds=HOUR)
    task = asyncio.create_task(retention.run())
    try:
        yield
    finally:
        house.bus.stopping.set()
        await task


async def test_a_deletion_is_followed_by_its_purge_at_once(house: House) -> None:
    async with serving(house):
        await house.whole_campaign("gone", CampaignState.DELETED)

        async def purged() -> bool:
            return not await house.jobs.under(f"{TENANT}.gone")

        await eventually(purged)
    assert await house.states.get(STATE_KEY) is None  # it needed no sweep


async def test_a_wish_is_answered_by_a_sweep(house: House) -> None:
    wishes = Records(house.bus, Bucket.RETENTION, SweepWanted)
    await house.artifacts.put(b"nobody's", TENANT, "image/png")
    async with serving(house):
        await wishes.put(WANTED_KEY, SweepWanted(at=5.0))

        async def swept() -> bool:
            state = await house.states.get(STATE_KEY)
            return state is not None and state.value.wanted_at == 5.0

        await eventually(swept)
    told = await Records(house.bus, Bucket.RETENTION, TenantSweep).get(TENANT)
    assert told is not None
    assert (told.value.objects, told.value.unnamed, told.value.trashed) == (1, 1, 0)
