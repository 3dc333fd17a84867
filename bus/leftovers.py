"""Messages of a work queue that have been acknowledged and are there nonetheless.

A nats-server whose disk is full counts an acknowledgement and cannot write the removal that goes
with it. The message then stays in the stream and nobody is ever given it again; worse, one message
per subject is all a stream takes, so that whatever is published under its subject later is taken
for a repeat and never done. The server mends that at its start at the earliest, and only where the
consumer's file holds the acknowledgement.

What is left over is known exactly: a message that some durable's filter matches, at or below that
durable's acknowledgement floor. (Of a work queue no two durables share a message.) It has been
handled, because an acknowledgement follows the effect, so that it may go: by its sequence, since
its successor has another one. A job that is not over after all is published anew by its router.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from bus import gate, survey
from bus.direct import next_of
from contracts.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bus.connection import Bus
    from contracts.subjects import Stream

log = structlog.get_logger(__name__)

MOST = 1000
"""Messages found under one filter in one look; the next look finds the next ones."""


class Leftover(NamedTuple):
    """One message; `stored_at` (Unix seconds) tells it from another one at the same sequence."""

    subject: str
    sequence: int
    stored_at: float


class Gleaner:
    """Removes what is left over in some work queues, `streams`.

    Only at the second look in a row that finds it: an acknowledgement that has just come counts a
    moment before its message goes. Any number of gleaners may be at it at once.
    """

    def __init__(self, bus: Bus, streams: Sequence[Stream | str]) -> None:
        self._bus = bus
        self._seen: dict[Stream | str, set[Leftover]] = {stream: set() for stream in streams}

    async def look(self) -> int:
        """Look once at each stream; return how many messages were removed."""
        return sum([await self._glean(stream) for stream in self._seen])

    async def _glean(self, stream: Stream | str) -> int:
        removed = 0
        try:
            found = await leftovers(self._bus, stream)
            again = found & self._seen[stream]
            self._seen[stream] = found
            for left in sorted(again, key=lambda left: left.sequence):
                if await gate.remove(self._bus, stream, left.sequence):
                    log.warning("leftover.removed", stream=stream, subject=left.subject)
                    removed += 1
        except TransientError as error:
            log.info("gleaning.abandoned", stream=stream, error=error.message)
        return removed


async def leftovers(bus: Bus, stream: Stream | str) -> set[Leftover]:
    """Return what a work queue holds of what its durables count as acknowledged.

    Raises UnknownOutcomeError when the server does not answer.
    """
    found: set[Leftover] = set()
    for consumer in await survey.consumers(bus, stream):
        for pattern in consumer.filters:
            found |= await _up_to(bus, stream, pattern, consumer.ack_floor)
    return found


async def _up_to(bus: Bus, stream: Stream | str, pattern: str, floor: int) -> set[Leftover]:
    """Return the messages of a filter up to a sequence; one call if there are none."""
    found: set[Leftover] = set()
    sequence = 0
    while sequence < floor and len(found) < MOST:
        message = await next_of(bus, stream, pattern, sequence)
        if message is None or message.sequence > floor:
            break
        sequence = message.sequence
        found.add(Leftover(message.subject, sequence, message.stored_at))
    return found
