"""A sketch of a film's rhythm in sound: what the model starts from, so that accents fall on cuts.

It is no music, and is drowned in noise before the model hears it: what stays is where it is loud.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

_BEAT_LEVEL, _ACCENT_LEVEL = 0.12, 0.6
_BEAT_SECONDS, _ACCENT_SECONDS = 0.08, 0.5  # in which a stroke falls by 60 dB
_FLOOR_LEVEL = 0.02
_RISE = 0.5  # of the level that is left for the end of the build


def sketch(seconds: float, rate: int, *, bpm: float, cuts: Sequence[float]) -> NDArray[Any]:
    """Return (2, n) float32: a pulse on every beat, an accent on every cut, a build to the last.

    After the last cut there are no beats. Cuts beyond `seconds` are left out.
    """
    count = round(seconds * rate)
    level = np.full(count, _FLOOR_LEVEL)
    end = min([*cuts[-1:], seconds])
    for beat in np.arange(0.0, end, 60.0 / bpm):
        build = 1 - _RISE * (1 - beat / end)
        _strike(level, round(beat * rate), _BEAT_LEVEL * build, _BEAT_SECONDS * rate)
    for cut in cuts:
        _strike(level, round(cut * rate), _ACCENT_LEVEL, _ACCENT_SECONDS * rate)
    noise = np.random.default_rng(3).standard_normal((2, count))
    return np.asarray(np.clip(noise / 3, -1, 1) * level, np.float32)


def _strike(level: NDArray[Any], at: int, loud: float, frames: float) -> None:
    """Raise a level from frame `at` on; it falls off again by 60 dB in so many frames."""
    rest = level[at:]
    fall = loud * np.exp(-6.91 * np.arange(min(len(rest), round(frames))) / frames)
    np.maximum(rest[: len(fall)], fall, out=rest[: len(fall)])
