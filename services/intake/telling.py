"""Tells tenants what they were told before: a tenant's key reads nothing by itself.

JetStream's answers to a listing cannot be held to one tenant, for what is listed stands in the
request's body. So the tenant asks here, under a subject that is its own, and whose events are meant
is taken from that subject.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import nats.errors
import structlog

from bus import direct
from contracts import subjects
from contracts.codec import decode_input, encode
from contracts.errors import AdgenxError, InvalidRequestError
from contracts.subjects import Stream
from contracts.telling import AskEvents, ToldEvent, ToldEvents, is_pattern

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from bus.connection import Bus
    from bus.gate import StoredMessage

log = structlog.get_logger(__name__)

GROUP = "intake"
"""Several intakes share the questions."""
AT_ONCE = 4
PAGE_BYTES = 512 * 1024
"""Of one answer; half of what a message may have."""
PAGE = 256


class Teller:
    """Answers for one intake."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen from now on; nats-py does so again after every reconnection."""
        await self._bus.nc.subscribe(subjects.ask_events("*"), queue=GROUP, cb=self._asked)

    async def _asked(self, message: Msg) -> None:
        if message.reply:
            task = asyncio.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Msg) -> None:
        tenant = message.subject.split(".")[2]
        try:
            ask: AskEvents = decode_input(message.data, AskEvents)
            if not is_pattern(ask.pattern):
                raise InvalidRequestError("is no pattern of subjects", field="pattern")
            async with self._places:
                answer = await self._told(tenant, ask)
        except AdgenxError as error:
            answer = ToldEvents(error=error.info())
        try:
            await self._bus.publish(message.reply, encode(answer))
        except (nats.errors.Error, OSError) as error:  # who asked will ask again
            log.info("question.unanswered", tenant=tenant, error=str(error))

    async def _told(self, tenant: str, ask: AskEvents) -> ToldEvents:
        pattern = subjects.event_pattern(tenant, ask.pattern)
        found = await direct.after(self._bus, Stream.EVENTS, pattern, ask.after, PAGE)
        page: list[ToldEvent] = []
        size = 0
        for stored in found:
            size += len(stored.data)
            if page and size > PAGE_BYTES:
                break
            page.append(_event(stored))
        return ToldEvents(events=page, more=len(page) < len(found) or len(found) >= PAGE)


def _event(stored: StoredMessage) -> ToldEvent:
    return ToldEvent(
        subject=stored.subject,
        sequence=stored.sequence,
        at=stored.stored_at,
        body=msgspec.Raw(stored.data),
    )
