"""The sizes that the two models look at pictures in and make them in, by their authors' rules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from inference.sizes import Size

if TYPE_CHECKING:
    from PIL import Image

MULTIPLE = 16
"""Pixels that one token stands for, on each side."""


def omnigen2_reference(width: int, height: int, *, max_pixels: int, max_side: int) -> Size:
    """Return the size that OmniGen2 looks at a picture in: never larger than it is."""
    scale = min(1.0, max_side / max(width, height), math.sqrt(max_pixels / (width * height)))
    return _down(width * scale, height * scale)


def omnigen2_size(width: int, height: int, max_pixels: int) -> Size:
    """Return the size that OmniGen2 makes for a picture of `width` x `height`."""
    scale = min(1.0, math.sqrt(max_pixels / (width * height)))
    return _down(width * scale, height * scale)


def uno_reference(width: int, height: int, long_side: int) -> tuple[Size, Size]:
    """Return the size that a picture is scaled to for UNO, and that of its middle that is kept."""
    if width >= height:
        scaled = Size(long_side, int(long_side / width * height))
    else:
        scaled = Size(int(long_side / height * width), long_side)
    return scaled, _down(*scaled)


def scaled_to(picture: Image.Image, size: Size) -> Image.Image:
    """Return a picture scaled to a size, whatever that does to its aspect."""
    from PIL import Image

    return picture.resize(size, Image.Resampling.LANCZOS)


def middle_of(picture: Image.Image, size: Size) -> Image.Image:
    """Return so much of a picture's middle."""
    left, top = (picture.width - size.width) // 2, (picture.height - size.height) // 2
    return picture.crop((left, top, left + size.width, top + size.height))


def _down(width: float, height: float) -> Size:
    return Size(int(width) // MULTIPLE * MULTIPLE, int(height) // MULTIPLE * MULTIPLE)
