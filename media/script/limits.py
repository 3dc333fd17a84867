"""How many characters each ad manager takes, and how a text is cut to fit."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Characters that a platform's fields take; 0 where there is no such field."""

    primary: int
    headline: int
    description: int
    tags: int


class LimitTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """limits.toml."""

    platform: dict[str, Limits]
    placement: dict[str, str]


@cache
def _table() -> LimitTable:
    text = resources.files(__package__).joinpath("limits.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=LimitTable)


def limits_of(placement: str) -> Limits:
    """Return the limits of a placement; every display size has those of responsive display."""
    table = _table()
    return table.platform[table.placement.get(placement, "display")]


def cut(text: str, limit: int) -> str:
    """Cut a text at a word's end, with an ellipsis, where it is longer than the limit."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    whole, gap, _ = head.rpartition(" ")
    return f"{(whole if gap and len(whole) > limit // 2 else head).rstrip(' ,;:–-')}…"  # noqa: RUF001 - a dash that stood between words
