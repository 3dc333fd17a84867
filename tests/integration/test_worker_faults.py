"""Workers among broken messages, broken models and servers that are killed."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bus_servers import eventually
from worker_fake import NAME, Script, write_service
from worker_rig import CAMPAIGN, TENANT, Rig, worker_settings, working

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from bus.settings import Settings
from bus.worker.announcing import EVERY_SECONDS
from bus.worker.folder import ServiceFolder
from contracts import subjects
from contracts.codec import encode
from contracts.jobs import Job, RunState
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.integration


@pytest.fixture
def service(tmp_path: Path) -> ServiceFolder:
    return write_service(tmp_path / "services")


@pytest.fixture
async def rig(
    bus: Bus, nats_settings: Settings, s3_settings: Settings, tmp_path: Path
) -> AsyncIterator[Rig]:
    bucket = f"test-{secrets.token_hex(6)}"
    settings = worker_settings(nats_settings, s3_settings, bucket, tmp_path / "spool")
    artifacts = Artifacts(settings)
    await artifacts.ensure_bucket()
    yield Rig(bus, artifacts, settings)
    artifacts.close()


def job(tenant: str, script: Script) -> Job:
    return Job(
        job_id="a" * 26,
        tenant=tenant,
        campaign_id=CAMPAIGN,
        request_id="r1",
        service=NAME,
        request=script.request(),
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"no json", id="no JSON"),
        pytest.param(b'{"job_id":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"x":' + b"[" * 200_000, id="deeper than any decoder goes"),
        pytest.param(b"tenant", id="an id that no key can hold"),
    ],
)
async def test_a_message_that_cannot_be_read_is_buried_and_does_not_come_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path, body: bytes
) -> None:
    script = Script(tmp_path / "s", "make")
    if body == b"tenant":
        body = encode(job("two words", script))
    subject = subjects.job(NAME, "a" * 26)
    await gate.publish_once(rig.bus, subject, body)
    async with working(rig.settings, service):
        await rig.dropped(job(TENANT, script))
    found = await gate.last(rig.bus, Stream.DEAD, subjects.dead(NAME, "a" * 26))
    assert found is not None
    assert (found.data, script.runs) == (body, [])


async def test_a_model_that_says_cancelled_unasked_fails_and_does_not_come_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    (service.path / "acts.py").write_text(
        "from contracts.errors import JobCancelledError\n"
        "def give_up(task, request, report, files):\n"
        "    raise JobCancelledError('of its own accord')\n"
        "    yield\n"
    )
    script = Script(tmp_path / "s", "give_up")
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(script.request()))
    assert run.error is not None
    assert (run.state, run.error.code, len(script.runs)) == (RunState.FAILED, "MODEL_FAILED", 1)


async def test_a_worker_that_stops_does_not_withdraw_the_service_of_another(
    rig: Rig, service: ServiceFolder
) -> None:
    announced = Records(rig.bus, Bucket.SERVICES, ServiceRecord)

    async def said(times: int) -> bool:
        return await rig.writes(Bucket.SERVICES) >= times

    async def ready() -> bool:
        found = await announced.get(NAME)
        return found is not None and found.value.state is ServiceState.READY

    async with working(rig.settings, service):
        await eventually(lambda: said(1))
        async with working(rig.settings, service):
            await eventually(lambda: said(2))
        assert await rig.writes(Bucket.SERVICES) >= 3, "the second one has withdrawn"
        await eventually(ready, EVERY_SECONDS / 2)
    assert not await ready()
