"""What a sender wants, and the first record of it: pure.

A brief that cannot be accepted still gets a record, which ends in the reason: whoever asks is
answered once, and nothing of it is ever begun.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog

from contracts.brief import Brief
from contracts.brief_check import check_brief
from contracts.campaign import (
    CampaignRecord,
    CampaignState,
    PastRevision,
    RerunCampaign,
    RunCampaign,
    brief_hash,
)
from contracts.codec import decode_input
from contracts.errors import AdgenxError, ErrorInfo, InvalidInputError, InvalidRequestError
from services.coordinator import plan, telling, terms
from services.coordinator.decide import trimmed
from services.coordinator.sentence import brief_from_sentence
from services.coordinator.tombstone import unread_brief

log = structlog.get_logger(__name__)


class Wanted(NamedTuple):
    """A brief that was understood, or why not. `brief_hash` tells a repeat from another brief;
    `message` is None if what was sent cannot be read.
    """

    brief: Brief
    brief_hash: str
    error: ErrorInfo | None
    message: RunCampaign | RerunCampaign | None


def understand(
    data: bytes,
    kind: type[RunCampaign | RerunCampaign],
    tenant: str,
    campaign_id: str,
    at: float,
    base: int = 0,
) -> Wanted:
    """Decode and check what was sent; what is wrong with it becomes the `error`.

    `base` is the revision that a re-run's subject names.
    """
    body_hash = hashlib.sha256(data).hexdigest()
    message: RunCampaign | RerunCampaign | None = None
    try:
        message = decode_input(data, kind)
        body_hash = brief_hash(message)
        for field, given, actual in (
            ("tenant", message.tenant, tenant),
            ("campaign_id", message.campaign_id, campaign_id),
        ):
            if given not in ("", actual):
                raise InvalidRequestError(f"{field}: differs from the subject's", field=field)
        if isinstance(message, RerunCampaign) and message.base_revision != base:
            raise InvalidRequestError(
                "base_revision: differs from the subject's", field="base_revision"
            )
        brief = _brief(message, campaign_id)
        check_brief(brief, tenant=tenant, today=datetime.fromtimestamp(at, UTC).date())
    except InvalidInputError as error:
        log.info("brief.refused", code=error.code, field=error.field)
        return Wanted(unread_brief(campaign_id), body_hash, _within_brief(error), message)
    return Wanted(brief, body_hash, None, message)


def _brief(message: RunCampaign | RerunCampaign, campaign_id: str) -> Brief:
    given = message.brief
    if isinstance(given, str):
        brief = brief_from_sentence(given, campaign_id)
        return msgspec.structs.replace(brief, scale=message.scale, tier=message.tier)
    if message.scale != 1:
        raise InvalidRequestError("scale: stands within the brief, not beside it", field="scale")
    if given.campaign != campaign_id:
        raise InvalidRequestError(
            "campaign: differs from the campaign id in the subject", field="campaign"
        )
    return given


def _within_brief(error: AdgenxError) -> ErrorInfo:
    """Name fields as the brief itself has them, wherever the error was found."""
    info = error.info()
    return msgspec.structs.replace(
        info,
        field=info.field.removeprefix("brief."),
        message=info.message.removeprefix("brief."),
    )


def first_record(tenant: str, campaign_id: str, wanted: Wanted, at: float) -> CampaignRecord:
    """Return the record of revision 1: open with its first stage planned, or refused."""
    record = CampaignRecord(
        tenant=tenant,
        campaign_id=campaign_id,
        revision=1,
        state=CampaignState.OPEN,
        brief=wanted.brief,
        brief_hash=wanted.brief_hash,
        accepted_at=at,
    )
    return _begun(record, wanted, at)


def _begun(record: CampaignRecord, wanted: Wanted, at: float) -> CampaignRecord:
    if wanted.message is not None:
        record = msgspec.structs.replace(record, **terms.agreed(wanted.message, at))
    if wanted.error is not None:
        return msgspec.structs.replace(
            record, state=CampaignState.FAILED, error=wanted.error, ended_at=at
        )
    return msgspec.structs.replace(record, plan=plan.first_stage(wanted.brief))


def next_record(record: CampaignRecord, wanted: Wanted, at: float) -> CampaignRecord:
    """Return the record of the revision that takes this one's place."""
    steps = record.plan.steps if record.plan else []
    past = PastRevision(
        revision=record.revision,
        state=record.state,
        steps={step.name: telling.request_id_of(record, step.name) for step in steps},
        fenced=record.state.terminal,
    )
    fresh = CampaignRecord(
        tenant=record.tenant,
        campaign_id=record.campaign_id,
        revision=record.revision + 1,
        state=CampaignState.OPEN,
        brief=wanted.brief,
        brief_hash=wanted.brief_hash,
        accepted_at=at,
        past=trimmed([*record.past, past]),
    )
    return _begun(fresh, wanted, at)


def withdrawn_record(tenant: str, campaign_id: str, at: float) -> CampaignRecord:
    """Return the record of a campaign that was cancelled before its brief came.

    Its brief hash is empty: whatever comes under this id later is cancelled already.
    """
    return CampaignRecord(
        tenant=tenant,
        campaign_id=campaign_id,
        revision=1,
        state=CampaignState.CANCELLED,
        brief=unread_brief(campaign_id),
        brief_hash="",
        accepted_at=at,
        cancel_wanted=True,
        ended_at=at,
    )
