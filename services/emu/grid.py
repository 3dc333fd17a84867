"""How large Emu3.5 makes a picture, and how large it looks at one. Pure."""

from __future__ import annotations

import math

from inference.sizes import Size
from services.emu.prompt import Grid

TOKEN_PIXELS = 16
_LEAST = 10
_MOST = 99
"""Sides in tokens that the model has learnt to write: two digits."""


def seen_size(width: int, height: int, area: int) -> Size:
    """Return the size at which a picture is looked at: about `area` pixels, its own proportions.

    Sides are the nearest multiples of 16: none is left of a strip in a very small area.
    """
    ratio = width / height
    high = int(math.sqrt(area / ratio))
    return Size(_rounded(int(high * ratio)), _rounded(high))


def _rounded(side: int) -> int:
    return (side + TOKEN_PIXELS // 2) // TOKEN_PIXELS * TOKEN_PIXELS


def grid_of(width: int, height: int, area: int) -> Grid:
    """Return the size in tokens to make for a picture of `width` x `height` pixels.

    About `area` pixels; each side has 10 to 99 tokens.
    """
    tokens = area / TOKEN_PIXELS**2
    ratio = width / height
    high, wide = math.sqrt(tokens / ratio), math.sqrt(tokens * ratio)
    return Grid(*(min(_MOST, max(_LEAST, round(side))) for side in (high, wide)))
