"""Dead letters: from a job that kills its worker to an answer after all, and every way between."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from webhook_rig import receiving, sender_settings, sending
from worker_fake import NAME, Script, write_service
from worker_rig import environment, worker_settings, working

from bus import direct, gate
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.records import Records
from bus.settings import Settings
from contracts import events, subjects
from contracts.campaign import CampaignRecord, CampaignState, RerunCampaign
from contracts.canonical import request_hash
from contracts.capability import Capability
from contracts.codec import encode
from contracts.errors import ConflictError, MalformedMessageError
from contracts.identity import job_id_of, step_request_id
from contracts.jobs import Buried, Job, JobRecord, JobState, Run, RunState
from contracts.operating import SettleDead
from contracts.requests import GenerateImage
from contracts.subjects import Bucket, Stream
from services.router.dead import settle_dead
from services.router.shell import Router

pytestmark = pytest.mark.integration

GOLDEN = Path(__file__).parents[1] / "golden"
TENANT = "acme"


@contextlib.asynccontextmanager
async def routing(settings: Settings, artifacts: Artifacts) -> AsyncIterator[None]:
    """Run a router in this process for the length of a block."""
    async with connected(settings, "router") as bus:
        task = asyncio.create_task(Router(bus, artifacts).run())
        try:
            yield
        finally:
            bus.stopping.set()
            await task


async def adgenx(settings: Settings, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command line; return its exit status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.main",
        *arguments,
        env=environment(settings, folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def result(bus: Bus, request_id: str) -> events.GenerationResult:
    name = Capability.IMAGE.result_event
    subject = subjects.event(TENANT, "-", request_id, name)

    async def told() -> bool:
        return await gate.last(bus, Stream.EVENTS, subject) is not None

    await eventually(told, 40)
    found = await gate.last(bus, Stream.EVENTS, subject)
    assert found is not None
    return msgspec.json.decode(found.data, type=events.GenerationResult)


async def test_a_poisonous_job_is_seen_asked_again_and_done(
    bus: Bus, nats_settings: Settings, s3_settings: Settings, tmp_path: Path
) -> None:
    service = write_service(tmp_path / "services", max_attempts=1)
    bucket = f"test-{secrets.token_hex(6)}"
    lan = msgspec.structs.replace(nats_settings, webhook_private=True)
    settings = worker_settings(lan, s3_settings, bucket, tmp_path / "spool")
    hooks = sender_settings(settings, tmp_path / "secrets")
    script = Script(tmp_path / "s", "die_once")
    async with contextlib.AsyncExitStack() as stack:
        artifacts = stack.enter_context(contextlib.closing(Artifacts(settings)))
        await artifacts.ensure_bucket()
        receiver = await stack.enter_async_context(receiving())
        for part in (working(settings, service), routing(settings, artifacts), sending(hooks)):
            await stack.enter_async_context(part)
        request = script.request(webhook=receiver.url(), labels={"a": "b"})
        subject = subjects.request(TENANT, "image", "-", "poster")
        await gate.publish_once(bus, subject, encode(request))
        failed = await result(bus, "poster")
        assert failed.error is not None
        assert failed.error.code == "POISON"

        job_id = job_id_of(TENANT, "-", "poster")
        folder = service.path.parent
        _, listed = await adgenx(settings, folder, "dead", "list")
        assert job_id in listed
        assert "POISON" in listed
        _, shown = await adgenx(settings, folder, "dead", "show", job_id)
        for part_of_story in ("poster", "CHILD_LOST", "generation_result", "die_once"):
            assert part_of_story in shown
        _, doctor = await adgenx(settings, folder, "doctor", "--json")
        found = {line["name"]: line for line in map(msgspec.json.decode, doctor.splitlines())}
        assert found["dead jobs"]["state"] == "note"
        assert found["dead jobs"]["detail"] == f"1 of {NAME}"
        assert found["webhooks"]["state"] == "ok"

        status, said = await adgenx(settings, folder, "dead", "retry", job_id)
        assert (status, said) == (0, "asked again as poster-r1\n")
        done = await result(bus, "poster-r1")
        assert (done.status, done.labels) == ("ok", {"a": "b"})
        assert (await adgenx(settings, folder, "dead", "list"))[1] == "nothing is dead\n"
        status, said = await adgenx(settings, folder, "dead", "retry", job_id)
        assert status == 1
        assert "UNKNOWN_ID" in said

        async def both_told() -> bool:
            return len(receiver.letters) == 2

        await eventually(both_told)
    told = [msgspec.json.decode(x.body)["data"] for x in receiver.letters]
    assert [(t["request_id"], t["status"]) for t in told] == [
        ("poster", "failed"),
        ("poster-r1", "ok"),
    ]


def job(request_id: str = "poster", campaign_id: str = "-") -> Job:
    request = GenerateImage(prompt="a can", width=64, height=64, request_id=request_id)
    return Job(
        job_id=job_id_of(TENANT, campaign_id, request_id),
        tenant=TENANT,
        campaign_id=campaign_id,
        request_id=request_id,
        service=NAME,
        request=request,
    )


class Grave:
    """What lies in DEAD and what comes of it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.jobs = Records(bus, Bucket.JOBS, JobRecord)
        self.campaigns = Records(bus, Bucket.CAMPAIGNS, CampaignRecord)

    async def bury(self, dead: Job, state: JobState | None = JobState.FAILED) -> None:
        if state is not None:
            await self.record(dead, state)
        run = Run(attempt=3, owner="", state=RunState.FAILED, job_key=dead.key)
        body = encode(Buried(job=dead, run=run))
        await gate.publish_once(self.bus, subjects.dead(NAME, dead.job_id), body)

    async def record(self, of: Job, state: JobState, request_id: str = "", **more: object) -> None:
        request_id = request_id or of.request_id
        fields: dict[str, object] = {
            "tenant": TENANT,
            "campaign_id": of.campaign_id,
            "request_id": request_id,
            "capability": Capability.IMAGE,
            "job_id": job_id_of(TENANT, of.campaign_id, request_id),
            "state": state,
            "request_hash": request_hash(of.request),
            "accepted_at": 1.0,
            "service": NAME,
        }
        found = msgspec.convert(fields | more, JobRecord)
        await self.jobs.create(f"{TENANT}.{of.campaign_id}.{request_id}", found)

    async def settle(self, dead: Job, action: str = "retry") -> tuple[str, int, str]:
        command = msgspec.convert(
            {"service": NAME, "job_id": dead.job_id, "action": action}, SettleDead
        )
        done = await settle_dead(self.bus, command)
        return done.status, done.changed, done.message

    async def lies(self, dead: Job) -> bool:
        subject = subjects.dead(NAME, dead.job_id)
        return await gate.last(self.bus, Stream.DEAD, subject) is not None

    async def asked(self) -> list[str]:
        found = await direct.last_of_each(self.bus, Stream.REQUESTS, subjects.all_requests())
        return [m.subject for m in found]


