"""What else has its time, and the process that sweeps, on the real servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from bus_servers import eventually
from retention_rig import DAY, GRACE, HOUR, TENANT, House, ref_of

from bus import direct
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from contracts import subjects
from contracts.artifacts import note_key, receipt_key, staging_key
from contracts.assets import AssetRole, Rights, UploadRecord
from contracts.campaign import CampaignState
from contracts.jobs import CacheClaim, JobState, RunState
from contracts.retention import STATE_KEY, WANTED_KEY, SweepWanted, TenantSweep
from contracts.segments import SegmentRecord
from contracts.subjects import Bucket, Stream
from contracts.webhooks import DeliveryRecord, DeliveryState
from services.retention.shell import Retention

pytestmark = pytest.mark.integration


@pytest.fixture
async def house(bus: Bus, artifacts: Artifacts) -> House:
    return House(bus, artifacts)


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


async def test_a_segment_keeps_its_files_until_its_time_or_its_campaigns_end(house: House) -> None:
    """Nothing else names them: the run that made them may not be over yet."""
    await house.campaign("going", CampaignState.DELETED)
    stored = {}
    for name, job_key, days in (
        ("stays", f"{TENANT}.c.r1", 14.0),
        ("aged", f"{TENANT}.c.r1", 1.0),
        ("gone", f"{TENANT}.going.r1", 14.0),
    ):
        body = name.encode()
        stored[name] = (await house.artifacts.put(body, TENANT, "video/mp4")).key
        record = SegmentRecord(
            outputs=[ref_of(body)],
            job_key=job_key,
            made_at=house.now(),
            expires_at=house.now() + days * DAY,
        )
        await house.segments.create(f"{TENANT}.longcat.{name}", record)
    assert (await house.sweep_after(HOUR)).segments == 1, "of the deleted campaign"
    assert (await house.sweep_after(2 * DAY)).segments == 1, "the expired one"
    await house.sweep_after(2 * GRACE)
    assert [r.key for r in await house.segments.under()] == [f"{TENANT}.longcat.stays"]
    left = {s.key async for page in house.artifacts.objects.pages("") for s in page}
    assert left & set(stored.values()) == {stored["stays"]}


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


async def test_a_damaged_record_of_a_deleted_campaign_keeps_nothing_else_from_going(
    house: House,
) -> None:
    """What only the walk could read, and what it could not: the others go, whatever comes first."""
    await house.whole_campaign("damaged", CampaignState.DELETED)
    await house.whole_campaign("gone", CampaignState.DELETED)
    for key, body in (
        (f"jobs.{TENANT}.damaged.x", '{"state": "ok"}'),
        ("runs.fake.r9", f'{{"state": "ok", "job_key": "{TENANT}.c.none"}}'),
        ("runs.fake.receipt", "{"),
    ):
        await house.bus.js.publish(f"$KV.{key}", body.encode())
    await house.claims.put(f"{TENANT}.{'a' * 64}", CacheClaim(leader=f"{TENANT}.c.gone"))
    await house.artifacts.put_receipt(TENANT, "fake", "receipt", b"[]")
    await house.artifacts.put(b"nobody's", TENANT, "image/png")
    state = await house.sweep_after(GRACE + HOUR)
    assert set(await house.left_of("gone")) == {"EVENTS", "LEDGER", "KV_campaigns", "KV_budgets"}
    assert state.claims == 1
    swept = await Records(house.bus, Bucket.RETENTION, TenantSweep).get(TENANT)
    assert swept is not None
    assert (swept.value.trashed, swept.value.receipts) == (1, 0)


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
