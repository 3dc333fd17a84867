"""A text in pieces that a server takes, cut where a speaker would breathe. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_END = re.compile(r"(?<=[.!?…])[\"'»”’)\]]*\s+|(?<=[。！？؟।])[\"'»”’)\]]*\s*")  # noqa: RUF001 - other scripts' full stops
_BREATH = re.compile(r"(?<=[,;:،、，；])\s*")  # noqa: RUF001 - other scripts' commas
_SPACE = re.compile(r"\s+")


class Piece(NamedTuple):
    """A part of a text, and where it begins in it."""

    text: str
    begin: int


def pieces(text: str, most: int) -> list[Piece]:
    """Return the text in pieces of at most `most` characters, as few and as whole as can be.

    It is cut between sentences; a longer sentence at a comma; what has none, between two words,
    and a longer word anywhere. White space at the edges is left out.
    """
    return [piece for piece in _cut(text, 0, most, (_END, _BREATH, _SPACE)) if piece.text]


def _cut(text: str, begin: int, most: int, marks: tuple[re.Pattern[str], ...]) -> list[Piece]:
    bare = text.strip()
    if len(bare) <= most:
        return [Piece(bare, begin + len(text) - len(text.lstrip()))]
    if not marks:
        return [Piece(text[at : at + most], begin + at) for at in range(0, len(text), most)]
    found: list[Piece] = []
    at = 0
    for part in _joined(text, most, marks[0]):
        found += _cut(part, begin + at, most, marks[1:])
        at += len(part)
    return found


def _joined(text: str, most: int, mark: re.Pattern[str]) -> list[str]:
    """Return the text's parts between marks, neighbours together for as long as they fit."""
    ends = [match.end() for match in mark.finditer(text) if match.end() > 0]
    parts = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True) if a < b]
    joined = parts[:1]
    for part in parts[1:]:
        if len((joined[-1] + part).strip()) <= most:
            joined[-1] += part
        else:
            joined.append(part)
    return joined
