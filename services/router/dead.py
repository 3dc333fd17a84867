"""Taking a buried job out of DEAD: asked for again, or dropped.

A request of its own is asked again as `<request_id>-r<n>`, since ids are never reused; a campaign's
step by a re-run of its campaign with the same brief, which takes over whatever had been made. What
is asked follows from the records alone: a command that is carried out twice, or again after a
crash, asks for the same, and only then the message leaves DEAD, by its sequence.
"""

from __future__ import annotations

import hashlib
import re
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus import gate
from bus.gate import Outcome
from bus.records import Records
from contracts import canonical, subjects
from contracts.campaign import CampaignRecord, CampaignState, RerunCampaign
from contracts.capability import capability_of
from contracts.codec import encode
from contracts.errors import ConflictError, MalformedMessageError
from contracts.identity import NO_CAMPAIGN, step_request_id
from contracts.jobs import Buried, Job, JobRecord, JobState
from contracts.operating import SettleDead
from contracts.subjects import Bucket, Stream
from services.router.operations import Done

if TYPE_CHECKING:
    from bus.connection import Bus

log = structlog.get_logger(__name__)

MAX_ID_CHARACTERS = 64
_KEPT_CHARACTERS = 48
_STEP = re.compile(r"\Ar([1-9][0-9]{0,5})-.*-[0-9a-f]{10}\Z")
"""How a step's request id looks; an old revision's are no longer listed in the record."""
_RETRY = re.compile(r"\A(.+)-r([1-9][0-9]{0,5})\Z")


async def settle_dead(bus: Bus, command: SettleDead) -> Done:
    """Carry the command out; safe to repeat.

    Raises ConflictError where asking again would be wrong, MalformedMessageError where nobody can
    tell what was asked, UnknownOutcomeError to be called again.
    """
    subject = subjects.dead(command.service, command.job_id)
    found = await gate.last(bus, Stream.DEAD, subject)
    if found is None:
        return Done(0, "there is no such dead job", "unknown")
    said = "it was dropped"
    if command.action == "retry":
        said = await _again(bus, _job(found.data))
    removed = await gate.remove(bus, Stream.DEAD, found.sequence)
    log.info("dead.settled", service=command.service, job_id=command.job_id, action=command.action)
    return Done(int(removed), said)


def retry_id(request_id: str, number: int) -> str:
    """Return the id of a request's nth retry; retries of a retry go on counting."""
    match = _RETRY.match(request_id)
    base, before = (match[1], int(match[2])) if match else (request_id, 0)
    suffix = f"-r{before + number}"
    if len(base) + len(suffix) > MAX_ID_CHARACTERS:
        digest = hashlib.sha256(base.encode()).hexdigest()[:8]
        base = f"{base[:_KEPT_CHARACTERS]}-{digest}"
    return base + suffix


def revision_of(request_id: str, record: CampaignRecord) -> int | None:
    """Return which revision of the campaign asked for this; None if it was asked by hand."""
    steps = record.plan.steps if record.plan else []
    ids = {step_request_id(record.campaign_id, record.revision, s.name) for s in steps}
    if request_id in ids:
        return record.revision
    match = _STEP.match(request_id)
    return int(match[1]) if match and int(match[1]) < record.revision else None


def _job(data: bytes) -> Job:
    try:
        return msgspec.json.decode(data, type=Buried).job
    except (ValueError, RecursionError):
        raise MalformedMessageError(
            "this version cannot read the job; drop it, and ask for it anew"
        ) from None


async def _again(bus: Bus, job: Job) -> str:
    """Ask for a job again; return a sentence that says as what."""
    if job.campaign_id != NO_CAMPAIGN:
        key = subjects.campaign_key(job.tenant, job.campaign_id)
        campaign = await Records(bus, Bucket.CAMPAIGNS, CampaignRecord).get(key)
        if campaign is not None:
            revision = revision_of(job.request_id, campaign.value)
            if revision is not None:
                return await _rerun(bus, campaign.value, revision)
    return await _request(bus, job)


async def _rerun(bus: Bus, record: CampaignRecord, revision: int) -> str:
    if record.state is CampaignState.DELETED:
        raise ConflictError("its campaign was deleted; drop it")
    if revision < record.revision:
        return f"revision {record.revision} of {record.campaign_id} has asked for it anew already"
    if not record.state.terminal:
        raise ConflictError("its campaign is still at work; wait for its end, or cancel it")
    if record.state is CampaignState.OK:
        raise ConflictError("its campaign was finished without it; drop it")
    if record.cancel_wanted:
        raise ConflictError("its campaign was cancelled; drop it, and ask under another id")
    command = RerunCampaign(
        base_revision=record.revision,
        brief=record.brief,
        priority=record.priority,
        webhook=record.webhook,
        labels=record.labels,
    )
    subject = subjects.rerun(record.tenant, record.campaign_id, record.revision)
    await gate.publish_once(bus, subject, encode(command))
    return f"revision {record.revision + 1} of {record.campaign_id} asks for it"


async def _request(bus: Bus, job: Job) -> str:
    jobs = Records(bus, Bucket.JOBS, JobRecord)
    first = await jobs.get(job.key)
    if first is not None and not first.value.state.terminal:
        raise ConflictError(f"{first.value.service} is still at it; wait for its result")
    if first is not None and first.value.state is JobState.OK:
        raise ConflictError(f"{first.value.service} has done it after all; drop it")
    request = msgspec.structs.replace(
        job.request, request_id="", campaign_id="", tenant="", sent_at=0.0
    )
    wanted = canonical.request_hash(request)
    token = str(capability_of(str(request.__struct_config__.tag)))
    for number in count(1):
        request_id = retry_id(job.request_id, number)
        key = subjects.job_key(job.tenant, job.campaign_id, request_id)
        known = await jobs.get(key)
        if known is not None and known.value.request_hash != wanted:
            continue  # the id is somebody's own
        if known is None:
            subject = subjects.request(job.tenant, token, job.campaign_id, request_id)
            body = encode(request)
            published = await gate.publish_once(bus, subject, body)
            if published.outcome is Outcome.ALREADY_THERE:
                waiting = await gate.last(bus, Stream.REQUESTS, subject)
                if waiting is not None and waiting.data != body:
                    continue
        break
    return f"asked again as {request_id}"
