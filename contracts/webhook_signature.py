"""Signatures of webhooks, as Standard Webhooks has them (HMAC-SHA256, version `v1`).

Needs Python's standard library and nothing else, so that a receiver may copy this file as it is:

    event_id = verify(request.headers, request.body, ["whsec_..."], now=time.time())

`body` must be the bytes as they came, not a JSON that was parsed and written again. A delivery may
come more than once: the same `event_id` says that it is the same one.

    SignatureError
    ├── HeaderMissingError      one of the three headers is not there, or empty
    ├── TimestampError          not a number of seconds, or too far from now: perhaps replayed
    ├── NoMatchError            no key made any of the signatures: forged, altered, or another key
    └── KeyUnusableError        a key of ours is not `whsec_` and base64 of 16 to 64 bytes
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
KEY_PREFIX = "whsec_"
TOLERANCE_SECONDS = 300.0
"""How far the sender's clock and the way here may be off."""

_VERSION = "v1"
_NEW_KEY_BYTES = 32
_KEY_BYTES = range(16, 65)
_MOST_SIGNATURES = 16
_SECONDS = re.compile(r"\A[0-9]{1,12}\Z")


class SignatureError(Exception):
    """The delivery cannot be trusted: answer 401, and do nothing that it says."""


class HeaderMissingError(SignatureError):
    """One of the three headers is not there, or empty."""


class TimestampError(SignatureError):
    """The timestamp is no number of seconds, or too far from now."""


class NoMatchError(SignatureError):
    """None of the keys made any of the signatures."""


class KeyUnusableError(SignatureError):
    """A key is not `whsec_` followed by base64; the message never shows it."""


def new_key() -> str:
    """Return a fresh random key of 256 bits."""
    return KEY_PREFIX + base64.b64encode(secrets.token_bytes(_NEW_KEY_BYTES)).decode()


def sign(message_id: str, timestamp: int, body: bytes, keys: Iterable[str]) -> str:
    """Return the signature header: one signature for each key; `timestamp` in Unix seconds."""
    return " ".join(
        f"{_VERSION},{base64.b64encode(_mac(_secret(key), message_id, timestamp, body)).decode()}"
        for key in keys
    )


def verify(
    headers: Mapping[str, str],
    body: bytes,
    keys: Iterable[str],
    now: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str:
    """Return the message's id if one of the keys signed it lately, or raise a SignatureError.

    `headers` may be spelled in any case; `now` is Unix seconds.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id = _header(given, ID_HEADER)
    timestamp = _timestamp(_header(given, TIMESTAMP_HEADER), now, tolerance_seconds)
    signatures = _signatures(_header(given, SIGNATURE_HEADER))
    matches = False
    for secret in [_secret(key) for key in keys]:
        expected = _mac(secret, message_id, timestamp, body)
        for signature in signatures:
            # Compared to the end, match or not: how long it takes says nothing.
            matches |= hmac.compare_digest(expected, signature)
    if not matches:
        raise NoMatchError("none of the keys made any of the signatures")
    return message_id


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise HeaderMissingError(f"the header {name} is missing")
    return value


def _timestamp(text: str, now: float, tolerance_seconds: float) -> int:
    if not _SECONDS.match(text):
        raise TimestampError("the timestamp is not a number of seconds")
    timestamp = int(text)
    if abs(now - timestamp) > tolerance_seconds:
        raise TimestampError(f"the timestamp is more than {tolerance_seconds:g} s from now")
    return timestamp


def _signatures(text: str) -> list[bytes]:
    """Return the signatures of our version; others, and what is no base64, are passed over."""
    found = []
    for part in text.split(" ")[:_MOST_SIGNATURES]:
        version, _, value = part.partition(",")
        if version == _VERSION:
            try:
                found.append(base64.b64decode(value, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found


def _secret(key: str) -> bytes:
    try:
        secret = base64.b64decode(key.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise KeyUnusableError("a key is not base64") from None
    if len(secret) not in _KEY_BYTES:
        raise KeyUnusableError(f"a key has {len(secret)} bytes; 16 to 64 are accepted")
    return secret


def _mac(secret: bytes, message_id: str, timestamp: int, body: bytes) -> bytes:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return hmac.digest(secret, signed, hashlib.sha256)
