"""What a tenant was told: read from the stream, or asked for, where the key is a tenant's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import nats.errors

from bus import direct
from bus.gate import StoredMessage
from contracts import subjects
from contracts.codec import encode
from contracts.errors import UnknownOutcomeError
from contracts.subjects import Stream
from contracts.telling import AskEvents, ToldEvents

if TYPE_CHECKING:
    from bus.connection import Bus

_answer = msgspec.json.Decoder(ToldEvents)


async def events(bus: Bus, pattern: str) -> list[StoredMessage]:
    """Return the events of the settings' tenant that match, in the order in which they were told.

    `pattern` goes on below the tenant's own. Raises UnknownOutcomeError when nobody answers.
    """
    tenant = bus.settings.tenant
    if not bus.settings.of_tenant:
        every = subjects.event_pattern(tenant, pattern)
        return await direct.last_of_each(bus, Stream.EVENTS, every)
    found: list[StoredMessage] = []
    while True:
        page = await _ask(bus, AskEvents(pattern=pattern, after=found[-1].sequence if found else 0))
        found += (StoredMessage(e.subject, e.sequence, bytes(e.body), e.at) for e in page.events)
        if not page.more:
            return found


async def _ask(bus: Bus, ask: AskEvents) -> ToldEvents:
    try:
        answer = await bus.request(subjects.ask_events(bus.settings.tenant), encode(ask))
    except (nats.errors.Error, OSError) as error:
        reason = str(error) or type(error).__name__
        raise UnknownOutcomeError(f"the intake does not answer: {reason}") from None
    page = _answer.decode(answer.data)
    if page.error is not None:
        raise UnknownOutcomeError(f"the intake refuses: {page.error.message}")
    return page
