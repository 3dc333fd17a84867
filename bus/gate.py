"""Publish once: what each answer to `Nats-Expected-Last-Subject-Sequence: 0` means.

stored     a PubAck          this call, or its delayed twin, stored the message
there      10071             somebody stored one before; also said by a full stream
unknown    10077, timeout    start over and never ack; nothing is "probably done"
refused    no stream         nobody listens to this subject: a misspelt capability
"""

from __future__ import annotations

import re
import time
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import nats.errors
from nats.js.api import Header

from bus import metrics, tracing
from contracts.errors import InvalidInputError, TooLargeError, UnknownOutcomeError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from bus.connection import Bus
    from contracts.subjects import Stream

EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
WRONG_LAST_SEQUENCE = 10071
STREAM_FULL = 10077
MESSAGE_TOO_LARGE = 10054
DELETE_FAILED = 10057
SEQUENCE_NOT_FOUND = 10043
"""Said of a message that was removed from among others; 10057 of one at the stream's ends."""
NO_MESSAGE = 10037

_ONCE = {EXPECTED_SEQUENCE: "0"}
_GONE = frozenset({"no message found", "deleted message", "stream store EOF"})
"""What 10057 says, in words only, of a message that is not there."""

_SEQUENCE = re.compile(r"\d+\Z")


class SubjectRefusedError(InvalidInputError):
    """No stream takes this subject, or the server refuses it for good: nothing was stored."""

    code = "SUBJECT_REFUSED"


class Outcome(StrEnum):
    """What publishing once came to."""

    STORED = "stored"
    ALREADY_THERE = "already_there"


class Published(NamedTuple):
    """`sequence` is the message's own in its stream: ours, or that of the one already there."""

    outcome: Outcome
    sequence: int


class StoredMessage(NamedTuple):
    """A message read from a stream; `sequence` is its own, `stored_at` in Unix seconds."""

    subject: str
    sequence: int
    data: bytes
    stored_at: float = 0.0


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    seq: int = 0
    error: _ApiError | None = None


class _Answer(msgspec.Struct):
    success: bool = False
    error: _ApiError | None = None


class _Names(msgspec.Struct):
    streams: list[str] | None = None
    error: _ApiError | None = None


class _Held(msgspec.Struct):
    subject: str
    seq: int
    time: str
    data: bytes = b""
    hdrs: bytes = b""


class _HeldAnswer(msgspec.Struct):
    message: _Held | None = None
    error: _ApiError | None = None


class WrongSequence(NamedTuple):
    """The subject's last message has this sequence, not the expected one."""

    actual: int


_pub_ack = msgspec.json.Decoder(_PubAck)
_answer = msgspec.json.Decoder(_Answer)
_names = msgspec.json.Decoder(_Names)
_held = msgspec.json.Decoder(_HeldAnswer)


async def store(
    bus: Bus, subject: str, payload: bytes, headers: dict[str, str] | None
) -> int | WrongSequence:
    """Publish and wait for the PubAck; return the sequence, or that the expected one was wrong.

    Raises UnknownOutcomeError when it may or may not be stored, SubjectRefusedError or
    TooLargeError when it is not and never will be.
    """
    began = time.perf_counter()
    outcome = "refused"
    try:
        answer = await _store(bus, subject, payload, headers)
        outcome = "conflict" if isinstance(answer, WrongSequence) else "stored"
    except UnknownOutcomeError:
        outcome = "unknown"
        raise
    finally:
        if metrics.STORE_SECONDS.live:
            target = metrics.target_of(subject)
            metrics.STORE_SECONDS.observe(target, value=time.perf_counter() - began)
            metrics.STORE_OUTCOMES.add(target, outcome)
    return answer


async def _store(
    bus: Bus, subject: str, payload: bytes, headers: dict[str, str] | None
) -> int | WrongSequence:
    try:
        message = await bus.request(subject, payload, headers=tracing.outgoing(headers))
    except nats.errors.NoRespondersError:
        raise await _nobody_listens(bus, subject) from None
    except nats.errors.BadSubjectError:
        raise SubjectRefusedError("the subject holds a forbidden character") from None
    except nats.errors.MaxPayloadError:
        raise TooLargeError(f"{len(payload)} bytes are more than a message may have") from None
    except (nats.errors.Error, OSError) as error:
        raise UnknownOutcomeError(f"{subject}: {error or type(error).__name__}") from error
    ack = _pub_ack.decode(message.data)
    if ack.error is None:
        return ack.seq
    return _judge(subject, ack.error)


async def ask(bus: Bus, doing: str, subject: str, payload: bytes = b"") -> Msg:
    """Ask the server; without an answer raises UnknownOutcomeError, which says what was `doing`."""
    try:
        return await bus.request(subject, payload)
    except (nats.errors.Error, OSError) as error:
        raise UnknownOutcomeError(f"{doing}: {error or type(error).__name__}") from error


