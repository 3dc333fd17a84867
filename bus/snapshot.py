"""A stream as a file, and back: JetStream's own snapshots, and where its durables stood.

A snapshot is the server's image of one moment of one stream: sequences, times and headers come back
as they were, which the gate, the revisions of records and deadlines rest on. The server sends it in
chunks and waits while too many of them are unconfirmed; a hash of ours goes along.

Durables are not in it. The server writes their state after the messages, so that one could come
back ahead of its stream and pass over what is published next. Their positions are read before the
stream is taken, and set by `CONSUMER.RESET` after it was restored: a position is never ahead, what
it is behind by is delivered once more, and whoever takes it in has to bear that anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
from nats.js.api import Header

from bus.durability import fsync
from bus.gate import ask
from contracts.backup import FilePart, Position, StreamPart
from contracts.errors import AdgenxError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

    from bus.connection import Bus

CHUNK = 256 * 1024
WINDOW_BYTES = 8 * 1024 * 1024
"""So much the server sends before we have confirmed any of it."""
CHUNK_SECONDS = 30.0
RESTORE_SECONDS = 300.0
"""After the last chunk the server unpacks the whole stream before it answers."""
_ENDS = ("204", "")
"""How the last message says that all has been sent; a short snapshot ends without a word."""


class SnapshotRefusedError(AdgenxError):
    """The server does not hand out or take a snapshot, and will not: it says why."""

    code = "SNAPSHOT_REFUSED"


class _ApiError(msgspec.Struct):
    code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    config: dict[str, Any] | None = None
    state: dict[str, Any] | None = None
    deliver_subject: str = ""
    error: _ApiError | None = None


class _Sequences(msgspec.Struct):
    stream_seq: int = 0


class _Consumer(msgspec.Struct):
    name: str
    config: dict[str, Any]
    ack_floor: _Sequences


class _Consumers(msgspec.Struct):
    total: int = 0
    consumers: list[_Consumer] | None = None
    error: _ApiError | None = None


_answer = msgspec.json.Decoder(_Answer)
_consumers = msgspec.json.Decoder(_Consumers)


async def positions(bus: Bus, stream: str) -> list[Position]:
    """Return where the durables of a stream stand; UnknownOutcomeError."""
    found: list[_Consumer] = []
    subject = f"$JS.API.CONSUMER.LIST.{stream}"
    while True:
        body = msgspec.json.encode({"offset": len(found)})
        page = _consumers.decode((await ask(bus, subject, subject, body)).data)
        _refuse(stream, page.error)
        found += page.consumers or []
        if len(found) >= page.total or not page.consumers:
            break
    return [
        Position(name=c.name, floor=c.ack_floor.stream_seq, config=_plain(c.config))
        for c in found
        if c.config.get("durable_name")
    ]


async def take(bus: Bus, stream: str, target: Path, durables: list[Position]) -> StreamPart:
    """Write a stream into a file, which is whole and on the disk on return.

    Raises SnapshotRefusedError, UnknownOutcomeError when the server stops answering: begin again.
    """
    taken_at = time.time()
    async with _inbox(bus) as (arrived, inbox):
        wish = {
            "deliver_subject": inbox,
            "no_consumers": True,
            "chunk_size": CHUNK,
            "window_size": WINDOW_BYTES,
        }
        subject = f"$JS.API.STREAM.SNAPSHOT.{stream}"
        message = await ask(bus, f"snapshot of {stream}", subject, msgspec.json.encode(wish))
        answer = _answer.decode(message.data)
        _refuse(stream, answer.error)
        if answer.config is None or answer.state is None:
            raise UnknownOutcomeError(f"snapshot of {stream}: an answer without a state")
        messages = int(answer.state.get("messages", 0))
        size, digest = await _receive(bus, stream, arrived, target)
    await asyncio.to_thread(fsync, target)
    path = f"{target.parent.name}/{target.name}"
    part = FilePart(
        path=path,
        size_bytes=size,
        sha256=digest,
        entries=messages,
    )
    return StreamPart(
        name=stream,
        file=part,
        taken_at=taken_at,
        config=_plain(answer.config),
        state=answer.state,
        durables=durables,
    )


async def _receive(
    bus: Bus, stream: str, arrived: asyncio.Queue[Msg], target: Path
) -> tuple[int, str]:
    """Write the chunks down until the empty one that ends them; return their size and hash."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        while True:
            try:
                async with asyncio.timeout(CHUNK_SECONDS):
                    chunk = await arrived.get()
            except TimeoutError:
                raise UnknownOutcomeError(f"snapshot of {stream}: no chunk came") from None
            if not chunk.data:
                status = (chunk.headers or {}).get(Header.STATUS, "")
                if status not in _ENDS:
                    why = (chunk.headers or {}).get(Header.DESCRIPTION, "broken off")
                    raise UnknownOutcomeError(f"snapshot of {stream}: {status} {why}")
                return size, digest.hexdigest()
            digest.update(chunk.data)
            size += len(chunk.data)
            await asyncio.to_thread(file.write, chunk.data)
            if chunk.reply:
                await bus.publish(chunk.reply, b"")


