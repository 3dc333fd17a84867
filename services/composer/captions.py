"""Captions: what is spoken, in balanced groups, timed by word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from services.composer import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from contracts.script import SpeechTimings

_LEAD, _HOLD = 0.06, 0.45
_NOTHING = re.compile(r"[\W_]+")
_SHORTEST_WORD = 0.08


@dataclass(frozen=True, slots=True)
class Token:
    """One word as it is shown, and when it is spoken (seconds of the film)."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Group:
    """Words that are shown together, from `start` to `end` (seconds of the film)."""

    tokens: tuple[Token, ...]
    start: float
    end: float

    @property
    def text(self) -> str:
        """The group as one line."""
        return " ".join(token.text for token in self.tokens)


def words(text: str) -> set[str]:
    """Return the words of a text without case and punctuation."""
    return {bare for word in text.split() if (bare := _NOTHING.sub("", word).casefold())}


def lines(timings: SpeechTimings) -> list[list[Token]]:
    """Return every spoken line as the tokens of its script, timed by the words in them.

    A token without a word of its own (a dash, a number the voice reads as one with the next)
    takes its time from its neighbours.
    """
    return [_timed(timings, n) for n in range(len(timings.lines))]


def _timed(timings: SpeechTimings, number: int) -> list[Token]:
    line = timings.lines[number]
    spans = [match.span() for match in re.finditer(r"\S+", line.text)]
    heard: list[tuple[float, float] | None] = [None] * len(spans)
    for word in (w for w in timings.words if w.line == number):
        for n, (begin, end) in enumerate(spans):
            if word.begin < end and begin < word.end:
                before = heard[n]
                start = before[0] if before else word.start_ms / 1000
                heard[n] = (start, word.end_ms / 1000)
    start = line.start_ms / 1000
    tokens = []
    for n, (begin, end) in enumerate(spans):
        known = heard[n]
        ahead = next((h[0] for h in heard[n + 1 :] if h), line.end_ms / 1000)
        first = max(start, known[0]) if known else start
        last = max(first + _SHORTEST_WORD, known[1] if known else ahead)
        tokens.append(Token(line.text[begin:end], first, last))
        start = last if known else first
    return tokens


def groups(
    spoken: Sequence[Sequence[Token]], width_of: Callable[[str], float], room: float
) -> list[Group]:
    """Break lines into groups no wider than `room`; `width_of` measures a text in its unit.

    A group stays until the next one comes, at most a moment after its last word.
    """
    broken = [part for tokens in spoken if tokens for part in _broken(list(tokens), width_of, room)]
    starts = [part[0].start - _LEAD for part in broken]
    ends = [part[-1].end + _HOLD for part in broken]
    for n, (_, following) in enumerate(pairwise(starts)):
        ends[n] = min(ends[n], following)
    return [
        Group(tuple(part), max(0.0, start), end)
        for part, start, end in zip(broken, starts, ends, strict=True)
    ]


def _broken(
    tokens: list[Token], width_of: Callable[[str], float], room: float
) -> list[list[Token]]:
    """Break one line into as few groups as fit, as even as they can be, without orphans."""
    parts = [token.text for token in tokens]
    for count in range(1, len(parts) + 1):
        fitting = [
            lines
            for lines in fit.breaks(parts, count)
            if len(lines) == count and all(width_of(line) <= room for line in lines)
        ]
        if fitting:
            best = min(fitting, key=lambda lines: fit.ugliness(lines, [*map(width_of, lines)]))
            return _dealt(tokens, best)
    return [[token] for token in tokens]


def _dealt(tokens: list[Token], lines: Sequence[str]) -> list[list[Token]]:
    dealt, at = [], 0
    for line in lines:
        count = len(line.split())
        dealt.append(tokens[at : at + count])
        at += count
    return dealt


def srt(shown: Sequence[Group]) -> str:
    """Return groups as a SubRip file."""
    cues = (
        f"{n}\n{_stamp(g.start, ',')} --> {_stamp(g.end, ',')}\n{g.text}\n"
        for n, g in enumerate(shown, 1)
    )
    return "\n".join(cues)


def vtt(shown: Sequence[Group]) -> str:
    """Return groups as a WebVTT file."""
    cues = (f"{_stamp(g.start, '.')} --> {_stamp(g.end, '.')}\n{g.text}\n" for g in shown)
    return "\n".join(("WEBVTT\n", *cues))


def _stamp(seconds: float, point: str) -> str:
    whole = round(seconds * 1000)
    return (
        f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}"
        f"{point}{whole % 1000:03}"
    )
