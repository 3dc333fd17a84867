"""What a receiver gets: pure, from an event to a body and its headers."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from contracts.codec import encode
from contracts.errors import MalformedMessageError, TooLargeError
from contracts.webhook_signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

MAX_BODY_BYTES = 256 * 1024
DISPENSABLE = ("steps", "attempts", "outputs")
"""Lists that a body leaves out, in this order, rather than be too large to be told at all."""

_ID_CHARACTERS = 26


def delivery_id(subject: str, url: str) -> str:
    """Return the id of telling this event to this address: the same however often it is asked."""
    digest = hashlib.sha256(f"{subject}\0{url}".encode()).digest()
    return "msg_" + base64.b32encode(digest).decode("ascii").lower()[:_ID_CHARACTERS]


def body(event: bytes) -> bytes:
    """Return `{"type", "timestamp", "data"}`; `abridged` names what was too large and is left out.

    Raises TooLargeError when even the rest is larger than `MAX_BODY_BYTES`.
    """
    try:
        data: dict[str, Any] = msgspec.json.decode(event, type=dict[str, Any])
        at = datetime.fromtimestamp(float(data.get("at", 0.0)), UTC)
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError):
        raise MalformedMessageError("the event is not one that can be told") from None
    message: dict[str, Any] = {
        "type": data.get("type", ""),
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }
    made = encode(message)
    for name in DISPENSABLE:
        if len(made) <= MAX_BODY_BYTES:
            return made
        if data.pop(name, None) is not None:
            message.setdefault("abridged", []).append(name)
            made = encode(message)
    if len(made) > MAX_BODY_BYTES:
        raise TooLargeError(f"the body has {len(made)} bytes; at most {MAX_BODY_BYTES} are sent")
    return made


def headers(message_id: str, made: bytes, keys: list[str], now: float) -> dict[str, str]:
    """Return the headers of one attempt, signed with every key."""
    timestamp = int(now)
    return {
        "Content-Type": "application/json",
        "User-Agent": "adgenx-webhooks/1",
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(message_id, timestamp, made, keys),
    }
