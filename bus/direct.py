"""Read many messages of a stream at once by direct get: the last one of every matching subject."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import nats.errors
from nats.js.api import Header

from bus.gate import StoredMessage, ask, read_direct
from contracts.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

    from bus.connection import Bus
    from contracts.subjects import Stream

BATCH = 1000
MOST_SUBJECTS = 1024
"""The server's own limit for the last messages of one call."""
BATCH_BYTES = 16 * 1024 * 1024
LIST_ATTEMPTS = 3


async def last_of_each(bus: Bus, stream: Stream | str, subject: str) -> list[StoredMessage]:
    """Return the last message of every subject that matches, ordered by sequence.

    The stream keeps one message per subject, so that this is all of them; raises
    UnknownOutcomeError when the server does not answer.
    """
    found = map(read_direct, await messages(bus, stream, subject))
    return sorted((m for m in found if m is not None), key=lambda m: m.sequence)


async def after(
    bus: Bus, stream: Stream | str, subject: str, sequence: int, most: int = 0
) -> list[StoredMessage]:
    """Return the messages of matching subjects that came after a sequence, in order.

    For streams that keep what they are given. With `most`, about so many of them at a time; raises
    UnknownOutcomeError when the server does not answer.
    """
    found = await _walk(bus, stream, {"next_by_subj": subject}, sequence, most)
    return [m for m in map(read_direct, found) if m is not None]


async def next_of(
    bus: Bus, stream: Stream | str, subject: str, sequence: int
) -> StoredMessage | None:
    """Return the first message of matching subjects that came after a sequence, or None.

    Raises UnknownOutcomeError when the server does not answer.
    """
    query = msgspec.json.encode({"next_by_subj": subject, "seq": sequence + 1})
    doing = f"reading {stream} after {sequence}"
    return read_direct(await ask(bus, doing, f"$JS.API.DIRECT.GET.{stream}", query))


async def messages(bus: Bus, stream: Stream | str, subject: str) -> list[Msg]:
    """Return the raw answers: one call up to 1024 subjects, pages of 1000 above.

    A subject that changes meanwhile may come twice; the newer one has the higher sequence. It
    moves behind whoever walks the stream by sequence, and so cannot be missed.
    """
    try:
        return await _walk(bus, stream, {"multi_last": [subject], "batch": MOST_SUBJECTS})
    except _TooManyError:  # with history 1 every message is the last of its subject
        return await _walk(bus, stream, {"next_by_subj": subject})


async def _walk(
    bus: Bus, stream: Stream | str, query: dict[str, object], sequence: int = 0, most: int = 0
) -> list[Msg]:
    """Ask behind a sequence until nothing is left, or `most` are found; _TooManyError.

    Each further call goes on behind the last answer, but not as of the same instant (`up_to_seq`):
    what was replaced since is gone, its successor would be cut off.
    """
    found: list[Msg] = []
    query = {"batch": BATCH, "max_bytes": BATCH_BYTES, **query}
    while True:
        batch, end = await _batch(bus, stream, {**query, "seq": sequence + 1})
        found += batch
        if int(end.get("Nats-Num-Pending", "0")) == 0 or 0 < most <= len(found):
            return found
        sequence = int(end["Nats-Last-Sequence"])


async def _batch(
    bus: Bus, stream: Stream | str, query: dict[str, object]
) -> tuple[list[Msg], dict[str, str]]:
    """Send one direct get and collect its answers and the headers of its end.

    An answer that breaks off (the server died under it) is asked again: it only reads.
    """
    for _ in range(LIST_ATTEMPTS):
        # A connection that breaks in this moment raises an OSError from the socket itself.
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            async with _inbox(bus) as (arrived, inbox):
                await bus.nc.publish(
                    f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), reply=inbox
                )
                return await _collect(bus, stream, arrived)
    raise UnknownOutcomeError(f"listing {stream}: no answer")


async def _collect(
    bus: Bus, stream: Stream | str, arrived: asyncio.Queue[Msg]
) -> tuple[list[Msg], dict[str, str]]:
    found: list[Msg] = []
    while True:
        # Not next_msg: its wait_for swallows a cancellation on Python 3.11.
        async with asyncio.timeout(bus.settings.publish_timeout_seconds):
            message = await arrived.get()
        headers = message.headers or {}
        match headers.get(Header.STATUS):
            case None:
                found.append(message)
            case "204":
                return found, headers
            case "404" if not found:
                return [], {}
            case "413":
                raise _TooManyError
            case status:
                reason = headers.get(Header.DESCRIPTION, "no stream takes direct gets")
                raise UnknownOutcomeError(f"listing {stream}: {status} {reason}")


class _TooManyError(Exception):
    """More subjects match than one call may return."""


@contextlib.asynccontextmanager
async def _inbox(bus: Bus) -> AsyncIterator[tuple[asyncio.Queue[Msg], str]]:
    inbox = bus.nc.new_inbox()
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await bus.nc.subscribe(inbox, cb=arrived.put)
    try:
        yield arrived, inbox
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
