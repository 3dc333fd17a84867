"""Which subjects a stream holds messages under: names alone, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bus.gate import ask
from contracts.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from bus.connection import Bus
    from contracts.subjects import Stream

PAGE = 100_000
"""Subjects that the server puts into one answer."""


class _State(msgspec.Struct):
    subjects: dict[str, int] | None = None


class _Answer(msgspec.Struct):
    state: _State | None = None
    total: int = 0


_decoder = msgspec.json.Decoder(_Answer)


async def subjects_in(bus: Bus, stream: Stream | str, pattern: str = ">") -> list[str]:
    """Return the subjects matching a pattern under which the stream has a message, in no order.

    Raises UnknownOutcomeError when the server does not answer or has no such stream.
    """
    found: list[str] = []
    while True:
        body = msgspec.json.encode({"subjects_filter": pattern, "offset": len(found)})
        message = await ask(bus, f"listing {stream}", f"$JS.API.STREAM.INFO.{stream}", body)
        answer = _decoder.decode(message.data)
        if answer.state is None:
            raise UnknownOutcomeError(f"listing {stream}: the server refuses")
        page = list(answer.state.subjects or ())
        found += page
        if len(found) >= answer.total or not page:
            return found