@pytest.fixture
def grave(bus: Bus) -> Grave:
    return Grave(bus)


async def test_a_retry_that_is_repeated_asks_once(grave: Grave) -> None:
    """A crash between asking and removing leaves both: carried out again, it asks for the same."""
    dead = job()
    asked_again = ("done", 1, "asked again as poster-r1")
    for state in (JobState.FAILED, None):
        await grave.bury(dead, state)
        assert await grave.settle(dead) == asked_again
        assert await grave.asked() == ["adgenx.req.acme.image.-.poster-r1"]
    # And when the retry has its record and is over, so that REQUESTS has forgotten it:
    await grave.record(dead, JobState.OK, "poster-r1")
    [message] = await direct.last_of_each(grave.bus, Stream.REQUESTS, subjects.all_requests())
    await gate.remove(grave.bus, Stream.REQUESTS, message.sequence)
    await grave.bury(dead, None)
    assert await grave.settle(dead) == asked_again
    assert await grave.asked() == []
    assert await grave.settle(dead) == ("unknown", 0, "there is no such dead job")


async def test_a_retry_takes_no_id_that_is_somebody_elses(grave: Grave) -> None:
    dead = job()
    await grave.bury(dead)
    await grave.record(dead, JobState.OK, "poster-r1", request_hash="another")
    other = subjects.request(TENANT, "image", "-", "poster-r2")
    await gate.publish_once(grave.bus, other, b"{}")
    assert (await grave.settle(dead))[2] == "asked again as poster-r3"
    again = job("poster-r3")
    await grave.bury(again)
    assert (await grave.settle(again))[2] == "asked again as poster-r4"


