"""Asking what was told before: a tenant hears its events as they come, and asks for older ones.

Request-reply under `adgenx.ask.<tenant>.events`; whose events they are stands in the subject alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from contracts.errors import ErrorInfo
from contracts.identity import NO_CAMPAIGN, is_id


class AskEvents(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
    tag_field="type", tag="ask_events.v1",
):  # fmt: skip
    """Which events: a pattern with NATS's wildcards, below the tenant's own, such as `spring.>`.

    `after` is the sequence of the last one that is known already.
    """

    pattern: Annotated[str, msgspec.Meta(max_length=400)] = ">"
    after: Annotated[int, msgspec.Meta(ge=0)] = 0


class ToldEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it was told: its subject, its place in the stream, when (Unix seconds)."""

    subject: str
    sequence: int
    at: float
    body: msgspec.Raw


class ToldEvents(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True,
    tag_field="type", tag="told_events.v1",
):  # fmt: skip
    """What was told, in order. With `more`, ask again behind the last one."""

    events: list[ToldEvent] = []
    more: bool = False
    error: ErrorInfo | None = None


def is_pattern(text: str) -> bool:
    """Say whether a pattern is one that an event's subject could match."""
    *tokens, last = text.split(".")
    return (last == ">" or _is_token(last)) and all(map(_is_token, tokens))


def _is_token(token: str) -> bool:
    return token in ("*", NO_CAMPAIGN) or is_id(token)