async def _nobody_listens(bus: Bus, subject: str) -> SubjectRefusedError | UnknownOutcomeError:
    """Tell a subject that no stream takes from a stream whose leader is away for a moment."""
    try:
        message = await bus.request(
            "$JS.API.STREAM.NAMES", msgspec.json.encode({"subject": subject})
        )
    except (nats.errors.Error, OSError) as error:
        return UnknownOutcomeError(f"{subject}: nobody listens, perhaps for now: {error}")
    found = _names.decode(message.data)
    if found.streams:
        return UnknownOutcomeError(f"{subject}: its stream is away")
    if found.error is not None:  # a tenant is not told of streams
        return UnknownOutcomeError(f"{subject}: nobody listens, perhaps for now")
    return SubjectRefusedError(f"no stream takes {subject}", field="subject")


def _judge(subject: str, error: _ApiError) -> WrongSequence:
    if error.err_code == WRONG_LAST_SEQUENCE:
        match = _SEQUENCE.search(error.description)
        return WrongSequence(int(match.group()) if match else 0)
    if error.err_code == MESSAGE_TOO_LARGE:
        raise TooLargeError(f"{subject}: {error.description}")
    # 10077 is also said when the stream is full, and any other code says nothing of a twin of
    # this message that an earlier timed-out call may still have on its way.
    raise UnknownOutcomeError(f"{subject}: {error.err_code} {error.description}")


async def publish_once(bus: Bus, subject: str, payload: bytes) -> Published:
    """Store the first message of a subject, once and for ever; see the module for the answers."""
    with tracing.publishing(subject):
        answer = await store(bus, subject, payload, _ONCE)
    match answer:
        case WrongSequence(actual):
            return Published(Outcome.ALREADY_THERE, actual)
        case sequence:
            return Published(Outcome.STORED, sequence)


async def remove(bus: Bus, stream: Stream | str, sequence: int) -> bool:
    """Remove one message by its sequence, never by subject; False if it was gone already."""
    doing = f"removing {stream} {sequence}"
    body = msgspec.json.encode({"seq": sequence, "no_erase": True})
    message = await ask(bus, doing, f"$JS.API.STREAM.MSG.DELETE.{stream}", body)
    answer = _answer.decode(message.data)
    if answer.error is None:
        return True
    if answer.error.err_code == SEQUENCE_NOT_FOUND:
        return False
    if answer.error.err_code == DELETE_FAILED and answer.error.description in _GONE:
        return False
    raise UnknownOutcomeError(f"{doing}: {answer.error.err_code} {answer.error.description}")


async def last(bus: Bus, stream: Stream | str, subject: str) -> StoredMessage | None:
    """Return the last message of a subject, or None: what was stored before this call is seen."""
    return read_direct(await ask_last(bus, f"reading {subject}", stream, subject))


async def ask_last(bus: Bus, doing: str, stream: Stream | str, subject: str) -> Msg:
    """Ask for the last message of a subject; the answer is a direct get's.

    Any replica answers a direct get, also one that has not heard yet of what was acknowledged, and
    this process of its own write. So that a read is never older than the write before it, a stream
    with replicas is read from its leader.
    """
    if bus.settings.stream_replicas == 1:
        return await ask(bus, doing, f"$JS.API.DIRECT.GET.{stream}.{subject}")
    body = msgspec.json.encode({"last_by_subj": subject})
    message = await ask(bus, doing, f"$JS.API.STREAM.MSG.GET.{stream}", body)
    answer = _held.decode(message.data)
    if answer.error is not None and answer.error.err_code != NO_MESSAGE:
        raise UnknownOutcomeError(f"{doing}: {answer.error.err_code} {answer.error.description}")
    if answer.message is None:
        message.headers, message.data = {Header.STATUS: "404"}, b""
        return message
    held = answer.message
    message.data = held.data
    message.headers = {
        **_headers_of(held.hdrs),
        "Nats-Subject": held.subject,
        "Nats-Sequence": str(held.seq),
        "Nats-Time-Stamp": held.time,
    }
    return message


def _headers_of(raw: bytes) -> dict[str, str]:
    """Read a stored message's headers: a line of protocol, then one line for each."""
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name: value.strip() for name, _, value in pairs}


def read_direct(message: Msg) -> StoredMessage | None:
    """Take a direct get's answer apart; None for 404."""
    headers = message.headers or {}
    status = headers.get(Header.STATUS)
    if status is None:
        return StoredMessage(
            headers["Nats-Subject"],
            int(headers["Nats-Sequence"]),
            message.data,
            datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp(),
        )
    if status == "404":
        return None
    raise UnknownOutcomeError(f"direct get: {status} {headers.get(Header.DESCRIPTION, '')}")
