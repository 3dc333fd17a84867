"""What clients are told of a campaign, made from its record alone: every repeat is equal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from contracts import events, subjects
from contracts.campaign import CampaignRecord, CampaignState, Plan
from contracts.codec import encode
from contracts.errors import ErrorInfo
from contracts.identity import step_request_id
from contracts.jobs import JobRecord
from services.coordinator.step import Kind

SUPERSEDED = "superseded"
"""Status of a revision that a newer one overtook before it was over."""
BRIEF_LABEL = "brief"
"""Label of the plan's events: hash of the brief, so that a client can see whether it is its own."""
NOBODY = "-"
"""Stands for tenant and campaign where a subject's own ids are unusable: no tenant is called so."""


class Once(msgspec.Struct, frozen=True):
    """One message to publish once and for ever."""

    subject: str
    body: bytes


def request_id_of(record: CampaignRecord, step: str) -> str:
    """Return the request id of a step of the current revision."""
    return step_request_id(record.campaign_id, record.revision, step)


def accepted(record: CampaignRecord) -> Once:
    """Say that the brief has a record and will end in a result."""
    event = events.Accepted(
        request_id=record.campaign_id,
        campaign_id=record.campaign_id,
        at=record.accepted_at,
        labels=record.labels,
    )
    return _event(record, events.ACCEPTED, event)


def planned(record: CampaignRecord, plan: Plan, at: float) -> Once:
    """Say which steps the newest stage of a plan has added."""
    stage = plan.stages[-1]
    before = record.plan
    known = {step.name for step in before.steps} if before and before is not plan else set()
    event = events.CampaignPlan(
        request_id=record.campaign_id,
        campaign_id=record.campaign_id,
        at=at,
        labels=_labels({BRIEF_LABEL: record.brief_hash}, record.labels),
        revision=record.revision,
        stage=stage,
        steps=[
            events.StepSummary(
                step=step.name,
                capability=step.capability,
                request_id=request_id_of(record, step.name),
                needs=step.needs if step.name != Kind.PACKAGE else [],
            )
            for step in plan.steps
            if step.name not in known
        ],
        last=plan.complete,
    )
    return _event(record, f"{events.CAMPAIGN_PLAN}.{record.revision}.{stage}", event)


def result(record: CampaignRecord, jobs: Mapping[str, JobRecord]) -> Once:
    """Say how a revision ended; `jobs` are the campaign's records by request id."""
    package = jobs.get(request_id_of(record, Kind.PACKAGE))
    ok = record.state is CampaignState.OK and package is not None
    event = events.CampaignResult(
        request_id=record.campaign_id,
        campaign_id=record.campaign_id,
        at=record.ended_at,
        labels=record.labels,
        revision=record.revision,
        status=record.state,
        package=record.package,
        outputs=package.outputs if ok and package is not None else [],
        steps=record.outcomes,
        error=record.error,
    )
    return _event(record, f"{events.CAMPAIGN_RESULT}.{record.revision}", event)


def superseded(record: CampaignRecord, revision: int) -> Once:
    """Say that a revision ended because a newer one took its place."""
    event = events.CampaignResult(
        request_id=record.campaign_id,
        campaign_id=record.campaign_id,
        labels=record.labels,
        revision=revision,
        status=SUPERSEDED,
    )
    return _event(record, f"{events.CAMPAIGN_RESULT}.{revision}", event)


def answer(
    tenant: str, campaign_id: str, name: str, status: str, revision: int, error: ErrorInfo | None
) -> Once:
    """Answer a command, or a brief whose id is taken: done, too_late, unknown or refused."""
    event = events.CommandResult(
        request_id=campaign_id,
        campaign_id=campaign_id,
        status=status,
        revision=revision,
        error=error,
    )
    return Once(subjects.event(tenant, campaign_id, campaign_id, name), encode(event))


def deleted(record: CampaignRecord) -> Once:
    """Answer a deletion, once there is nothing left but the tombstone."""
    return answer(
        record.tenant, record.campaign_id, events.DELETE_RESULT, "done", record.revision, None
    )


def unusable(subject: str, body: bytes, error: ErrorInfo) -> Once:
    """Say that a brief's own ids cannot be used: told under a name made from its hash."""
    name = hashlib.sha256(subject.encode() + b"\0" + body).hexdigest()[:16]
    event = events.CampaignResult(request_id=name, revision=0, status="failed", error=error)
    return Once(subjects.event(NOBODY, NOBODY, name, "rejected"), encode(event))


MAX_LABELS = 16


def _labels(own: dict[str, str], theirs: dict[str, str]) -> dict[str, str]:
    """Join labels; ours win, and together they stay within what an envelope may carry."""
    return dict([*own.items(), *((k, v) for k, v in theirs.items() if k not in own)][:MAX_LABELS])


def step_labels(record: CampaignRecord, step: str) -> dict[str, str]:
    """Return the labels of a step's request, which come back in all of its events."""
    return _labels({"step": step}, record.labels)


def _event(record: CampaignRecord, name: str, event: events.Event) -> Once:
    subject = subjects.event(record.tenant, record.campaign_id, record.campaign_id, name)
    return Once(subject, encode(event))
