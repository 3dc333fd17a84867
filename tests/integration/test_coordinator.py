"""Two coordinators on a real server, with a router that answers every request at once."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from coordinator_double import outputs_of

from bus import consume, direct, gate, topology
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.records import Records
from bus.settings import Settings
from contracts import canonical, events, subjects
from contracts.artifacts import ArtifactRef
from contracts.brief import Brand, Brief, Form, Product
from contracts.campaign import CampaignRecord, Cancel, OpenEntry, RerunCampaign, RunCampaign
from contracts.codec import decode_input, encode
from contracts.identity import job_id_of
from contracts.jobs import JobRecord, JobState, Made, Provenance
from contracts.requests import Request
from contracts.subjects import Bucket, Stream
from services.coordinator.shell import Coordinator
from services.coordinator.world import ServerWorld

pytestmark = pytest.mark.integration

TENANT = "acme"
MAKER = Provenance(service="fake", model="fake", revision="1")
BRIEF = Brief(
    campaign="k",
    brand=Brand(name="Kestrel"),
    product=Product(name="Kestrel Cold Brew", what="cold brew in a 250 ml can", form=Form.CAN),
    placements=["instagram_reel", "display_300x250"],
    locales=["en-US"],
)


class FakeRouter:
    """Answers requests with canned artifacts, and takes cancels; a stand-in for router and
    workers.
    """

    def __init__(self, bus: Bus, artifacts: Artifacts) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._jobs = Records(bus, Bucket.JOBS, JobRecord)
        self.cache: dict[str, list[ArtifactRef]] = {}
        self.held = asyncio.Event()
        self.held.set()

    async def run(self) -> None:
        tokens = [t for t in subjects.REQUEST_TOKENS if t != subjects.CAMPAIGN]
        requests = topology.durable("fake", [f"adgenx.req.*.{t}.*.*" for t in tokens])
        await topology.ensure_consumer(self._bus, Stream.REQUESTS, requests)
        cancels = topology.durable("fake", ["adgenx.ctl.*.cancel.*.*"])
        await topology.ensure_consumer(self._bus, Stream.CONTROL, cancels)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consume.consume(self._bus, Stream.REQUESTS, "fake", self._request))
            tasks.create_task(consume.consume(self._bus, Stream.CONTROL, "fake", self._cancel))

    async def _request(self, delivery: consume.Delivery) -> None:
        ids = subjects.parse_request(delivery.subject)
        if ids.token not in ("text", "compose"):
            await self.held.wait()
        request: Request = decode_input(delivery.data, Request)
        key = canonical.cache_key(request, MAKER)
        made = Made.CACHE if key in self.cache else Made.RUN
        if made is Made.RUN:
            self.cache[key] = [await self._store(*o) for o in outputs_of(request)]
        job = JobRecord(
            tenant=ids.tenant,
            campaign_id=ids.campaign_id,
            request_id=ids.request_id,
            capability=subjects.Capability(ids.token),
            job_id=job_id_of(ids.tenant, ids.campaign_id, ids.request_id),
            state=JobState.OK,
            request_hash=canonical.request_hash(request),
            accepted_at=1.0,
            service="fake",
            provenance=MAKER,
            fingerprint=canonical.fingerprint(request, MAKER),
            made=made,
            outputs=self.cache[key],
        )
        await self._jobs.create(subjects.job_key(ids.tenant, ids.campaign_id, ids.request_id), job)
        await self._tell(ids.tenant, ids.campaign_id, ids.request_id)
        await gate.remove(self._bus, Stream.REQUESTS, delivery.sequence)
        await consume.ack(self._bus, delivery)

    async def _store(self, name: str, media_type: str, body: bytes) -> ArtifactRef:
        stored = await self._artifacts.put(body, TENANT, media_type)
        return ArtifactRef(
            key=stored.key,
            sha256=stored.sha256,
            media_type=media_type,
            size_bytes=stored.size_bytes,
            name=name,
        )

    async def _tell(self, tenant: str, campaign: str, request_id: str) -> None:
        found = await self._jobs.get(subjects.job_key(tenant, campaign, request_id))
        assert found is not None
        event = events.GenerationResult(
            request_id=request_id,
            campaign_id=campaign,
            capability=found.value.capability,
            status=found.value.state,
        )
        name = found.value.capability.result_event
        subject = subjects.event(tenant, campaign, request_id, name)
        await gate.publish_once(self._bus, subject, encode(event))

    async def _cancel(self, delivery: consume.Delivery) -> None:
        ids = subjects.parse_control(delivery.subject)
        campaign, request_id = ids.ids
        command: Cancel = decode_input(delivery.data, Cancel)
        job = JobRecord(
            tenant=ids.tenant,
            campaign_id=campaign,
            request_id=request_id,
            capability=subjects.Capability(command.labels["capability"]),
            job_id=job_id_of(ids.tenant, campaign, request_id),
            state=JobState.CANCELLED,
            request_hash="",
            accepted_at=1.0,
        )
        await self._jobs.create(subjects.job_key(ids.tenant, campaign, request_id), job)
        await self._tell(ids.tenant, campaign, request_id)
        await consume.ack(self._bus, delivery)


@pytest.fixture
async def router(bus: Bus, artifacts: Artifacts) -> FakeRouter:
    return FakeRouter(bus, artifacts)


@pytest.fixture
async def appliance(
    bus: Bus, nats_settings: Settings, artifacts: Artifacts, router: FakeRouter
) -> AsyncIterator[None]:
    """Two coordinators, each on a connection of its own, and the fake router."""
    async with connected(nats_settings, "one") as one, connected(nats_settings, "two") as two:
        tasks = [
            asyncio.create_task(Coordinator(b, ServerWorld(b, artifacts), sweep_seconds=0.5).run())
            for b in (one, two)
        ]
        tasks.append(asyncio.create_task(router.run()))
        yield
        router.held.set()
        for b in (one, two, bus):
            b.stopping.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def until(look: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:  # noqa: ANN401 - what is waited for
    """Return the first truthy answer."""
    async with asyncio.timeout(seconds):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.02)


async def told(bus: Bus, campaign: str, name: str) -> Any:  # noqa: ANN401 - the test knows which
    found = await gate.last(bus, Stream.EVENTS, subjects.event(TENANT, campaign, campaign, name))
    return msgspec.json.decode(found.data, type=events.AnyEvent) if found else None


async def submit(bus: Bus, body: bytes, campaign: str = "k") -> None:
    subject = subjects.request(TENANT, subjects.CAMPAIGN, campaign, campaign)
    await gate.publish_once(bus, subject, body)


@pytest.mark.usefixtures("appliance")
async def test_a_campaign_ends_once_and_leaves_nothing_open(bus: Bus) -> None:
    await submit(bus, encode(RunCampaign(brief=BRIEF)))
    result = await until(lambda: told(bus, "k", "campaign_result.1"))
    assert result.status == "ok"
    assert result.package is not None
    assert {s.made for s in result.steps} == {"run"}
    plan = await told(bus, "k", "campaign_plan.1.script")
    assert [s.step for s in plan.steps] == ["script", "copy~en-US", "label", "mesh"]
    assert plan.labels["brief"] == canonical.digest(BRIEF)
    last = await told(bus, "k", "campaign_plan.1.production")
    assert last.last
    assert len(plan.steps) + len(last.steps) == len(result.steps)
    opened = Records(bus, Bucket.OPEN, OpenEntry)

    async def is_closed() -> bool:
        return not await opened.under()

    await until(is_closed)
    assert not await direct.last_of_each(bus, Stream.REQUESTS, "adgenx.req.>")


@pytest.mark.usefixtures("appliance")
async def test_a_changed_headline_takes_over_every_plate(bus: Bus) -> None:
    await submit(bus, encode(RunCampaign(brief=BRIEF)))
    await until(lambda: told(bus, "k", "campaign_result.1"))
    changed = msgspec.structs.replace(BRIEF, headlines={"hook": "Wake up"})
    command = RerunCampaign(brief=changed, base_revision=1)
    await gate.publish_once(bus, subjects.rerun(TENANT, "k", 1), encode(command))
    result = await until(lambda: told(bus, "k", "campaign_result.2"))
    assert result.status == "ok"
    ran = {s.step: s.why for s in result.steps if s.made == "run"}
    assert ran["script"] == "headline changed"
    assert ran["film~en-US~9x16"] == "script changed"
    assert {step.partition("~")[0] for step in ran} == {"script", "film", "still", "package"}
    assert {s.why for s in result.steps if s.made == "cache"} == {"taken over"}
    answer = await told(bus, "k", "rerun_result.1")
    assert (answer.status, answer.revision) == ("done", 2)


@pytest.mark.usefixtures("appliance")
async def test_a_cancel_ends_a_campaign_that_is_under_way(bus: Bus, router: FakeRouter) -> None:
    router.held.clear()
    await submit(bus, encode(RunCampaign(brief=BRIEF)))
    await until(lambda: told(bus, "k", "campaign_plan.1.production"))
    await gate.publish_once(bus, subjects.cancel_campaign(TENANT, "k"), encode(Cancel()))
    answer = await until(lambda: told(bus, "k", "cancel_result"))
    assert answer.status == "done"
    router.held.set()
    result = await until(lambda: told(bus, "k", "campaign_result.1"))
    assert result.status == "cancelled"
    assert result.package is None


@pytest.mark.usefixtures("appliance")
async def test_a_cancel_that_cannot_be_read_is_refused_and_stops_nothing(bus: Bus) -> None:
    await submit(bus, encode(RunCampaign(brief=BRIEF)))
    body = b'{"type": "cancel.v1", "resaon": "typo"}'
    await gate.publish_once(bus, subjects.cancel_campaign(TENANT, "k"), body)
    answer = await until(lambda: told(bus, "k", "cancel_result"))
    assert (answer.status, answer.error.field) == ("refused", "resaon")
    result = await until(lambda: told(bus, "k", "campaign_result.1"))
    assert result.status == "ok"


@pytest.mark.usefixtures("appliance")
async def test_a_campaign_that_is_not_done_in_time_fails(bus: Bus, router: FakeRouter) -> None:
    router.held.clear()
    await submit(bus, encode(RunCampaign(brief=BRIEF, deadline_seconds=1)))
    result = await until(lambda: told(bus, "k", "campaign_result.1"))
    assert (result.status, result.error.code) == ("failed", "DEADLINE_EXPIRED")
    assert "cancelled" in {step.status for step in result.steps}
    opened = Records(bus, Bucket.OPEN, OpenEntry)

    async def is_closed() -> bool:
        return not await opened.under()

    await until(is_closed)


@pytest.mark.usefixtures("appliance")
async def test_a_campaign_s_terms_stand_in_its_requests(bus: Bus, router: FakeRouter) -> None:
    router.held.clear()
    message = RunCampaign(brief=BRIEF, priority=9, deadline_seconds=600, max_cost=2, markets=["JP"])
    await submit(bus, encode(message))
    await until(lambda: told(bus, "k", "campaign_plan.1.production"))
    pattern = f"adgenx.req.{TENANT}.video.k.*"
    asked = await until(lambda: direct.last_of_each(bus, Stream.REQUESTS, pattern))
    step: Request = decode_input(asked[0].data, Request)
    assert (step.priority, step.markets) == (9, ["JP"])
    assert 0 < step.deadline_seconds <= 600
    assert step.budget is not None
    assert step.budget.amount == 2
    await gate.publish_once(bus, subjects.cancel_campaign(TENANT, "k"), b"")
    router.held.set()
    await until(lambda: told(bus, "k", "campaign_result.1"))


@pytest.mark.usefixtures("appliance")
@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "MALFORMED_JSON", ""),
        (b"{", "MALFORMED_JSON", ""),
        (b"\xff\xfe", "MALFORMED_JSON", ""),
        (b"[" * 100_000, "INVALID_PARAMS", ""),
        (b'{"type": "run_campaign.v9", "brief": "x"}', "UNSUPPORTED_TYPE", "type"),
        (b'{"type": "run_campaign.v1"}', "INVALID_PARAMS", "brief"),
        (b'{"type": "run_campaign.v1", "brief": "nothing to see here"}', "INVALID_PARAMS", "brief"),
        (b'{"type": "run_campaign.v1", "brief": {"campaign": 1}}', "INVALID_PARAMS", "campaign"),
        (b" " * 300_000, "TOO_LARGE", ""),
    ],
    ids=["empty", "cut", "bytes", "deep", "version", "missing", "nameless", "type", "large"],
)
async def test_a_bad_brief_is_answered_and_leaves_nothing(
    bus: Bus, body: bytes, code: str, field: str
) -> None:
    campaign = f"bad-{secrets.token_hex(4)}"
    await submit(bus, body, campaign)
    result = await until(lambda: told(bus, campaign, "campaign_result.1"))
    assert (result.status, result.error.code, result.error.field) == ("failed", code, field)
    assert not result.error.retryable
    opened = Records(bus, Bucket.OPEN, OpenEntry)

    async def is_clean() -> bool:
        left = await direct.last_of_each(bus, Stream.REQUESTS, "adgenx.req.>")
        return not left and not await opened.under()

    await until(is_clean)
    # The mended brief may come under the same id.
    await submit(
        bus, encode(RunCampaign(brief="A spot for Kestrel, a canned cold brew.")), campaign
    )
    mended = await until(lambda: told(bus, campaign, "campaign_result.2"))
    assert mended.status == "ok"


@pytest.mark.usefixtures("appliance")
async def test_a_brief_under_an_id_in_use_is_refused(bus: Bus) -> None:
    await submit(bus, encode(RunCampaign(brief=BRIEF)))
    await until(lambda: told(bus, "k", "campaign_result.1"))
    other = msgspec.structs.replace(BRIEF, offer="half price")
    await submit(bus, encode(RunCampaign(brief=other)))
    name = f"conflict.{canonical.digest(other)[:16]}"
    answer = await until(lambda: told(bus, "k", name))
    assert (answer.status, answer.error.code) == ("refused", "CONFLICT")
    record = await Records(bus, Bucket.CAMPAIGNS, CampaignRecord).get(f"{TENANT}.k")
    assert record is not None
    assert record.value.revision == 1


async def test_the_process_serves_until_it_is_told_to_stop(
    bus: Bus, nats_settings: Settings, s3_settings: Settings
) -> None:
    environ = {
        **os.environ,
        "ADGENX_NATS_URL": nats_settings.nats_url,
        "ADGENX_NATS_USER": nats_settings.nats_user,
        "ADGENX_NATS_PASSWORD": nats_settings.nats_password.reveal(),
        "ADGENX_S3_ENDPOINT": s3_settings.s3_endpoint,
        "ADGENX_S3_ACCESS_KEY": s3_settings.s3_access_key.reveal(),
        "ADGENX_S3_SECRET_KEY": s3_settings.s3_secret_key.reveal(),
        "ADGENX_MAKE_DURABLE": "server",
        "ADGENX_DATA_DIR": str(s3_settings.data_dir),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.coordinator.run", env=environ, stderr=subprocess.DEVNULL
    )
    try:
        await submit(bus, b"{", "broken")
        result = await until(lambda: told(bus, "broken", "campaign_result.1"))
        assert result.error.code == "MALFORMED_JSON"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
