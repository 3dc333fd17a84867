"""A full disk refuses what is new, and lets what was accepted go on to its end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from bus_servers import eventually
from router_rig import TENANT, environment_of, image, rig, service, until

from bus import device, gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from bus.settings import Settings
from contracts import events, subjects
from contracts.assets import UploadAsset
from contracts.brief import Brand, Brief, Product
from contracts.campaign import CampaignRecord, CampaignState, RerunCampaign, RunCampaign
from contracts.codec import encode
from contracts.disk import DiskRecord, Volume
from contracts.errors import StorageFullError
from contracts.subjects import Bucket, Stream
from services.coordinator.shell import Coordinator
from services.coordinator.world import ServerWorld
from services.intake.shell import Intake

pytestmark = pytest.mark.integration

FULL = StorageFullError.code
BRIEF = Brief(
    campaign="k",
    brand=Brand(name="Kestrel"),
    product=Product(name="Kestrel", what="cold brew"),
    placements=["display_300x250"],
    locales=["en-US"],
)


async def say(bus: Bus, *, refusing: bool) -> None:
    """Say it as an observer would."""
    volume = Volume(name="data", used_percent=93.0 if refusing else 10.0)
    word = DiskRecord(at=time.time(), volumes=[volume], refusing=refusing)
    await Records(bus, Bucket.DISKS, DiskRecord).put("elsewhere", word)


async def event(bus: Bus, subject: str) -> bytes:
    async def there() -> bytes | None:
        found = await gate.last(bus, Stream.EVENTS, subject)
        return found.data if found else None

    return await until(there, what=subject)


async def test_a_request_of_its_own_is_refused_and_accepted_work_goes_on(
    bus: Bus, artifacts: Artifacts
) -> None:
    async with rig(bus, artifacts) as house:
        await house.announce(service("flux"))
        worker = await house.worker("flux", held=True)
        await house.ask("before", image("one"))
        router = await house.router()
        await worker.started.wait()
        await say(bus, refusing=True)

        async def known() -> bool:
            return router._full() is not None

        await until(known, "the router to hear of it")
        await house.ask("lone", image("two"))
        refused = await house.result("lone")
        assert (refused.status, refused.error and refused.error.code) == ("failed", FULL)
        assert refused.error is not None
        assert refused.error.retryable
        await house.ask("before", image("one"))  # a client that is not sure asks again
        await house.ask("step", image("three"), campaign="c1")
        worker.go.set()
        assert (await house.result("before")).status == "ok"
        assert (await house.result("step", campaign="c1")).status == "ok"
        await say(bus, refusing=False)

        async def over() -> bool:
            return router._full() is None

        await until(over, "the router to hear that it is over")
        await house.ask("again", image("two"))
        assert (await house.result("again")).status == "ok"


@contextlib.asynccontextmanager
async def running(*bodies: object) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(body) for body in bodies]  # type: ignore[arg-type]  # coroutines
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def brief_of(campaign: str) -> bytes:
    return encode(RunCampaign(brief=msgspec.structs.replace(BRIEF, campaign=campaign)))


async def test_a_brief_is_refused_and_accepted_under_the_same_id_later(
    bus: Bus, artifacts: Artifacts
) -> None:
    campaigns = Records(bus, Bucket.CAMPAIGNS, CampaignRecord)

    async def ask(campaign: str) -> None:
        subject = subjects.request(TENANT, subjects.CAMPAIGN, campaign, campaign)
        await gate.publish_once(bus, subject, brief_of(campaign))

    async def state(campaign: str) -> CampaignState | None:
        found = await campaigns.get(f"{TENANT}.{campaign}")
        return found.value.state if found else None

    coordinator = Coordinator(bus, ServerWorld(bus, artifacts))
    await ask("first")
    async with running(coordinator.run()):
        await eventually(lambda: _is(state("first"), CampaignState.OPEN))
        await say(bus, refusing=True)
        await ask("second")
        told = msgspec.json.decode(
            await event(bus, subjects.event(TENANT, "second", "second", "campaign_result.1")),
            type=events.CampaignResult,
        )
        assert told.error is not None
        assert (told.status, told.error.code) == ("failed", FULL)
        rerun = RerunCampaign(
            brief=msgspec.structs.replace(BRIEF, campaign="first"), base_revision=1
        )
        await gate.publish_once(bus, subjects.rerun(TENANT, "first", 1), encode(rerun))
        answer = msgspec.json.decode(
            await event(bus, subjects.event(TENANT, "first", "first", "rerun_result.1")),
            type=events.CommandResult,
        )
        assert answer.error is not None
        assert (answer.status, answer.error.code) == ("refused", FULL)
        assert await state("first") is CampaignState.OPEN
        await say(bus, refusing=False)
        await ask("second")
        await eventually(lambda: _is(state("second"), CampaignState.OPEN))


async def _is(found: object, wanted: CampaignState) -> bool:
    return await found is wanted  # type: ignore[misc]  # a coroutine


async def test_an_upload_is_refused(bus: Bus, artifacts: Artifacts) -> None:
    await say(bus, refusing=True)
    async with running(Intake(bus, artifacts).run()):
        command = UploadAsset(role="logo", sha256="ab" * 32, size_bytes=9)
        await gate.publish_once(bus, subjects.upload(TENANT, "u1"), encode(command))
        body = await event(bus, subjects.event(TENANT, "-", "u1", events.UPLOAD_LINK))
    link = msgspec.json.decode(body, type=events.UploadLink)
    assert link.error is not None
    assert link.error.code == FULL


async def test_the_observer_s_process_measures_and_says_so(
    bus: Bus, artifacts: Artifacts, s3_settings: Settings
) -> None:
    """With a limit below what any disk has in use, and then with one above it."""
    words = Records(bus, Bucket.DISKS, DiskRecord)
    bucket = artifacts.objects.bucket
    environment = environment_of(bus, s3_settings) | {
        "ADGENX_S3_BUCKET": bucket,
        "ADGENX_METRICS_LISTEN": "127.0.0.1:0",
        "ADGENX_STORE_DIR": "/",
    }

    async def said(*, refusing: bool) -> bool:
        found = await words.get(device.host())
        return found is not None and found.value.refusing is refusing

    for percent, refusing in (("0.0001", True), ("100", False)):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.observer.run",
            env=environment | {"ADGENX_DISK_REFUSE_PERCENT": percent},
        )
        try:
            await eventually(lambda refusing=refusing: said(refusing=refusing))  # type: ignore[misc]  # mypy types no lambda's default
        finally:
            process.terminate()
            await process.wait()
    found = await words.get(device.host())
    assert found is not None
    names = {v.name for v in found.value.volumes}
    assert {"store", Stream.EVENTS, "KV_jobs"} <= names
    assert Stream.PROGRESS not in names
