"""How a piece longer than the model makes at once is put together. Pure.

Each further stretch goes on from the last seconds of what there is: those are given to the model as
they are, it invents what follows, and the two are blended where they are the same music.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Stretch(NamedTuple):
    """Seconds `start` to `end` of the piece; `known` of them, at its beginning, are there already.

    `made` seconds are asked of the model: more than are used of every stretch but the last, since
    it ends whatever it makes.
    """

    start: float
    end: float
    known: float
    made: float


def plan(seconds: float, *, most: float, overlap: float, coda: float) -> list[Stretch]:
    """Return stretches of one length that cover `seconds`, each of at most `most` seconds.

    They overlap by `overlap`; all but the last are made with a coda of so many seconds that is
    thrown away. Both together are less than `most`.
    """
    if seconds <= most:
        return [Stretch(0.0, seconds, 0.0, seconds)]
    used = most - coda
    count = math.ceil((seconds - overlap) / (used - overlap))
    step = (seconds - overlap) / count
    found = []
    for n in range(count):
        start, last = n * step, n == count - 1
        end = seconds if last else start + step + overlap
        made = end - start + (0.0 if last else coda)
        found.append(Stretch(start, end, overlap if n else 0.0, made))
    return found
