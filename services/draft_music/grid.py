"""Beats and seconds: a tempo that bends a little so that the film's cuts fall on beats.

Between two cuts the tempo may leave the wanted one by a twentieth, which nobody hears as a change
of speed. Among all ways to put cuts on beats the one is taken that catches the most important
cuts (the end card first) with the least bending.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

BEATS_PER_BAR = 4
_MOST_BEND = 0.05  # share of the tempo
_MOST_BEND_FOR_END_CARD = 0.2  # in a film too short to hide it, rather a new tempo than a miss
_BENDING_COSTS = 0.5  # of one caught cut, at the most bend
_END_CARD_WEIGHT = 4.0


class Anchor(NamedTuple):
    """A beat whose time is fixed."""

    beat: int
    seconds: float


class Grid(NamedTuple):
    """The piecewise even map between beats and seconds; beat 0 is at 0 s."""

    anchors: tuple[Anchor, ...]
    bpm: float
    end_beat: int
    """The downbeat on which the end card appears; bars are counted from it, both ways."""
    seconds: float

    def seconds_at(self, beat: float) -> float:
        """Return the time of a beat, whole or not."""
        index = bisect_right(self.anchors, beat, key=lambda a: a.beat) - 1
        here = self.anchors[max(0, index)]
        return here.seconds + (beat - here.beat) * self._beat_seconds(max(0, index))

    def beat_at(self, seconds: float) -> float:
        """Return the beat, with its fraction, at a time."""
        index = max(0, bisect_right(self.anchors, seconds, key=lambda a: a.seconds) - 1)
        here = self.anchors[index]
        return here.beat + (seconds - here.seconds) / self._beat_seconds(index)

    def downbeats(self) -> list[int]:
        """Return the first beat of every bar; a first bar that is cut short begins at 0."""
        last = math.ceil(self.beat_at(self.seconds) - 1e-6)
        first = self.end_beat % BEATS_PER_BAR
        return sorted({0, *range(first, max(last, 1), BEATS_PER_BAR)})

    def _beat_seconds(self, index: int) -> float:
        if index + 1 < len(self.anchors):
            here, there = self.anchors[index], self.anchors[index + 1]
            return (there.seconds - here.seconds) / (there.beat - here.beat)
        return 60.0 / self.bpm


def fit_grid(seconds: float, bpm: float, cuts: Sequence[float]) -> Grid:
    """Return the grid of a bed of `seconds` whose cuts (ascending, the last one the end card)
    fall on beats where the tempo allows it. Without cuts an end card is put where films have it.
    """
    if not cuts:
        return Grid((Anchor(0, 0.0),), bpm, _usual_end_beat(seconds, bpm), seconds)
    anchors = _best_path([0.0, *cuts], bpm)
    grid = Grid(anchors, bpm, 0, seconds)
    return grid._replace(end_beat=round(grid.beat_at(cuts[-1])))


def _usual_end_beat(seconds: float, bpm: float) -> int:
    end_card = min(4.0, max(2.0, 0.22 * seconds))
    return max(0, round((seconds - end_card) * bpm / 60.0))


def _best_path(times: list[float], bpm: float) -> tuple[Anchor, ...]:
    """Choose the anchors among `times` (the first is 0) with the highest score, exactly."""
    best = [(0.0, 0)] + [(-math.inf, 0)] * (len(times) - 1)  # score, predecessor
    for here in range(1, len(times)):
        ends = here == len(times) - 1
        weight = _END_CARD_WEIGHT if ends else 1.0
        most = _MOST_BEND_FOR_END_CARD if ends else _MOST_BEND
        for before in range(here):
            bend = _bend(times[here] - times[before], bpm, most)
            if bend is not None and best[before][0] + weight - bend > best[here][0]:
                best[here] = (best[before][0] + weight - bend, before)
    last = max(range(len(times)), key=lambda index: best[index][0])
    path = [last]
    while path[-1] != 0:
        path.append(best[path[-1]][1])
    anchors = [Anchor(0, 0.0)]
    for index in reversed(path[:-1]):
        span = times[index] - anchors[-1].seconds
        anchors.append(Anchor(anchors[-1].beat + round(span * bpm / 60.0), times[index]))
    return tuple(anchors)


def _bend(span: float, bpm: float, most: float) -> float | None:
    """Return what it costs to fill `span` with whole beats, None where it bends too far."""
    exact = span * bpm / 60.0
    beats = round(exact)
    if beats < 1:
        return None
    off = abs(beats / exact - 1.0)
    return _BENDING_COSTS * off / _MOST_BEND if off <= most else None
