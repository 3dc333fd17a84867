"""How a film is cut into stretches that the model can make, and how they join. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

_STEP = 4  # frames that one latent stands for, after the first


class Segment(NamedTuple):
    """`frames` are made, from frame `first` of the film on.

    The first `kept` of them are not: they are what the segment before has ended with.
    """

    first: int
    frames: int
    kept: int


def plan(total: int, *, most: int, overlap: int) -> list[Segment]:
    """Return segments of one length that cover `total` frames; the last may reach beyond them.

    Each is 4k+1 frames, at most `most`, and begins with the `overlap` last frames of the one
    before. Both numbers are 4k+1 themselves, `overlap` the smaller one.
    """
    if total <= most:
        return [Segment(0, _up(total), 0)]
    count = math.ceil((total - overlap) / (most - overlap))
    frames = _up(math.ceil((total - overlap) / count) + overlap)
    firsts = [n * (frames - overlap) for n in range(count)]
    return [Segment(first, frames, overlap if first else 0) for first in firsts]


def is_length(frames: int) -> bool:
    """Say whether the model can make a film of so many frames: 4k+1."""
    return frames >= 1 and frames % _STEP == 1


def _up(frames: int) -> int:
    return _STEP * math.ceil((frames - 1) / _STEP) + 1
