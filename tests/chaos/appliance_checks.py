"""What must hold once all is quiet, read from the stores alone."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from minio import Minio

from bus import direct
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.records import Records
from bus.settings import Settings
from contracts import subjects
from contracts.campaign import CampaignRecord, CampaignState, OpenEntry
from contracts.events import CampaignResult, GenerationResult
from contracts.jobs import JobRecord, JobState
from contracts.subjects import Bucket, Stream
from services.cli.client import decode_event


class Found(NamedTuple):
    """What the stores hold of one campaign."""

    record: CampaignRecord
    jobs: list[JobRecord]
    results: list[GenerationResult]
    ends: list[CampaignResult]


async def look(bus: Bus, campaign_id: str) -> Found:
    """Read one campaign's records and events."""
    tenant = bus.settings.tenant
    key = subjects.campaign_key(tenant, campaign_id)
    record = await Records(bus, Bucket.CAMPAIGNS, CampaignRecord).get(key)
    assert record is not None
    jobs = [r.value for r in await Records(bus, Bucket.JOBS, JobRecord).under(key)]
    told = await direct.last_of_each(
        bus, Stream.EVENTS, subjects.campaign_events(tenant, campaign_id)
    )
    decoded = [decode_event(m.data) for m in told]
    return Found(
        record.value,
        jobs,
        [e for e in decoded if isinstance(e, GenerationResult)],
        [e for e in decoded if isinstance(e, CampaignResult)],
    )


def check_campaign(found: Found) -> None:
    """Check that the campaign ended once, complete, and that every result equals its record."""
    assert found.record.state is CampaignState.OK
    assert [(e.revision, e.status) for e in found.ends] == [(1, "ok")]
    assert found.record.plan is not None
    assert found.record.plan.complete
    by_step = {job.labels["step"]: job for job in found.jobs}
    assert set(by_step) == {step.name for step in found.record.plan.steps}
    told = {result.request_id: result for result in found.results}
    assert len(told) == len(found.results) == len(found.jobs)
    for job in found.jobs:
        assert job.state is JobState.OK, (job.labels, job.error)
        result = told[job.request_id]
        assert result.status == "ok"
        assert result.outputs == job.outputs
        assert job.outputs


async def check_quiet(bus: Bus) -> None:
    """Check that nothing is waiting anywhere."""
    assert await Records(bus, Bucket.OPEN, OpenEntry).under() == []
    for stream in (Stream.REQUESTS, Stream.JOBS, Stream.CONTROL, Stream.DEAD):
        info = await bus.js.stream_info(stream)
        assert info.state.messages == 0, stream


async def check_artifacts(settings: Settings, outputs: set[str]) -> None:
    """Check that the store holds every committed output, intact, and none twice or besides."""
    endpoint = settings.s3_endpoint.removeprefix("http://").rstrip("/")
    client = Minio(
        endpoint,
        settings.s3_access_key.reveal(),
        settings.s3_secret_key.reveal(),
        secure=False,
        region=settings.s3_region,
    )
    prefix = f"{settings.tenant}/sha256/"
    listed = client.list_objects(settings.s3_bucket, prefix, recursive=True)
    stored = {str(o.object_name).rpartition("/")[2] for o in listed}
    assert stored == outputs
    artifacts = Artifacts(settings)
    try:
        for sha256 in sorted(outputs):
            body = await artifacts.read(f"{prefix}{sha256[:2]}/{sha256}", max_bytes=1 << 30)
            assert hashlib.sha256(body).hexdigest() == sha256
    finally:
        artifacts.close()


async def check_everything(settings: Settings, campaigns: list[str]) -> None:
    """Check all campaigns of an appliance on which nothing else was made."""
    outputs: set[str] = set()
    async with connected(settings, "invariants") as bus:
        for campaign_id in campaigns:
            found = await look(bus, campaign_id)
            check_campaign(found)
            outputs |= {ref.sha256 for job in found.jobs for ref in job.outputs}
        await check_quiet(bus)
    await check_artifacts(settings, outputs)
