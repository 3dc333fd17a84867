"""A music bed from a mood, a length and the film's cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.draft_music.grid import fit_grid
from services.draft_music.mixdown import mix_down
from services.draft_music.score import write_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from media.pcm import Samples
    from services.draft_music.direction import Direction
    from services.draft_music.mixdown import Tick
    from services.draft_music.score import Score


class Bed(NamedTuple):
    """The sound, and how it came about."""

    samples: Samples
    direction: Direction
    score: Score


def make_bed(
    seconds: float, direction: Direction, cuts: Sequence[float], seed: int, tick: Tick
) -> Bed:
    """Return a bed of exactly `seconds`; `cuts` ascend within it, the last begins the end card."""
    tick(0.0)
    grid = fit_grid(seconds, direction.bpm, cuts)
    score = write_score(direction, grid, cuts or [grid.seconds_at(grid.end_beat)], seed)
    samples = mix_down(
        score,
        seconds,
        room_seconds=direction.mood.room_seconds,
        pump_db=direction.mood.pump_db,
        tilt_db=direction.mood.tilt_db,
        tick=tick,
    )
    return Bed(samples, direction, score)
