"""The shape of a bed: sections between the cuts, how dense each is, and its chords."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.draft_music.grid import BEATS_PER_BAR
from services.draft_music.harmony import Chord, parse_chord, pitch_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from services.draft_music.direction import Direction
    from services.draft_music.grid import Grid

_RING_SECONDS = 1.9  # the last chord needs so long to die away
_SHORTEST_SECTION = 3  # beats
_WAVE = 7  # a film of more sections than this breathes in the middle


class Span(NamedTuple):
    """A chord and the beats it sounds."""

    start: float
    end: float
    chord: Chord


class Shape(NamedTuple):
    """Everything about a bed that is decided before a note is."""

    grid: Grid
    steps: tuple[tuple[float, float], ...]
    """(first beat, intensity) of every section, ascending."""
    spans: tuple[Span, ...]
    last_beat: float
    """The beat of the last stroke; after it everything rings."""
    shift: int
    """Semitones from the written C."""

    def intensity(self, beat: float) -> float:
        """Return how dense the music is at a beat, 0 to 1."""
        current = 0.0
        for start, level in self.steps:
            if beat < start - 1e-6:
                break
            current = level
        return current

    def span_at(self, beat: float) -> Span:
        """Return the chord at a beat."""
        return next(s for s in reversed(self.spans) if s.start <= beat + 1e-6 or s.start == 0)


def shape_of(
    direction: Direction, grid: Grid, cuts: Sequence[float], rng: np.random.Generator
) -> Shape:
    """Return the shape: the same for the same direction, cuts and state of `rng`."""
    mood = direction.mood
    shift = pitch_class(mood.tonic) + int(rng.integers(-1, 2))
    last = _last_beat(grid)
    names = mood.progressions[int(rng.integers(len(mood.progressions)))]
    return Shape(
        grid=grid,
        steps=_steps(grid, cuts, direction.energy, last),
        spans=tuple(_spans(grid, names, mood.cadence, mood.home, shift)),
        last_beat=last,
        shift=shift,
    )


def _last_beat(grid: Grid) -> float:
    """Return the last downbeat that leaves its chord time to ring, the end card's at the latest."""
    fitting = [b for b in grid.downbeats() if grid.seconds_at(b) <= grid.seconds - _RING_SECONDS]
    return float(max([grid.end_beat, *fitting]))


def _steps(
    grid: Grid, cuts: Sequence[float], energy: float, last: float
) -> tuple[tuple[float, float], ...]:
    starts = [0]
    for cut in [*cuts[:-1]] or _even_cuts(grid):
        beat = round(grid.beat_at(cut))
        if beat - starts[-1] >= _SHORTEST_SECTION and grid.end_beat - beat >= _SHORTEST_SECTION:
            starts.append(beat)
    count = len(starts)
    rise = [_arc(index, count) for index in range(count)]
    low = 0.42 * energy
    steps = [(float(s), low + (energy - low) * r) for s, r in zip(starts, rise, strict=True)]
    after = 0.75 * energy if last > grid.end_beat else 0.0
    return (*steps, (float(grid.end_beat), after), (last, 0.0))


def _even_cuts(grid: Grid) -> list[float]:
    """Return section starts for a film whose cuts nobody told: every two or four bars."""
    bars = 4 if grid.end_beat > 16 * BEATS_PER_BAR else 2
    first = grid.end_beat % BEATS_PER_BAR or BEATS_PER_BAR
    return [grid.seconds_at(b) for b in range(first, grid.end_beat, bars * BEATS_PER_BAR)]


def _arc(index: int, count: int) -> float:
    """Return the share of the full band in section `index` of `count`, the end card not counted."""
    if count == 1:
        return 0.7
    place = index / (count - 1)
    if count <= _WAVE:
        return float(place**0.8)
    middle = 0.55 * max(0.0, 1 - abs(place - 0.55) / 0.12)
    return min(1.0, place * 2.2) - middle


def _spans(
    grid: Grid, progression: list[str], cadence: list[str], home: str, shift: int
) -> list[Span]:
    """Lay chords on bars, counted backwards from the end card, which always gets `home`."""
    before = [b for b in grid.downbeats() if b < grid.end_beat]
    names = [progression[(i - len(before)) % len(progression)] for i in range(len(before))]
    led = min(len(cadence), max(0, len(before) - 1))
    if led:
        names[-led:] = cadence[-led:]
    edges = [*before, grid.end_beat]
    spans = [
        Span(start, end, parse_chord(name, shift))
        for start, end, name in zip(edges, edges[1:], names, strict=False)
    ]
    total = grid.beat_at(grid.seconds)
    return [*spans, Span(grid.end_beat, max(total, grid.end_beat + 1), parse_chord(home, shift))]
