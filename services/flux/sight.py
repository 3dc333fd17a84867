"""Pictures made ready to be looked at: no larger than a model can take, no smaller than it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.output import cover
from inference.sizes import fit

if TYPE_CHECKING:
    from PIL import Image


def seen_at(
    picture: Image.Image, *, multiple: int, max_pixels: int, min_side: int = 0
) -> Image.Image:
    """Return a picture at a size that a model takes: scaled to cover it, its middle kept."""
    size = fit(
        picture.width, picture.height, multiple=multiple, max_pixels=max_pixels, min_side=min_side
    )
    return cover(picture, size)
