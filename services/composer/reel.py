"""The film frame by frame: plates decoded, type laid over them, shots wiped into one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from media.pixels import Planes
from services.composer.film import WIPE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.composer.film import Cut, Film

    Plates = Callable[[Path, int, int], Iterator[Planes]]

SEGMENT = 60
"""Frames of a segment: a plate's key frame distance, so that no worker decodes for nothing."""

_SHORTEST = 20
_PARALLAX = 0.26  # of the frame that the old shot moves while it is wiped away
_ARRIVAL = 0.05  # of the frame that the new shot still moves as it is uncovered


def segments(film: Film) -> list[int]:
    """Return the first frames of the segments: shots, and every two seconds of longer ones."""
    starts = []
    for cut in film.cuts:
        steps = range(0, max(1, cut.frames - _SHORTEST), SEGMENT)
        starts += [cut.first + step for step in steps]
    return starts


def painter(film: Film, plates: Plates) -> Callable[[int, int], Iterator[Planes]]:
    """Return the function that draws a segment; `plates(path, first, count)` decodes."""

    def paint(first: int, end: int) -> Iterator[Planes]:
        number = next(n for n, cut in enumerate(film.cuts) if cut.first <= first < cut.end)
        cut = film.cuts[number]
        wipe = round(WIPE_SECONDS * film.fps) if cut.wiped else 0
        start = first - cut.first
        old = _last(film, film.cuts[number - 1], plates) if start < wipe else None
        out = Planes.blank(film.width, film.height)
        for n, plate in enumerate(plates(cut.plate, start, end - first), start):
            cut.stage.draw(plate, n / film.fps)
            picture = plate
            if old is not None and n < wipe:
                _WIPES[cut.shot.enter](out, old, plate, eased((n + 1) / (wipe + 1)))
                picture = out
            film.overlay.draw(picture, (cut.first + n) / film.fps)
            yield picture

    return paint


def _last(film: Film, cut: Cut, plates: Plates) -> Planes:
    """Return the last picture of a shot, type included: what the wipe pushes away."""
    picture = next(iter(plates(cut.plate, cut.frames - 1, 1))).copy()
    cut.stage.draw(picture, (cut.frames - 1) / film.fps)
    return picture


def eased(share: float) -> float:
    """Ease a wipe: a quick start, a long settling."""
    early = float(share**0.75)
    return early * early * (3 - 2 * early)


def wipe_up(out: Planes, old: Planes, new: Planes, share: float) -> None:
    """Uncover `new` from below while `old` moves up, `share` 0 to 1."""
    height = out.height
    edge = _even(height * (1 - share))
    shift = min(_even(_PARALLAX * height * share), height - edge)
    late = min(_even(_ARRIVAL * height * (1 - share)), edge)
    for scale, into, before, after in _planes(out, old, new):
        e, s, d, h = edge // scale, shift // scale, late // scale, height // scale
        into[:e] = before[s : s + e]
        into[e:] = after[e - d : h - d]


def wipe_left(out: Planes, old: Planes, new: Planes, share: float) -> None:
    """Uncover `new` from the right while `old` moves left, `share` 0 to 1."""
    width = out.width
    edge = _even(width * (1 - share))
    shift = min(_even(_PARALLAX * width * share), width - edge)
    late = min(_even(_ARRIVAL * width * (1 - share)), edge)
    for scale, into, before, after in _planes(out, old, new):
        e, s, d, w = edge // scale, shift // scale, late // scale, width // scale
        into[:, :e] = before[:, s : s + e]
        into[:, e:] = after[:, e - d : w - d]


_WIPES = {"wipe_up": wipe_up, "wipe_left": wipe_left}


def _even(value: float) -> int:
    return int(value / 2) * 2


def _planes(
    out: Planes, old: Planes, new: Planes
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    yield 1, out.y, old.y, new.y
    yield 2, out.u, old.u, new.u
    yield 2, out.v, old.v, new.v
