"""The other end of `callback_url`: what a receiver answers and what it reads. Pure.

Who sets ADGENX_HAILUO_CALLBACK_URL runs a receiver there. MiniMax first posts a challenge to it
and wants it back within three seconds, or the order is refused (code 2013); then it posts the task
whenever its status changes. It signs nothing: a receiver takes a callback for a hint to look, and
believes the query alone. This service polls with or without one, so that a machine behind a
router needs none.
"""

from __future__ import annotations

import msgspec

from contracts.errors import MalformedMessageError, ProviderUnavailableError
from services.hailuo.task import Task, decode, task_of

LONGEST_BYTES = 64 * 1024
"""Of a callback's body."""


class _Challenge(msgspec.Struct, frozen=True):
    challenge: str


def answer_challenge(body: bytes) -> bytes | None:
    """Return the body to answer a challenge with; None if the callback is no challenge."""
    if len(body) > LONGEST_BYTES:
        return None
    try:
        challenge = msgspec.json.decode(body, type=_Challenge)
    except msgspec.DecodeError:
        return None
    return msgspec.json.encode(challenge)


def read_callback(body: bytes) -> Task:
    """Return the task that a callback tells of; raises MalformedMessageError if it tells none."""
    if len(body) > LONGEST_BYTES:
        raise MalformedMessageError(f"a callback has more than {LONGEST_BYTES} bytes")
    try:
        task = task_of(decode(body))
    except ProviderUnavailableError as error:
        raise MalformedMessageError(error.message) from None
    if not task.task_id:
        raise MalformedMessageError("a callback names no task")
    return task
