"""What comes in for the coordinator: briefs, re-runs, cancels and deletions. Each ends in a record,
an open entry and an answer, in the order that protocol and decide rely on: the record first, then
`put` open, and only then is the message let go.

A deleted campaign's id stays taken: whatever comes under it later is refused.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import structlog

from contracts import events
from contracts.campaign import (
    CampaignRecord,
    CampaignState,
    Cancel,
    RerunCampaign,
    RunCampaign,
)
from contracts.codec import decode_input, encode
from contracts.errors import (
    AdgenxError,
    ConflictError,
    ErrorInfo,
    InvalidIdError,
    UnknownIdError,
    UnknownOutcomeError,
)
from contracts.identity import NO_CAMPAIGN
from contracts.subjects import ControlSubject, RequestSubject, campaign_key, parse_request
from services.coordinator import telling
from services.coordinator.acceptance import (
    Wanted,
    first_record,
    next_record,
    understand,
    withdrawn_record,
)
from services.coordinator.tombstone import tombstone
from services.coordinator.world import Campaign, World

log = structlog.get_logger(__name__)

_ATTEMPTS = 16


class Message(NamedTuple):
    """A message as it came; `stored_at` (Unix seconds) is when its sender was promised it."""

    subject: str
    data: bytes
    sequence: int
    stored_at: float


async def take_brief(
    world: World, message: Message, refused: AdgenxError | None = None
) -> str | None:
    """Take a brief in; return the key of its campaign, or None if its ids are unusable.

    `refused`: why nothing new is accepted now. What was accepted before is not touched by it.
    """
    try:
        ids = _campaign_ids(message.subject)
    except InvalidIdError as error:
        log.info("brief.refused", code=error.code, field=error.field)
        await world.once([telling.unusable(message.subject, message.data, error.info())])
        await world.remove_request(message.sequence)
        return None
    key = campaign_key(ids.tenant, ids.campaign_id)
    wanted = understand(message.data, RunCampaign, ids.tenant, ids.campaign_id, message.stored_at)
    if refused is not None and wanted.error is None:
        wanted = wanted._replace(error=refused.info())
    try:
        record = await _accept(world, key, ids, wanted, message.stored_at)
    except ConflictError as error:
        name = f"conflict.{wanted.brief_hash[:16]}"
        await world.once(
            [telling.answer(ids.tenant, ids.campaign_id, name, "refused", 0, error.info())]
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
) -> CampaignRecord:
    """Return the record that stands for this brief; ConflictError if the id is taken."""
    for _ in range(_ATTEMPTS):
        current = await world.campaign(key)
        if current is None:
            record = first_record(ids.tenant, ids.campaign_id, wanted, at)
            if await world.create(key, record):
                log.info("campaign.accepted", campaign=key, state=record.state)
                return record
            continue
        record = current.record
        if record.state is CampaignState.DELETED:
            raise _gone()
        again = _was_put_off(record) and at > record.accepted_at and not record.delete_wanted
        # Cancelled before it came, or a repeat.
        if record.brief_hash in ("", wanted.brief_hash) and not again:
            return record
        if record.delete_wanted:
            raise _gone()
        if not _was_refused(record):
            raise ConflictError(
                "this campaign id is in use for another brief; ask for a re-run on top of its "
                "newest revision, or choose another id",
                field="campaign",
            )
        # A refused brief has made nothing: the mended one may come under the same id.
        following = await _next_revision(world, key, current, wanted, at)
        if following is not None:
            return following
    raise _restless(key)


def _gone() -> ConflictError:
    return ConflictError("the campaign was deleted; ids are never reused", field="campaign")


def _restless(key: str) -> UnknownOutcomeError:
    """Give up for now: the message comes again."""
    return UnknownOutcomeError(f"the record of campaign {key} changes too fast")


def _was_refused(record: CampaignRecord) -> bool:
    return record.state is CampaignState.FAILED and record.plan is None


def _was_put_off(record: CampaignRecord) -> bool:
    """Say whether it was refused for a reason that passes: asked again, it may be accepted."""
    return _was_refused(record) and record.error is not None and record.error.retryable


async def _announce(world: World, key: str, record: CampaignRecord) -> None:
    """Tell what was accepted, then open it: from here on the sweep knows it."""
    words = []
    if record.plan is not None and not record.plan.complete:
        words = [telling.accepted(record), telling.planned(record, record.plan, record.accepted_at)]
    await world.once(words)
    await world.put_open(key, record.revision)


async def take_rerun(
    world: World, ids: ControlSubject, message: Message, refused: AdgenxError | None = None
) -> str:
    """Take a re-run in and answer it; return the campaign's key. `refused` as for a brief."""
    campaign_id, base = ids.ids[0], _base(ids.ids[1])
    key = campaign_key(ids.tenant, campaign_id)
    wanted = understand(
        message.data, RerunCampaign, ids.tenant, campaign_id, message.stored_at, base
    )
    record, error = await _rerun(world, key, base, wanted, message.stored_at, refused)
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
    world: World,
    key: str,
    base: int,
    wanted: Wanted,
    at: float,
    refused: AdgenxError | None,
) -> tuple[CampaignRecord | None, AdgenxError | ErrorInfo | None]:
    """Return the record of the new revision, or why there is none."""
    for _ in range(_ATTEMPTS):
        current = await world.campaign(key)
        if current is None:
            return None, UnknownIdError("no campaign with this id was ever accepted")
        record = current.record
        if record.revision == base + 1 and record.brief_hash == wanted.brief_hash:
            return record, None  # a repeat of what was taken in before
        if record.cancel_wanted or record.delete_wanted:
            cancelled = ConflictError("the campaign was cancelled; use another id", field="id")
            return None, _gone() if record.delete_wanted else cancelled
        if record.revision != base:
            return None, ConflictError(
                f"the newest revision is {record.revision}, not {base}", field="base_revision"
            )
        # A bad brief must not stop a good one that is under way.
        why = refused or (wanted.error if not record.state.terminal else None)
        if why is not None:
            return None, why
        following = await _next_revision(world, key, current, wanted, at)
        if following is not None:
            return following, None
    raise _restless(key)


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


