"""The records of one appliance, written by hand, and a sweep whose clock a test moves on."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import msgspec

from bus import direct, gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.gate import StoredMessage
from bus.records import Records
from contracts import events, subjects
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.assets import UploadRecord
from contracts.brief import Brand, Brief, Product
from contracts.campaign import CampaignRecord, CampaignState
from contracts.capability import Capability
from contracts.codec import encode
from contracts.governance import BudgetRecord
from contracts.identity import job_id_of
from contracts.jobs import Attempt, Buried, CacheClaim, Job, JobRecord, JobState, Run, RunState
from contracts.ledger import Charge
from contracts.requests import GenerateImage
from contracts.retention import SweepState
from contracts.segments import SegmentRecord
from contracts.subjects import Bucket, Stream
from contracts.webhooks import DeliveryRecord
from services.retention.sweep import Sweep, Tools

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
        self.segments = Records(bus, Bucket.SEGMENTS, SegmentRecord)
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
