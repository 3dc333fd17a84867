"""What comes in for the coordinator: briefs, re-runs and cancels. Each ends in a record, an open
entry and an answer, in the order that protocol and decide rely on: the record first, then `put`
open, and only then is the message let go.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog

from contracts import events
from contracts.brief import Brand, Brief, Product
from contracts.brief_check import check_brief
from contracts.campaign import (
    CampaignRecord,
    CampaignState,
    PastRevision,
    RerunCampaign,
    RunCampaign,
)
from contracts.canonical import digest
from contracts.codec import decode_input
from contracts.errors import (
    AdgenxError,
    ConflictError,
    ErrorInfo,
    InvalidIdError,
    InvalidInputError,
    InvalidRequestError,
    UnknownIdError,
)
from contracts.identity import NO_CAMPAIGN
from contracts.subjects import ControlSubject, RequestSubject, campaign_key, parse_request
from services.coordinator import plan, telling
from services.coordinator.decide import trimmed
from services.coordinator.sentence import brief_from_sentence
from services.coordinator.world import Campaign, World

log = structlog.get_logger(__name__)

_ATTEMPTS = 16


class Message(NamedTuple):
    """A message as it came; `stored_at` (Unix seconds) is when its sender was promised it."""

    subject: str
    data: bytes
    sequence: int
    stored_at: float


class Wanted(NamedTuple):
    """A brief that was understood, or why not. `brief_hash` tells a repeat from another brief."""

    brief: Brief
    brief_hash: str
    labels: dict[str, str]
    error: ErrorInfo | None


async def take_brief(world: World, message: Message) -> str | None:
    """Take a brief in; return the key of its campaign, or None if its ids are unusable."""
    try:
        ids = _campaign_ids(message.subject)
    except InvalidIdError as error:
        log.info("brief.refused", code=error.code, field=error.field)
        await world.once([telling.unusable(message.subject, message.data, error.info())])
        await world.remove_request(message.sequence)
        return None
    key = campaign_key(ids.tenant, ids.campaign_id)
    wanted = understand(message.data, RunCampaign, ids.tenant, ids.campaign_id, message.stored_at)
    record = await _accept(world, key, ids, wanted, message.stored_at)
    if record is None:
        error_info = ConflictError(
            "this campaign id is in use for another brief; ask for a re-run on top of its newest "
            "revision, or choose another id",
            field="campaign",
        ).info()
        name = f"conflict.{wanted.brief_hash[:16]}"
        await world.once(
            [telling.answer(ids.tenant, ids.campaign_id, name, "refused", 0, error_info)]
        )
    else:
        await _announce(world, key, record)
    await world.remove_request(message.sequence)
    return key


def _campaign_ids(subject: str) -> RequestSubject:
    ids = parse_request(subject)
    if ids.campaign_id == NO_CAMPAIGN or ids.request_id != ids.campaign_id:
        raise InvalidIdError("a brief's subject ends in its campaign id, twice", field="request_id")
    return ids


async def _accept(
    world: World, key: str, ids: RequestSubject, wanted: Wanted, at: float
) -> CampaignRecord | None:
    """Return the record that stands for this brief, or None if the id belongs to another one."""
    for _ in range(_ATTEMPTS):
        current = await world.campaign(key)
        if current is None:
            record = first_record(ids.tenant, ids.campaign_id, wanted, at)
            if await world.create(key, record):
                log.info("campaign.accepted", campaign=key, state=record.state)
                return record
            continue
        record = current.record
        if record.brief_hash in ("", wanted.brief_hash):  # cancelled before it came, or a repeat
            return record
        if not _was_refused(record):
            return None
        # A refused brief has made nothing: the mended one may come under the same id.
        following = await _next_revision(world, key, current, wanted, at)
        if following is not None:
            return following
    raise ConflictError("the campaign's record changes too fast")


def _was_refused(record: CampaignRecord) -> bool:
    return record.state is CampaignState.FAILED and record.plan is None


def understand(
    data: bytes,
    kind: type[RunCampaign | RerunCampaign],
    tenant: str,
    campaign_id: str,
    at: float,
) -> Wanted:
    """Decode and check what was sent; what is wrong with it becomes the `error`."""
    body_hash = hashlib.sha256(data).hexdigest()
    labels: dict[str, str] = {}
    try:
        message = decode_input(data, kind)
        labels = message.labels
        body_hash = digest(message.brief)
        for field, given, actual in (
            ("tenant", message.tenant, tenant),
            ("campaign_id", message.campaign_id, campaign_id),
        ):
            if given not in ("", actual):
                raise InvalidRequestError(f"{field}: differs from the subject's", field=field)
        brief = _brief(message.brief, campaign_id)
        check_brief(brief, tenant=tenant, today=datetime.fromtimestamp(at, UTC).date())
    except InvalidInputError as error:
        log.info("brief.refused", code=error.code, field=error.field)
        return Wanted(unread_brief(campaign_id), body_hash, labels, _within_brief(error))
    return Wanted(brief, body_hash, labels, None)


def _brief(given: Brief | str, campaign_id: str) -> Brief:
    if isinstance(given, str):
        return brief_from_sentence(given, campaign_id)
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


def unread_brief(campaign_id: str) -> Brief:
    """Return what stands in the record of a campaign whose brief was refused or never came."""
    return Brief(
        campaign=campaign_id,
        brand=Brand(name="-"),
        product=Product(name="-", what="-"),
        placements=["instagram_reel"],
        locales=["en-US"],
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
        labels=wanted.labels,
    )
    return _begun(record, wanted, at)


def _begun(record: CampaignRecord, wanted: Wanted, at: float) -> CampaignRecord:
    if wanted.error is not None:
        return msgspec.structs.replace(
            record, state=CampaignState.FAILED, error=wanted.error, ended_at=at
        )
    return msgspec.structs.replace(record, plan=plan.first_stage(wanted.brief))


async def _announce(world: World, key: str, record: CampaignRecord) -> None:
    """Tell what was accepted, then open it: from here on the sweep knows it."""
    words = []
    if record.plan is not None and not record.plan.complete:
        words = [telling.accepted(record), telling.planned(record, record.plan, record.accepted_at)]
    await world.once(words)
    await world.put_open(key, record.revision)


async def take_rerun(world: World, ids: ControlSubject, message: Message) -> str:
    """Take a re-run in and answer it; return the campaign's key."""
    campaign_id, base = ids.ids[0], _base(ids.ids[1])
    key = campaign_key(ids.tenant, campaign_id)
    wanted = understand(message.data, RerunCampaign, ids.tenant, campaign_id, message.stored_at)
    record, error = await _rerun(world, key, base, wanted, message.stored_at)
    if record is not None:
        await _announce(world, key, record)
    status = "unknown" if isinstance(error, UnknownIdError) else "refused" if error else "done"
    revision = record.revision if record else 0
    info = error if isinstance(error, ErrorInfo) else error.info() if error else None
    name = f"{events.RERUN_RESULT}.{ids.ids[1]}"
    await world.once([telling.answer(ids.tenant, campaign_id, name, status, revision, info)])
    return key