async def take_cancel(
    world: World, tenant: str, campaign_id: str, at: float, body: bytes = b""
) -> str:
    """Take a campaign's cancel in and answer it; return the campaign's key.

    An empty body is a cancel, too; one that cannot be read is refused.

    A campaign that is not known gets a record that is cancelled already, so that a brief which the
    cancel has overtaken meets it.
    """
    key = campaign_key(tenant, campaign_id)
    try:
        decode_input(body or encode(Cancel()), Cancel)
    except AdgenxError as error:
        log.info("cancel.refused", campaign=key, code=error.code)
        refused = telling.answer(
            tenant, campaign_id, events.CANCEL_RESULT, "refused", 0, error.info()
        )
        await world.once([refused])
        return key
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
            record = withdrawn_record(tenant, campaign_id, at)
            if await world.create(key, record):
                return "unknown", record
            continue
        record = current.record
        if record.state is CampaignState.DELETED:
            return "too_late", record
        if record.cancel_wanted:
            return "done", record
        if record.state.terminal:
            return "too_late", record
        record = msgspec.structs.replace(record, cancel_wanted=True)
        if await world.update(key, record, current.revision):
            log.info("campaign.cancel_wanted", campaign=key, revision=record.revision)
            return "done", record
    raise _restless(key)


async def take_delete(world: World, tenant: str, campaign_id: str, at: float) -> str:
    """Take a campaign's deletion in; return its key. `decide` deletes and answers it once it is
    over and told.

    A campaign that is not known is deleted already: a brief that the command has overtaken meets
    the tombstone.
    """
    key = campaign_key(tenant, campaign_id)
    record = await _want_deleted(world, key, tenant, campaign_id, at)
    if record is None:
        record = tombstone(tenant, campaign_id, 1, at)
        answer = telling.answer(tenant, campaign_id, events.DELETE_RESULT, "unknown", 0, None)
        await world.once([answer])
    await world.put_open(key, record.revision)
    return key


async def _want_deleted(
    world: World, key: str, tenant: str, campaign_id: str, at: float
) -> CampaignRecord | None:
    """Return the record with the wish in it, or None if there was none: now there is a tombstone.

    One that is open is cancelled by the same write.
    """
    for _ in range(_ATTEMPTS):
        current = await world.campaign(key)
        if current is None:
            if await world.create(key, tombstone(tenant, campaign_id, 1, at)):
                return None
            continue
        record = current.record
        if record.delete_wanted:
            return record
        cancel_wanted = record.cancel_wanted or not record.state.terminal
        record = msgspec.structs.replace(record, delete_wanted=True, cancel_wanted=cancel_wanted)
        if await world.update(key, record, current.revision):
            log.info("campaign.delete_wanted", campaign=key, revision=record.revision)
            return record
    raise _restless(key)
