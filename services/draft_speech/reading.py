"""From written to spoken text: symbols and units become words, and every spoken character still
knows which written ones it stands for.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

_NUMBER = r"\d(?:[\d.,'\u00a0\u202f\u066b\u066c]*\d)?"
_SPACE = r"[ \u00a0\u202f]?"
_ARABIC_FEW = range(3, 11)
_GROUPED = r"\d{1,3}(?:[.,'\u00a0\u202f\u066c]\d{3})+(?![.,]?\d)"
_GROUPING = {"en": ",", "hi": ",", "ja": ",", "zh": ",", "ar": ","}  # a full stop elsewhere


class Lexicon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A language's words for symbols: one thing, several things."""

    percent: str
    and_: str = msgspec.field(name="and")
    plus: str
    between: str
    dot: str
    units: dict[str, tuple[str, str]]
    money: dict[str, tuple[str, str]]


class Piece(NamedTuple):
    """Characters of the spoken text, and the written ones they stand for."""

    spoken: str
    begin: int
    end: int


class Reading(NamedTuple):
    """A line as it is spoken."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The spoken text."""
        return "".join(piece.spoken for piece in self.pieces)

    def written_span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the written characters behind the spoken ones `begin` to before `end`."""
        at, low, high = 0, None, 0
        for piece in self.pieces:
            first, last = max(begin, at), min(end, at + len(piece.spoken))
            if first < last:
                plain = len(piece.spoken) == piece.end - piece.begin
                start = piece.begin + (first - at if plain else 0)
                stop = piece.begin + (last - at) if plain else piece.end
                low, high = (start if low is None else low), stop
            at += len(piece.spoken)
        return (low if low is not None else high), high


def read_line(text: str, language: str) -> Reading:
    """Return how `text` is spoken in a language that there is a lexicon for."""
    lexicon, pattern = _lexicons()[language], _pattern(language)
    pieces: list[Piece] = []
    at = 0
    for match in pattern.finditer(text):
        if match.start() > at:
            pieces.append(Piece(text[at : match.start()], at, match.start()))
        pieces += _spoken(match, lexicon, language)
        at = match.end()
    if at < len(text):
        pieces.append(Piece(text[at:], at, len(text)))
    return Reading(tuple(pieces))


def languages() -> frozenset[str]:
    """Return the languages that there is a lexicon for."""
    return frozenset(_lexicons())


@cache
def _lexicons() -> dict[str, Lexicon]:
    source = Path(__file__).with_name("spoken.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(source, type=dict[str, Lexicon])


@cache
def _pattern(language: str) -> re.Pattern[str]:
    lexicon = _lexicons()[language]
    money, units = _either(lexicon.money), _either(lexicon.units)
    return re.compile(
        rf"(?P<money_first>{money}){_SPACE}(?P<amount_after>{_NUMBER})"
        rf"|(?P<amount>{_NUMBER}){_SPACE}(?P<money_last>{money})(?!\w)"
        rf"|(?P<share>{_NUMBER}){_SPACE}[%\u066a]"
        rf"|(?P<count>{_NUMBER}){_SPACE}(?P<unit>{units})(?!\w)"
        rf"|(?P<grouped>{_GROUPED})"
        rf"|(?P<range>(?<=\d){_SPACE}[-\u2013]{_SPACE}(?=\d))"
        rf"|(?P<dot>(?<=[a-z0-9])\.(?=[a-z]))"
        rf"|(?P<and>&)|(?P<plus>\+)|(?P<silent>[*_#|\u2022\u2122\u00ae\u00a9])"
    )


def _either(names: dict[str, tuple[str, str]]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def _spoken(match: re.Match[str], lexicon: Lexicon, language: str) -> list[Piece]:
    counted = {"amount_after": "money_first", "amount": "money_last", "count": "unit"}
    for number, symbol in counted.items():
        if match[number]:
            words = (lexicon.units if symbol == "unit" else lexicon.money)[match[symbol]]
            return _counted(match, number, words, language)
    if match["share"] and language != "zh":
        return _counted(match, "share", (lexicon.percent, lexicon.percent), language)
    said = {
        "share": f"百分之{_digits(match['share'] or '', language)}",  # only Chinese comes here
        "grouped": _digits(match["grouped"] or "", language),
        "range": f" {lexicon.between} ",
        "dot": f" {lexicon.dot} ",
        "and": f" {lexicon.and_} ",
        "plus": f" {lexicon.plus} ",
        "silent": " ",
    }
    word = next(said[name] for name in said if match[name])
    return [Piece(word, match.start(), match.end())]


def _counted(
    match: re.Match[str], number: str, words: tuple[str, str], language: str
) -> list[Piece]:
    """Return number and word; where they are written apart, each keeps its own characters."""
    digits = _digits(match[number], language)
    word = _agreeing(digits, words, language)
    begin, end = match.span(number)
    apart = match.end() - end > 1 and begin == match.start()
    if apart:
        return [Piece(digits, begin, end), Piece(f" {word}", end, match.end())]
    return [Piece(f"{digits} {word}", match.start(), match.end())]


def _agreeing(digits: str, words: tuple[str, str], language: str) -> str:
    whole = int(digits) if digits.isdigit() else None
    if language == "ar":
        return words[1] if whole in _ARABIC_FEW else words[0]
    if language == "fr":
        return (
            words[0] if digits[0] in "01" and len(re.split(r"[.,]", digits)[0]) == 1 else words[1]
        )
    return words[0] if whole == 1 else words[1]


def _digits(number: str, language: str) -> str:
    """Return a number in ASCII digits, without the marks that only group its thousands."""
    plain = number.translate({0x066B: ".", 0x066C: ",", 0x00A0: None, 0x202F: None, 0x27: None})
    mark = re.escape(_GROUPING.get(language, "."))
    joined = re.sub(rf"(?<=\d){mark}(?=\d{{3}}(?!\d))", "", plain)
    return "".join(str(int(c)) if c.isdigit() else c for c in joined)