def _base(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


async def _rerun(
    world: World, key: str, base: int, wanted: Wanted, at: float
) -> tuple[CampaignRecord | None, AdgenxError | ErrorInfo | None]:
    """Return the record of the new revision, or why there is none."""
    for _ in range(_ATTEMPTS):
        current = await world.campaign(key)
        if current is None:
            return None, UnknownIdError("no campaign with this id was ever accepted")
        record = current.record
        if record.revision == base + 1 and record.brief_hash == wanted.brief_hash:
            return record, None  # a repeat of what was taken in before
        if record.cancel_wanted:
            return None, ConflictError("the campaign was cancelled; use another id", field="id")
        if record.revision != base:
            return None, ConflictError(
                f"the newest revision is {record.revision}, not {base}", field="base_revision"
            )
        if wanted.error is not None and not record.state.terminal:
            return None, wanted.error  # a bad brief must not stop a good one that is under way
        following = await _next_revision(world, key, current, wanted, at)
        if following is not None:
            return following, None
    raise ConflictError("the campaign's record changes too fast")


async def _next_revision(
    world: World, key: str, current: Campaign, wanted: Wanted, at: float
) -> CampaignRecord | None:
    """Write the next revision over the current one; None if the record has moved on."""
    record = current.record
    if record.state.terminal:
        # Its result must be out before its record is overwritten.
        await world.once([telling.result(record, await world.jobs(key))])
    following = next_record(record, wanted, at)
    if not await world.update(key, following, current.revision):
        return None
    log.info("campaign.rerun", campaign=key, revision=following.revision)
    return following


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
        labels=wanted.labels,
    )
    return _begun(fresh, wanted, at)


async def take_cancel(world: World, tenant: str, campaign_id: str, at: float) -> str:
    """Take a campaign's cancel in and answer it; return the campaign's key.

    A campaign that is not known gets a record that is cancelled already, so that a brief which the
    cancel has overtaken meets it.
    """
    key = campaign_key(tenant, campaign_id)
    status, record = await _cancel(world, key, tenant, campaign_id, at)
    await world.put_open(key, record.revision)
    answer = telling.answer(
        tenant, campaign_id, events.CANCEL_RESULT, status, record.revision, None
    )
    await world.once([answer])
    return key


async def _cancel(
    world: World, key: str, tenant: str, campaign_id: str, at: float
) -> tuple[str, CampaignRecord]:
    for _ in range(_ATTEMPTS):
        current = await world.campaign(key)
        if current is None:
            wanted = Wanted(unread_brief(campaign_id), "", {}, None)
            blank = first_record(tenant, campaign_id, wanted, at)
            record = msgspec.structs.replace(
                blank, state=CampaignState.CANCELLED, cancel_wanted=True, plan=None, ended_at=at
            )
            if await world.create(key, record):
                return "unknown", record
            continue
        record = current.record
        if record.cancel_wanted:
            return "done", record
        if record.state.terminal:
            return "too_late", record
        record = msgspec.structs.replace(record, cancel_wanted=True)
        if await world.update(key, record, current.revision):
            log.info("campaign.cancel_wanted", campaign=key, revision=record.revision)
            return "done", record
    raise ConflictError("the campaign's record changes too fast")
