"""What clients are told of a request, made from its record alone, so that every repeat is equal."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from contracts import events, pricing, subjects
from contracts.capability import Capability, Tier
from contracts.codec import encode
from contracts.errors import ConflictError, ErrorInfo
from contracts.identity import NO_CAMPAIGN
from contracts.jobs import JobRecord, JobState
from contracts.ledger import Charge
from contracts.requests import Request
from services.router.routing import ceiling

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


def heralds(job: JobRecord, request: Request, candidates: list[events.Candidate]) -> list[Word]:
    """Return what every accepted request is told before its result: accepted, and who does it."""
    return [accepted(job), asked(job, request, candidates)]


def asked(job: JobRecord, request: Request, candidates: list[events.Candidate]) -> Word:
    """Say who does it and why each of the others does not, or that nobody may."""
    made = job.provenance
    return _event(
        job,
        job.capability.request_event,
        events.GenerationRequest(
            request_id=job.request_id,
            campaign_id=_campaign(job.campaign_id),
            at=job.accepted_at,
            labels=job.labels,
            capability=job.capability,
            provider=job.service,
            tier=made.tier if made else request.tier,
            preview=made is not None and made.tier is Tier.DRAFT,
            prompt_length=len(getattr(request, "prompt", "")),
            duration=pricing.output_seconds(request),
            budget=ceiling(request),
            cost_estimate=sum(c.cost for c in candidates if c.service == job.service),
            candidates=candidates,
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
            tier=job.provenance.tier if job.provenance and job.made else "",
            run_ms=max(0, round((job.ended_at - job.started_at) * 1000)) if job.started_at else 0,
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


def unusable_command(subject: str, body: bytes, error: ErrorInfo, at: float) -> Word:
    """Answer a command whose own ids cannot be used: under a name made from its hash."""
    name = hashlib.sha256(subject.encode() + b"\0" + body).hexdigest()[:16]
    event = events.CommandResult(request_id=name, at=at, status="refused", error=error)
    return Word(subjects.event(NOBODY, NOBODY, name, "rejected"), encode(event))


def _event(job: JobRecord, name: str, event: events.Event) -> Word:
    subject = subjects.event(job.tenant, job.campaign_id, job.request_id, name)
    return Word(subject, encode(event))


def _campaign(campaign_id: str) -> str:
    return "" if campaign_id == NO_CAMPAIGN else campaign_id
