"""What the server says of its streams and consumers, in a handful of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import nats.errors

from bus import gate
from contracts.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from bus.connection import Bus
    from contracts.subjects import Stream

WORK_QUEUE = "workqueue"


class StreamState(NamedTuple):
    """One stream. `limit_bytes` is 0 for none; `consumers` counts them."""

    name: str
    messages: int
    size_bytes: int
    limit_bytes: int
    last_sequence: int
    consumers: int
    work_queue: bool


class ConsumerState(NamedTuple):
    """One consumer: messages not delivered yet, and those in somebody's hands."""

    stream: str
    name: str
    pending: int
    in_hand: int
    delivered: int


class _Config(msgspec.Struct):
    name: str
    retention: str = ""
    max_bytes: int = -1


class _State(msgspec.Struct):
    messages: int = 0
    bytes: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class _Stream(msgspec.Struct):
    config: _Config
    state: _State


class _Delivered(msgspec.Struct):
    consumer_seq: int = 0


class _Consumer(msgspec.Struct):
    stream_name: str
    name: str
    delivered: _Delivered
    num_ack_pending: int = 0
    num_pending: int = 0


class _Page(msgspec.Struct):
    total: int = 0
    streams: list[_Stream] | None = None
    consumers: list[_Consumer] | None = None
    error: dict[str, Any] | None = None


_page = msgspec.json.Decoder(_Page)


async def streams(bus: Bus) -> list[StreamState]:
    """Return every stream, the buckets' included; raises UnknownOutcomeError."""
    found: list[_Stream] = []
    while True:
        page = await _ask(bus, "$JS.API.STREAM.LIST", len(found))
        found += page.streams or []
        if len(found) >= page.total or not page.streams:
            return [
                StreamState(
                    s.config.name,
                    s.state.messages,
                    s.state.bytes,
                    max(0, s.config.max_bytes),
                    s.state.last_seq,
                    s.state.consumer_count,
                    s.config.retention == WORK_QUEUE,
                )
                for s in found
            ]


async def consumers(bus: Bus, stream: Stream | str) -> list[ConsumerState]:
    """Return a stream's consumers; raises UnknownOutcomeError."""
    found: list[_Consumer] = []
    while True:
        page = await _ask(bus, f"$JS.API.CONSUMER.LIST.{stream}", len(found))
        found += page.consumers or []
        if len(found) >= page.total or not page.consumers:
            return [
                ConsumerState(
                    c.stream_name,
                    c.name,
                    c.num_pending,
                    c.num_ack_pending,
                    c.delivered.consumer_seq,
                )
                for c in found
            ]


async def oldest_at(bus: Bus, stream: Stream | str, pattern: str) -> float:
    """Return when the oldest matching message was stored, in Unix seconds; 0 if there is none."""
    body = msgspec.json.encode({"seq": 1, "next_by_subj": pattern})
    try:
        message = await bus.request(f"$JS.API.DIRECT.GET.{stream}", body)
    except (nats.errors.Error, OSError) as error:
        raise UnknownOutcomeError(f"reading {stream}: {error}") from error
    found = gate.read_direct(message)
    return found.stored_at if found else 0.0


async def _ask(bus: Bus, subject: str, offset: int) -> _Page:
    try:
        message = await bus.request(subject, msgspec.json.encode({"offset": offset}))
    except (nats.errors.Error, OSError) as error:
        raise UnknownOutcomeError(f"{subject}: {error}") from error
    page = _page.decode(message.data)
    if page.error is not None:
        raise UnknownOutcomeError(f"{subject}: {page.error.get('description', 'refused')}")
    return page


def unassigned(listed: list[StreamState], consuming: list[ConsumerState], stream: str) -> int:
    """Return how many messages of a work queue no consumer has before it or in hand: nobody
    filters them, or the server has given them up.
    """
    held = sum(c.pending + c.in_hand for c in consuming if c.stream == stream)
    there = sum(s.messages for s in listed if s.name == stream)
    return max(0, there - held)
