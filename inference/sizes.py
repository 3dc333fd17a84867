"""Sizes and lengths that a model can make, as near as can be to those that are asked for. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple


class Size(NamedTuple):
    """A picture's sides in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.width}x{self.height}"


def fit(width: int, height: int, *, multiple: int, max_pixels: int, min_side: int = 0) -> Size:
    """Return the size to make for a picture of `width` x `height`.

    Both sides are multiples of `multiple`, their product is at most `max_pixels` (0: no limit), no
    side is below `min_side` unless the limit wants it so, and the aspect is the nearest there is.
    """
    scale = max(1.0, min_side / min(width, height))
    if max_pixels:
        scale = min(scale, math.sqrt(max_pixels / (width * height)))
    best: tuple[float, float, Size] | None = None
    for w in _around(width * scale, multiple):
        for h in _around(height * scale, multiple):
            if max_pixels and w * h > max_pixels and (w, h) != (multiple, multiple):
                continue
            skew = abs(math.log((w / h) / (width / height)))
            far = abs(math.log((w * h) / (width * height * scale * scale)))
            if best is None or (skew + far, far) < best[:2]:
                best = (skew + far, far, Size(w, h))
    return best[2] if best else Size(multiple, multiple)


def _around(length: float, multiple: int) -> tuple[int, ...]:
    below = max(1, math.floor(length / multiple))
    return (below * multiple, (below + 1) * multiple)


def frames(seconds: float, fps: float, *, step: int = 4, plus: int = 1, most: int) -> int:
    """Return how many frames to make for so many seconds: `step` * k + `plus`, at most `most`.

    No fewer than what is asked for where `most` allows it; at least `plus`, and never 0.
    """
    wanted = math.ceil(round(seconds * fps, 6))
    k = max(0 if plus > 0 else 1, math.ceil((wanted - plus) / step))
    limit = max(0 if plus > 0 else 1, (most - plus) // step)
    return step * min(k, limit) + plus


def note(asked: Size, made: Size, *, frames_asked: int = 0, frames_made: int = 0) -> dict[str, str]:
    """Return what was rounded, for an output's facts; nothing if nothing was."""
    found = {} if asked == made else {"made_size": str(made)}
    if frames_asked != frames_made:
        found["made_frames"] = str(frames_made)
    return found
