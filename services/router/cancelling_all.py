"""Cancelling everything of a tenant: its open campaigns, and every request that is not of one.

A campaign is cancelled by the command that anybody may give, so that the coordinator cancels its
steps, the never asked ones too. What the tenant asks after the names were listed is not cancelled.
Carrying the command out again cancels what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from bus.listing import subjects_in
from bus.records import Records
from contracts import events, subjects
from contracts.campaign import Cancel, OpenEntry
from contracts.codec import decode_input, encode
from contracts.errors import (
    AdgenxError,
    ErrorInfo,
    InvalidIdError,
    TransientError,
    UnknownOutcomeError,
)
from contracts.identity import NO_CAMPAIGN, is_id, job_id_of
from contracts.operating import CancelAll
from contracts.subjects import Bucket, ControlSubject, Stream, parse_control, parse_request
from services.router import telling
from services.router.telling import Word

if TYPE_CHECKING:
    from bus.connection import Bus

log = structlog.get_logger(__name__)

WIDTH = 64
"""Requests cancelled side by side."""
ROUNDS = 3
"""How often a request is tried whose cancel the server has not confirmed."""
_CANCEL = encode(Cancel())


class AllCanceller:
    """Carries out `cancel_all` commands. Safe to repeat, and by two routers at once.

    `cancel(subject, body, stored_at)` carries out the cancel of one request (cancelling.py).
    """

    def __init__(
        self,
        bus: Bus,
        cancel: Callable[[str, bytes, float], Awaitable[None]],
        publish_once: Callable[[Word], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._cancel = cancel
        self._publish_once = publish_once
        self._open = Records(bus, Bucket.OPEN, OpenEntry)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def cancel_all(self, subject: str, body: bytes, stored_at: float) -> None:
        """Cancel everything of the tenant that the subject names, and answer how much it was.

        With thousands of requests it may take longer than the server waits for its ack: the
        command then comes again, and joins the one under way.
        """
        task = self._running.get(subject)
        if task is None:
            task = asyncio.create_task(self._carry_out(subject, body, stored_at))
            self._running[subject] = task
            task.add_done_callback(lambda _: self._running.pop(subject))
        await asyncio.shield(task)

    async def _carry_out(self, subject: str, body: bytes, stored_at: float) -> None:
        try:
            control = _parsed(subject)
        except InvalidIdError as error:
            log.warning("cancel_all.unusable", size_bytes=len(body))
            word = telling.unusable_command(subject, body, error.info(), stored_at)
            await self._publish_once(word)
            return
        try:
            decode_input(body or encode(CancelAll()), CancelAll)
        except AdgenxError as error:
            await self._answer(control, stored_at, "refused", error=error.info())
            return
        campaigns, requests = await self._unfinished(control.tenant)
        for campaign_id in campaigns:
            word = Word(subjects.cancel_campaign(control.tenant, campaign_id), _CANCEL)
            await self._publish_once(word)
        for group in await self._by_place(requests):
            left = group
            for _ in range(ROUNDS):
                left = await self._cancel_each(left, stored_at)
            if left:
                raise UnknownOutcomeError(f"{len(left)} requests could not be cancelled yet")
        log.info("tenant.cancelled", campaigns=len(campaigns), requests=len(requests))
        await self._answer(control, stored_at, "done", len(campaigns), len(requests))

    async def _by_place(self, requests: list[str]) -> tuple[list[str], list[str]]:
        """Part what waits from what is in JOBS, which comes last: a place that became free would
        be given to one of the others, and a worker begin what is about to be cancelled.
        """
        found = await subjects_in(self._bus, Stream.JOBS, subjects.all_jobs())
        inside = {subject.rpartition(".")[2] for subject in found}
        waiting: list[str] = []
        last: list[str] = []
        for request in requests:
            control = parse_control(request)
            job_id = job_id_of(control.tenant, *control.ids)
            (last if job_id in inside else waiting).append(request)
        return waiting, last

    async def _cancel_each(self, requests: list[str], stored_at: float) -> list[str]:
        """Cancel each; return those of which nobody knows whether it was done."""
        width = asyncio.Semaphore(WIDTH)

        async def cancel(request: str) -> bool:
            async with width:
                try:
                    await self._cancel(request, _CANCEL, stored_at)
                except TransientError as error:
                    log.info("cancel.abandoned", subject=request, error=error.message)
                    return False
                return True

        done = await asyncio.gather(*map(cancel, requests))
        return [request for request, ok in zip(requests, done, strict=True) if not ok]

    async def _unfinished(self, tenant: str) -> tuple[list[str], list[str]]:
        """Return the ids of open campaigns, and the subjects that cancel all other requests."""
        # REQUESTS before the open entries: a brief leaves the one only when it is in the other.
        names = await subjects_in(self._bus, Stream.REQUESTS, subjects.requests_of(tenant))
        entries = await self._open.under(tenant)
        campaigns = dict.fromkeys(entry.key.partition(".")[2] for entry in entries)
        asked = []
        for name in names:
            try:
                asked.append(parse_request(name))
            except InvalidIdError:
                continue  # its sender is told so; there is nothing to cancel
        briefs = (ids for ids in asked if ids.token == subjects.CAMPAIGN)
        campaigns |= dict.fromkeys(ids.campaign_id for ids in briefs)
        requests = [
            subjects.cancel_job(tenant, ids.campaign_id, ids.request_id)
            for ids in asked
            if ids.token != subjects.CAMPAIGN and ids.campaign_id not in campaigns
        ]
        return list(campaigns), requests

    async def _answer(
        self,
        control: ControlSubject,
        at: float,
        status: str,
        campaigns: int = 0,
        requests: int = 0,
        error: ErrorInfo | None = None,
    ) -> None:
        [command_id] = control.ids
        answer = events.OpsResult(
            request_id=command_id,
            at=at,
            status=status,
            changed=campaigns + requests,
            message=f"campaigns: {campaigns}, requests: {requests}" if not error else "",
            error=error,
        )
        name = events.CANCEL_ALL_RESULT
        subject = subjects.event(control.tenant, NO_CAMPAIGN, command_id, name)
        await self._publish_once(Word(subject, encode(answer)))


def _parsed(subject: str) -> ControlSubject:
    """Return whose command it is; raise InvalidIdError if nobody could be answered."""
    control = parse_control(subject)
    if len(control.ids) != 1 or not is_id(control.ids[0]):
        raise InvalidIdError("the subject ends in the command's id", field="subject")
    return control
