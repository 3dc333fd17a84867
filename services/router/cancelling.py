"""Cancelling one request: a wish in its record, or a tombstone where it was never asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import structlog

from contracts.campaign import Cancel
from contracts.capability import Capability
from contracts.codec import decode_input
from contracts.errors import AdgenxError, ErrorInfo, InvalidIdError
from contracts.identity import is_id
from contracts.jobs import JobState
from contracts.subjects import ControlSubject, RequestSubject, job_key, parse_control
from services.router import admission, telling
from services.router.admission import CAPABILITY_LABEL

if TYPE_CHECKING:
    from services.router.admission import Message
    from services.router.stores import Stores

log = structlog.get_logger(__name__)

_IDS = 2
"""Ids in the subject of one request's cancel: the campaign's and the request's."""


class Canceller:
    """Carries out cancel commands. Safe to repeat, and by two routers at once."""

    def __init__(
        self,
        stores: Stores,
        asked: Callable[[str, str, str], Awaitable[Message | None]],
        advance: Callable[[str], Awaitable[object]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores = stores
        self._asked = asked
        self._advance = advance
        self._clock = clock

    async def cancel(self, subject: str, body: bytes, stored_at: float) -> None:
        """Cancel what the subject names and answer; returns when nothing is left to do."""
        try:
            control = _parsed(subject)
        except InvalidIdError as error:
            log.warning("cancel.unusable", size_bytes=len(body))
            word = telling.unusable_command(subject, body, error.info(), stored_at)
            await self._stores.publish_once(word)
            return
        try:
            command = decode_input(body, Cancel) if body else Cancel()
        except AdgenxError as error:
            await self._answer(control, "refused", error.info(), stored_at)
            return
        await self._carry_out(control, command, stored_at)

    async def _carry_out(self, control: ControlSubject, command: Cancel, stored_at: float) -> None:
        key = job_key(control.tenant, *control.ids)
        known = await self._wish(key, control, command)
        await self._advance(key)
        if not known:
            await self._answer(control, "unknown", None, stored_at)
            return
        found = await self._stores.jobs.get(key)
        cancelled = found is None or found.value.state is JobState.CANCELLED
        await self._answer(control, "done" if cancelled else "too_late", None, stored_at)

    async def _wish(self, key: str, control: ControlSubject, command: Cancel) -> bool:
        """Write the wish down; False if nothing was known and a tombstone stands there now."""
        while True:
            found = await self._stores.jobs.get(key)
            if found is None:
                asked = await self._asked(control.tenant, *control.ids)
                capability = _capability(asked, command)
                stone = admission.tombstone(
                    RequestSubject(control.tenant, capability or Capability.TEXT, *control.ids),
                    self._clock(),
                )
                if capability is not None:
                    labels = {CAPABILITY_LABEL: capability.value}
                    stone = msgspec.structs.replace(stone, labels=labels)
                if await self._stores.jobs.create(key, stone) is not None:
                    return asked is not None
                continue
            job = found.value
            if job.state.terminal or job.cancel_wanted:
                return bool(job.request_hash)
            wish = msgspec.structs.replace(job, cancel_wanted=True)
            if await self._stores.jobs.update(key, wish, found.revision) is not None:
                return True

    async def _answer(
        self, control: ControlSubject, status: str, error: ErrorInfo | None, at: float
    ) -> None:
        campaign_id, request_id = control.ids
        word = telling.cancelled(control.tenant, campaign_id, request_id, status, error, at)
        await self._stores.publish_once(word)


def _parsed(subject: str) -> ControlSubject:
    """Return whom the subject names; raise InvalidIdError if it cannot be anybody's name."""
    control = parse_control(subject)
    if len(control.ids) != _IDS or not is_id(control.ids[1]):
        raise InvalidIdError("a cancel's subject names a campaign and a request", field="subject")
    return control


def _capability(asked: Message | None, command: Cancel) -> Capability | None:
    """Say what a request that has no record would have been, if anybody knows."""
    token = asked.subject.split(".")[3] if asked else command.labels.get(CAPABILITY_LABEL, "")
    return Capability(token) if token in set(Capability) else None
