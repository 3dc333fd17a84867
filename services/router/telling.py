"""What clients are told of a request, made from its record alone, so that every repeat is equal."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from contracts import events, subjects
from contracts.capability import Capability
from contracts.codec import encode
from contracts.errors import ConflictError, ErrorInfo
from contracts.identity import NO_CAMPAIGN
from contracts.jobs import JobRecord, JobState
from contracts.ledger import Charge
from contracts.requests import Request

NOBODY = "-"
"""Stands for tenant and campaign where a subject's own ids are unusable: no tenant is called so."""


class Word(NamedTuple):
    """One message to publish once."""

    subject: str
    body: bytes


def accepted(job: JobRecord) -> Word:
    """Say that the request has a record and will end in a result."""
    return _event(
        job,
        events.ACCEPTED,
        events.Accepted(
            request_id=job.request_id,
            campaign_id=_campaign(job.campaign_id),
            at=job.accepted_at,
            labels=job.labels,
        ),
    )


def chosen(job: JobRecord, request: Request, refused: dict[str, str]) -> Word:
    """Say who does it; the labels say why each of the others does not."""
    prompt = getattr(request, "prompt", "")
    return _event(
        job,
        job.capability.request_event,
        events.GenerationRequest(
            request_id=job.request_id,
            campaign_id=_campaign(job.campaign_id),
            at=job.accepted_at,
            labels=job.labels | {f"refused.{name}": why for name, why in sorted(refused.items())},
            capability=job.capability,
            provider=job.service,
            tier=request.tier,
            prompt_length=len(prompt),
        ),
    )


def result(job: JobRecord, capability: Capability | None = None) -> Word:
    """Say how it ended. A tombstone is told under the capability that was asked for after all."""
    capability = capability or job.capability
    return _event(
        job,
        capability.result_event,
        events.GenerationResult(
            request_id=job.request_id,
            campaign_id=_campaign(job.campaign_id),
            at=job.ended_at,
            labels=job.labels,
            capability=capability,
            status=job.state,
            provider=job.service,
            latency_ms=max(0, round((job.ended_at - job.accepted_at) * 1000)),
            cost_estimate=job.charge,
            made=job.made or "",
            outputs=job.outputs,
            error=job.error,
            attempts=job.tried,
        ),
    )


def charge(job: JobRecord) -> Word | None:
    """Return the ledger entry of what was made and is paid for; None where nothing is."""
    if job.state is not JobState.OK or job.charge <= 0:
        return None
    entry = Charge(
        tenant=job.tenant,
        campaign_id=_campaign(job.campaign_id),
        request_id=job.request_id,
        job_id=job.job_id,
        service=job.service,
        amount=job.charge,
        at=job.ended_at,
        labels=job.labels,
    )
    return Word(subjects.charge(job.tenant, job.campaign_id, job.request_id), encode(entry))


def conflict(job: JobRecord, capability: Capability, request_hash: str, at: float) -> Word:
    """Say that an id came again with another body: the first result stands, this one has none."""
    error = ConflictError("this request_id was used before for another request; ids are not reused")
    event = events.GenerationResult(
        request_id=job.request_id,
        campaign_id=_campaign(job.campaign_id),
        at=at,
        capability=capability,
        status=JobState.FAILED,
        error=error.info(),
    )
    return _event(job, f"conflict.{request_hash[:16]}", event)


def unusable(subject: str, body: bytes, error: ErrorInfo, at: float) -> Word:
    """Say that a message's own ids cannot be used: told under a name made from its hash."""
    name = hashlib.sha256(subject.encode() + b"\0" + body).hexdigest()[:16]
    event = events.GenerationResult(
        request_id=name, at=at, capability="", status=JobState.FAILED, error=error
    )
    return Word(subjects.event(NOBODY, NOBODY, name, "rejected"), encode(event))


def cancelled(
    tenant: str, campaign_id: str, request_id: str, status: str, error: ErrorInfo | None, at: float
) -> Word:
    """Answer a cancel: done, too_late, unknown or refused."""
    event = events.CommandResult(
        request_id=request_id,
        campaign_id=_campaign(campaign_id),
        at=at,
        status=status,
        error=error,
    )
    subject = subjects.event(tenant, campaign_id, request_id, events.CANCEL_RESULT)
    return Word(subject, encode(event))


def _event(job: JobRecord, name: str, event: events.Event) -> Word:
    subject = subjects.event(job.tenant, job.campaign_id, job.request_id, name)
    return Word(subject, encode(event))


def _campaign(campaign_id: str) -> str:
    return "" if campaign_id == NO_CAMPAIGN else campaign_id