@pytest.mark.parametrize("state", [JobState.NEW, JobState.FOLLOWER, JobState.OK])
async def test_what_is_under_way_or_done_is_not_asked_twice(grave: Grave, state: JobState) -> None:
    dead = job()
    await grave.bury(dead, state)
    with pytest.raises(ConflictError, match=NAME):
        await grave.settle(dead)
    assert await grave.lies(dead)
    assert await grave.asked() == []
    assert await grave.settle(dead, "drop") == ("done", 1, "it was dropped")
    assert not await grave.lies(dead)


async def test_what_nobody_can_read_can_be_dropped(grave: Grave) -> None:
    dead = job()
    await gate.publish_once(grave.bus, subjects.dead(NAME, dead.job_id), b'{"job":{"type":"x.v9"}}')
    with pytest.raises(MalformedMessageError):
        await grave.settle(dead)
    assert await grave.settle(dead, "drop") == ("done", 1, "it was dropped")


async def rerun(grave: Grave, base: int) -> RerunCampaign | None:
    found = await gate.last(grave.bus, Stream.CONTROL, subjects.rerun(TENANT, "kestrel", base))
    return msgspec.json.decode(found.data, type=RerunCampaign) if found else None


async def campaign(grave: Grave, **changed: object) -> CampaignRecord:
    golden = (GOLDEN / "record.campaign_record.json").read_bytes()
    fields = {"tenant": TENANT, "campaign_id": "kestrel", "cancel_wanted": False, "priority": 7}
    record = msgspec.structs.replace(
        msgspec.json.decode(golden, type=CampaignRecord), **{**fields, **changed}
    )
    await grave.campaigns.put(f"{TENANT}.kestrel", record)
    return record


async def test_a_dead_step_is_a_rerun_of_its_campaign(grave: Grave) -> None:
    record = await campaign(grave, state=CampaignState.FAILED)
    assert record.plan is not None
    base = record.revision
    step = job(step_request_id("kestrel", base, record.plan.steps[0].name), "kestrel")
    await grave.bury(step)
    said = f"revision {base + 1} of kestrel asks for it"
    assert await grave.settle(step) == ("done", 1, said)
    command = await rerun(grave, base)
    assert command is not None
    assert (command.base_revision, command.brief, command.priority) == (base, record.brief, 7)
    # Repeated after a crash, before and after the coordinator has taken it in:
    await grave.bury(step, None)
    assert await grave.settle(step) == ("done", 1, said)
    await campaign(grave, state=CampaignState.OPEN, revision=base + 1)
    await grave.bury(step, None)
    assert (await grave.settle(step))[0] == "done"
    assert await rerun(grave, base + 1) is None
    assert await grave.asked() == []


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"state": CampaignState.OPEN}, "still at work"),
        ({"state": CampaignState.OK}, "finished without it"),
        ({"state": CampaignState.DELETED}, "deleted"),
        ({"state": CampaignState.CANCELLED, "cancel_wanted": True}, "cancelled"),
    ],
)
async def test_a_campaign_that_did_not_fail_is_not_run_again(
    grave: Grave, changed: dict[str, object], why: str
) -> None:
    record = await campaign(grave, **changed)
    assert record.plan is not None
    name = record.plan.steps[0].name
    step = job(step_request_id("kestrel", record.revision, name), "kestrel")
    await grave.bury(step)
    with pytest.raises(ConflictError, match=why):
        await grave.settle(step)
    assert await grave.lies(step)
    assert await rerun(grave, record.revision) is None


async def test_a_request_by_hand_under_a_campaigns_id_is_a_request(grave: Grave) -> None:
    await campaign(grave, state=CampaignState.OPEN)
    dead = job("by-hand", "kestrel")
    await grave.bury(dead)
    assert (await grave.settle(dead))[2] == "asked again as by-hand-r1"
    assert await grave.asked() == ["adgenx.req.acme.image.kestrel.by-hand-r1"]
