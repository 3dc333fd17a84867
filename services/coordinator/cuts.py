"""Which cuts of the film there are: the whole one, and shorter ones for what takes less time."""

from __future__ import annotations

import math

import msgspec

from contracts.brief import Brief
from contracts.placement import PLACEMENTS, Ratio
from contracts.script import Script, Shot

FPS = 30
_SLACK_SECONDS = 0.02
"""A film's last frame may end this much behind the placement's limit."""


class CutShot(msgspec.Struct, frozen=True):
    """A shot as long as this cut shows it, and when it begins (seconds)."""

    shot: Shot
    start: float
    seconds: float


class Cut(msgspec.Struct, frozen=True):
    """One cut. `name` is empty for the whole film, else the first placement that needs it."""

    name: str
    shots: tuple[CutShot, ...]

    @property
    def seconds(self) -> float:
        """Length of the cut."""
        last = self.shots[-1]
        return round(last.start + last.seconds, 4)

    @property
    def starts(self) -> list[float]:
        """Return the cuts between shots; the last one begins the end card."""
        return [s.start for s in self.shots[1:]]


class Format(msgspec.Struct, frozen=True):
    """One film to be made: a cut in a ratio, for all placements that can show the same file."""

    cut: Cut
    ratio: Ratio
    placements: tuple[str, ...]

    @property
    def target(self) -> str:
        """Return the last part of the step's name: the ratio, or a cut's first placement."""
        return self.placements[0] if self.cut.name else self.ratio.value


def formats(brief: Brief, script: Script) -> list[Format]:
    """Return every film that the brief's placements need, in the order of its placements."""
    cuts: dict[tuple[tuple[str, float], ...], Cut] = {}
    groups: dict[tuple[tuple[tuple[str, float], ...], Ratio], list[str]] = {}
    for name in brief.placements:
        placement = PLACEMENTS[name]
        if placement.film is None:
            continue
        shots = cut_to(script, placement.max_seconds)
        key = tuple((s.name, seconds) for s, seconds in shots)
        whole = len(shots) == len(script.shots) and all(s.seconds == sec for s, sec in shots)
        cuts.setdefault(key, Cut("" if whole else name, _timed(shots)))
        groups.setdefault((key, placement.film), []).append(name)
    return [Format(cuts[key], ratio, tuple(names)) for (key, ratio), names in groups.items()]


def cut_to(script: Script, max_seconds: float) -> list[tuple[Shot, float]]:
    """Return shots and seconds that fit `max_seconds`.

    First the shots that the short film can do without go, the last one first; once only the others
    are left, they are shown for their `short_seconds`; if even that is too long, all become shorter
    alike.
    """
    chosen = [(s, s.seconds) for s in script.shots]
    # The opening and the end card are what makes it an advertisement: they always stay.
    spare = [s for s in script.shots[1:-1] if not s.in_short]
    while _total(chosen) > max_seconds + _SLACK_SECONDS and spare:
        gone = spare.pop()
        chosen = [(s, seconds) for s, seconds in chosen if s is not gone]
    shorter = [(s, s.short_seconds or s.seconds) for s, _ in chosen]
    only_short = len(chosen) < len(script.shots) and not spare
    if only_short and _total(shorter) <= max_seconds + _SLACK_SECONDS:
        chosen = shorter  # the writer has timed exactly these shots for it
    elif _total(chosen) > max_seconds + _SLACK_SECONDS:
        chosen = shorter
    total = _total(chosen)
    if total > max_seconds + _SLACK_SECONDS:
        factor = max_seconds / total
        chosen = [(s, math.floor(seconds * factor * FPS) / FPS) for s, seconds in chosen]
    return chosen


def _total(shots: list[tuple[Shot, float]]) -> float:
    return sum(seconds for _, seconds in shots)


def _timed(shots: list[tuple[Shot, float]]) -> tuple[CutShot, ...]:
    timed, start = [], 0.0
    for shot, seconds in shots:
        timed.append(CutShot(shot, round(start, 4), round(seconds, 4)))
        start += seconds
    return tuple(timed)
