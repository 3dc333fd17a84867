"""The score of a bed: every player's strokes, and the gestures that belong to the film's cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from services.draft_music.direction import Direction
from services.draft_music.form import Shape, shape_of
from services.draft_music.grid import Grid
from services.draft_music.note import Tone
from services.draft_music.part import Player, Stroke

_PLAIN = (60.0,)
_SIXTEENTH_SECOND = 16  # gestures are as long as the orchestra rounds lengths to


class Score(NamedTuple):
    """What is played, and what the mixer has to know."""

    shape: Shape
    strokes: list[Stroke]
    kicks: list[float]
    """Seconds at which pumped parts step back."""


def write_score(direction: Direction, grid: Grid, cuts: Sequence[float], seed: int) -> Score:
    """Return the score: the same arguments give the same notes.

    Every part draws from a sequence of its own, so that a change to one player changes no other.
    """
    mood = direction.mood
    rng = np.random.default_rng([seed, 0])
    shape = shape_of(direction, grid, cuts, rng)
    scale = str(rng.choice(mood.scales)) if mood.scales else mood.scale
    strokes: list[Stroke] = []
    kicks: list[float] = []
    for number, part in enumerate(mood.parts, start=1):
        player = Player(part, mood, shape, np.random.default_rng([seed, number]), scale)
        played = list(player.strokes())
        strokes += played
        if part.voice in {"kick", "heartbeat"}:
            kicks += [stroke.seconds for stroke in played]
    strokes += _cut_gestures(direction, cuts[:-1])
    strokes += _end_gestures(direction, shape, cuts[-1])
    strokes += _fill(direction, shape, rng)
    return Score(shape, sorted(strokes, key=lambda s: s.seconds), sorted(kicks))


def _cut_gestures(direction: Direction, cuts: Sequence[float]) -> Iterator[Stroke]:
    """Breathe in before each cut and touch it; on the cut itself, wherever the beat lies."""
    mood = direction.mood
    before = 0.0
    for cut in cuts:
        length = min(0.75, int((cut - before) * _SIXTEENTH_SECOND / 2) / _SIXTEENTH_SECOND)
        if length > 0.1:  # noqa: PLR2004 - cuts faster than this are heard as one
            yield _gesture("swell", cut - length, mood.swell_db, length)
            yield _gesture(mood.accent, cut, mood.accent_db, 0.5)
        before = cut


def _end_gestures(direction: Direction, shape: Shape, hit: float) -> Iterator[Stroke]:
    """Lift into the end card, which appears at `hit` seconds, and land on it."""
    mood, grid = direction.mood, shape.grid
    length = min(2.0, int(hit * _SIXTEENTH_SECOND / 2) / _SIXTEENTH_SECOND)
    lively = 12.0 * (direction.energy - mood.energy)
    if length > 0.1:  # noqa: PLR2004 - an end card from the first frame has nothing before it
        yield _gesture("riser", hit - length, mood.riser_db + lively, length)
        yield _gesture("swell", hit - min(1.0, length), mood.swell_db + 2, min(1.0, length))
    yield _gesture("impact", hit, mood.impact_db + lively, 1.0)
    yield _gesture(mood.accent, hit, mood.accent_db + 3, 1.0)
    if shape.last_beat > grid.end_beat:
        last = grid.seconds_at(shape.last_beat)
        yield _gesture("impact", last, mood.impact_db + lively - 4, 1.0)


def _fill(direction: Direction, shape: Shape, rng: np.random.Generator) -> Iterator[Stroke]:
    """Roll over the two beats before the end card, louder towards it, and leave a breath."""
    mood, grid = direction.mood, shape.grid
    if mood.fill == "none" or direction.energy < 0.5:  # noqa: PLR2004 - calm music has no rolls
        return
    beats = np.arange(grid.end_beat - 2, grid.end_beat - 0.4, 0.25)
    for number, beat in enumerate(beats):
        if beat < 0 or (number not in {0, 3, 4, 6} and rng.random() < 0.5):  # noqa: PLR2004 - half
            continue
        force = 0.45 + 0.5 * number / len(beats)
        tone = Tone(_PLAIN, 0.25, force, seed=number % 3)
        gain = mood.accent_db + 2.0 + 8.0 * (force - 0.7)
        yield Stroke(grid.seconds_at(float(beat)), mood.fill, tone, gain, 0.2 - 0.06 * number, -9.0)


def _gesture(voice: str, seconds: float, gain_db: float, length: float) -> Stroke:
    tone = Tone((76.0,) if voice == "glass" else _PLAIN, length, 0.7, seed=5)
    return Stroke(max(0.0, seconds), voice, tone, gain_db, 0.0, -12.0)
