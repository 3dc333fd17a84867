"""What the server says of its streams and consumers, in a handful of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bus.gate import ask
from contracts.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus.connection import Bus
    from contracts.subjects import Stream

T = TypeVar("T")

WORK_QUEUE = "workqueue"


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """A stream or a bucket: how much of what it may hold. `limit_bytes` is 0 for none;
    `consumers` counts them.
    """

    stream: str
    messages: int
    last_sequence: int
    size_bytes: int
    limit_bytes: int
    consumers: int = 0
    work_queue: bool = False


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer: messages not delivered yet, and those in somebody's hands. It counts all that
    its filters match up to `ack_floor`, a sequence of the stream, as acknowledged. `waiting` counts
    the pulls that are open: somebody is there.
    """

    stream: str
    consumer: str
    pending: int
    in_hand: int
    delivered: int
    ack_floor: int
    filters: list[str]
    waiting: int = 0


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


class _Sequences(msgspec.Struct):
    consumer_seq: int = 0
    stream_seq: int = 0


class _Filters(msgspec.Struct):
    filter_subject: str = ""
    filter_subjects: list[str] | None = None


class _Consumer(msgspec.Struct):
    stream_name: str
    name: str
    config: _Filters
    delivered: _Sequences
    ack_floor: _Sequences
    num_ack_pending: int = 0
    num_pending: int = 0
    num_waiting: int = 0


class _Page(msgspec.Struct):
    total: int = 0
    streams: list[_Stream] | None = None
    consumers: list[_Consumer] | None = None
    error: dict[str, Any] | None = None


_page = msgspec.json.Decoder(_Page)


async def streams(bus: Bus) -> list[StreamState]:
    """Return every stream, the buckets' included; raises UnknownOutcomeError."""
    return [
        StreamState(
            stream=s.config.name,
            messages=s.state.messages,
            last_sequence=s.state.last_seq,
            size_bytes=s.state.bytes,
            limit_bytes=max(0, s.config.max_bytes),
            consumers=s.state.consumer_count,
            work_queue=s.config.retention == WORK_QUEUE,
        )
        for s in await _listed(bus, "$JS.API.STREAM.LIST", lambda page: page.streams)
    ]


async def consumers(bus: Bus, stream: Stream | str) -> list[ConsumerState]:
    """Return a stream's consumers; raises UnknownOutcomeError."""
    subject = f"$JS.API.CONSUMER.LIST.{stream}"
    return [
        ConsumerState(
            stream=c.stream_name,
            consumer=c.name,
            pending=c.num_pending,
            in_hand=c.num_ack_pending,
            delivered=c.delivered.consumer_seq,
            ack_floor=c.ack_floor.stream_seq,
            filters=c.config.filter_subjects or [c.config.filter_subject or ">"],
            waiting=c.num_waiting,
        )
        for c in await _listed(bus, subject, lambda page: page.consumers)
    ]


async def _listed(bus: Bus, subject: str, part: Callable[[_Page], list[T] | None]) -> list[T]:
    found: list[T] = []
    while True:
        message = await ask(bus, subject, subject, msgspec.json.encode({"offset": len(found)}))
        page = _page.decode(message.data)
        if page.error is not None:
            raise UnknownOutcomeError(f"{subject}: {page.error.get('description', 'refused')}")
        more = part(page) or []
        found += more
        if len(found) >= page.total or not more:
            return found


def unassigned(listed: list[StreamState], consuming: list[ConsumerState], stream: str) -> int:
    """Return how many messages of a work queue no consumer has before it or in hand: nobody
    filters them, or the server has given them up.
    """
    held = sum(c.pending + c.in_hand for c in consuming if c.stream == stream)
    there = sum(s.messages for s in listed if s.stream == stream)
    return max(0, there - held)