async def put_back(bus: Bus, part: StreamPart, source: Path, replicas: int) -> None:
    """Make a stream from its file, and its durables at their positions.

    There must be no stream of that name. Raises SnapshotRefusedError, UnknownOutcomeError.
    """
    config = {**part.config, "num_replicas": replicas}
    if part.file.entries:
        await _put_back_messages(bus, part, config, source)
    else:
        await _make_empty(bus, part, config)
    for durable in part.durables:
        await _put_back_durable(bus, part.name, durable, replicas)


async def _put_back_messages(
    bus: Bus, part: StreamPart, config: dict[str, Any], source: Path
) -> None:
    body = msgspec.json.encode({"config": config, "state": part.state})
    subject = f"$JS.API.STREAM.RESTORE.{part.name}"
    answer = _answer.decode((await ask(bus, f"restoring {part.name}", subject, body)).data)
    _refuse(part.name, answer.error)
    with source.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            await _send(bus, part.name, answer.deliver_subject, chunk, CHUNK_SECONDS)
    said = await _send(bus, part.name, answer.deliver_subject, b"", RESTORE_SECONDS)
    end = _answer.decode(said)
    _refuse(part.name, end.error)
    last, expected = (int((s or {}).get("last_seq", 0)) for s in (end.state, part.state))
    if last < expected:
        raise SnapshotRefusedError(f"{part.name}: its file ends at {last}, not at {expected}")


async def _make_empty(bus: Bus, part: StreamPart, config: dict[str, Any]) -> None:
    """Make a stream that holds nothing and goes on counting where it was; the server restores no
    empty one.
    """
    doing = f"making {part.name}"
    body = msgspec.json.encode(config)
    made = await ask(bus, doing, f"$JS.API.STREAM.CREATE.{part.name}", body)
    _refuse(part.name, _answer.decode(made.data).error)
    last = int(part.state.get("last_seq", 0))
    if last:
        body = msgspec.json.encode({"seq": last + 1})
        purged = await ask(bus, doing, f"$JS.API.STREAM.PURGE.{part.name}", body)
        _refuse(part.name, _answer.decode(purged.data).error)


async def _send(bus: Bus, stream: str, subject: str, chunk: bytes, seconds: float) -> bytes:
    try:
        message = await bus.request(subject, chunk, timeout_seconds=seconds)
    except (nats.errors.Error, OSError) as error:
        why = error or type(error).__name__
        raise UnknownOutcomeError(f"restoring {stream}: {why}") from error
    if chunk and message.data:  # a chunk that is taken is answered with nothing
        _refuse(stream, _answer.decode(message.data).error)
    return bytes(message.data)


async def _put_back_durable(bus: Bus, stream: str, durable: Position, replicas: int) -> None:
    doing = f"durable {durable.name} of {stream}"
    config = {**durable.config, "num_replicas": 0 if replicas == 1 else replicas}
    body = msgspec.json.encode({"stream_name": stream, "config": config, "action": ""})
    made = await ask(bus, doing, f"$JS.API.CONSUMER.CREATE.{stream}.{durable.name}", body)
    _refuse(doing, _answer.decode(made.data).error)
    if durable.floor and config.get("deliver_policy") == "all":
        # One that begins with what is new begins so here: it only counts.
        body = msgspec.json.encode({"seq": durable.floor + 1})
        reset = await ask(bus, doing, f"$JS.API.CONSUMER.RESET.{stream}.{durable.name}", body)
        _refuse(doing, _answer.decode(reset.data).error)


async def drop(bus: Bus, stream: str) -> None:
    """Delete a stream with all that it holds; no error if there is none. For restoring alone."""
    message = await ask(bus, f"deleting {stream}", f"$JS.API.STREAM.DELETE.{stream}")
    error = _answer.decode(message.data).error
    if error is not None and error.code != 404:  # noqa: PLR2004 - not found, as over HTTP
        _refuse(stream, error)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a server writes about itself: another one writes its own."""
    return {k: v for k, v in config.items() if k != "metadata"}


def _refuse(what: str, error: _ApiError | None) -> None:
    if error is not None:
        raise SnapshotRefusedError(f"{what}: {error.code} {error.description}")


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
