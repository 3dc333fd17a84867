"""A product on a turntable: a fixed photograph, and label art that moves over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.pixels import Planes, Sprite

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.form import Wrap

    Array = NDArray[Any]

_CORNER = 0.05  # a stuck label's rounded corners, of its height


@dataclass(slots=True)
class Turntable:
    """Call `at(degrees)` for a sprite. `foot` is the row on which the base's middle stands."""

    still: Sprite
    foot: float
    per_degree: float
    art: tuple[Array, Array, Array, Array]
    maps: tuple[Array, Array]
    half_maps: tuple[Array, Array]
    shade: Array
    half_shade: Array
    zone: Array
    half_zone: Array
    hides: Array
    half_hides: Array
    gloss: Array
    half_gloss: Array

    @property
    def width(self) -> int:
        """Width of the picture in pixels."""
        return self.still.planes.width

    @property
    def height(self) -> int:
        """Height of the picture in pixels."""
        return self.still.planes.height

    @classmethod
    def build(cls, cover: Array, label: Array, art: Array, wrap: Wrap, foot: float) -> Turntable:
        """Prepare from premultiplied gamma-coded colour (h, w, 4) and label maps (h, w, 5)."""
        # A sprite of its own rim has exactly the photograph's pixels; pad the maps alike.
        still = Sprite.from_bgra(
            np.clip(np.rint(cover * 255), 0, 255).astype(np.uint8), premultiplied=True
        )
        height, width = still.alpha.shape
        padded = np.zeros((height, width, 5), np.float32)
        padded[2 : 2 + label.shape[0], 2 : 2 + label.shape[1]] = label
        rows = _extent(padded[..., 1], padded[..., 2])
        y, u, v, a = _planes_of(art, rows, wrap)
        wide, tall = y.shape[1], y.shape[0]
        maps = (_to_map(padded[..., 0], wide), _to_map(padded[..., 1], tall))
        half = cv2.resize(padded, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        covered = np.maximum(half[..., 2], 1e-6)
        weighted = cv2.resize(
            padded * padded[..., 2:3], (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
        small = weighted / covered[..., None]
        half_maps = (_to_map(small[..., 0], u.shape[1]), _to_map(small[..., 1], u.shape[0]))
        return cls(
            still,
            foot + 2,
            wrap.span / wrap.degrees * wide,
            (y, u, v, a),
            maps,
            half_maps,
            _byte(padded[..., 3]),
            _byte(small[..., 3]),
            _byte(padded[..., 2]),
            _byte(half[..., 2]),
            _byte(padded[..., 2] / np.maximum(still.alpha / 255, padded[..., 2] + 1e-6)),
            _byte(half[..., 2] / np.maximum(still.chroma_alpha / 255, half[..., 2] + 1e-6)),
            _byte(padded[..., 4]),
            _byte(small[..., 4]),
        )

    def at(self, degrees: float) -> Sprite:
        """Return the product turned by some degrees to the right, as seen from the front."""
        shift = np.float32(-degrees * self.per_degree)
        y, u, v, a = self.art
        planes = self.still.planes.copy()
        across, along = self.maps[0] + shift, self.maps[1]
        shape = _sample(a, across, along)
        lit = _lit(_sample(y, across, along), self.shade, self.gloss, 16, 235)
        _replace(planes.y, lit, _mul(shape, self.hides), _mul(shape, self.zone))
        across, along = self.half_maps[0] + shift / 2, self.half_maps[1]
        small = cv2.resize(a, (u.shape[1], u.shape[0]), interpolation=cv2.INTER_AREA)
        shape = _sample(small, across, along)
        hides, zone = _mul(shape, self.half_hides), _mul(shape, self.half_zone)
        for plane, art in ((planes.u, u), (planes.v, v)):
            seen = _sample(art, across, along)
            lit = _lit(seen, self.half_shade, self.half_gloss, 128, 128)
            _replace(plane, lit, hides, zone)
        return Sprite(planes, self.still.alpha, self.still.chroma_alpha, self.still.rim)


def _lit(art: Array, shade: Array, gloss: Array, black: int, white: int) -> Array:
    """Return art in its light: shade scales it, gloss lifts it to white."""
    lit = cv2.add(_mul(art, shade), _mul(np.full_like(shade, black), 255 - shade))
    return np.asarray(cv2.add(_mul(lit, 255 - gloss), _mul(np.full_like(gloss, white), gloss)))


def _replace(plane: Array, lit: Array, hides: Array, zone: Array) -> None:
    """Put lit art in the place of what it hides; at the rim both cover only a part of a pixel."""
    plane[...] = cv2.add(_mul(plane, 255 - hides), _mul(lit, zone))


def _mul(one: Array, other: Array) -> Array:
    return np.asarray(cv2.multiply(one, other, scale=1 / 255))


def _sample(plane: Array, across: Array, along: Array) -> Array:
    return np.asarray(cv2.remap(plane, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def _to_map(fraction: Array, size: int) -> Array:
    return np.ascontiguousarray(fraction * size - 0.5, np.float32)


def _byte(values: Array) -> Array:
    return np.asarray(np.clip(np.rint(values * 255), 0, 255), np.uint8)


def _extent(v: Array, zone: Array) -> int:
    """Return over how many rows of the picture the art runs, in the middle column."""
    column = v.shape[1] // 2
    inside = zone[:, column] > 0.99  # noqa: PLR2004 - fully covered rows
    span = v[inside, column]
    if len(span) < 2:  # noqa: PLR2004 - no label in sight
        return 64
    return max(16, round((len(span) - 1) / max(1e-6, float(span.max() - span.min()))))


def _planes_of(art: Array, rows: int, wrap: Wrap) -> tuple[Array, Array, Array, Array]:
    """Scale the art to about one texel per pixel; return Y, U, V and the label's own shape."""
    tall = rows // 2 * 2
    wide = max(2, round(rows * art.shape[1] / art.shape[0] / 2) * 2)
    scaled = cv2.resize(art[..., :3], (wide, tall), interpolation=cv2.INTER_AREA)
    planes = Planes.from_bgr(scaled)
    shape = np.full((tall, wide), 255, np.uint8)
    if wrap.degrees < 360:  # noqa: PLR2004 - all around
        shape[...] = 0
        half = wrap.span / 2 * wide
        box = (wide / 2 - half, 0.0, wide / 2 + half, float(tall))
        _round_rectangle(shape, box, _CORNER * tall)
    return planes.y, planes.u, planes.v, shape


def _round_rectangle(mask: Array, box: tuple[float, float, float, float], radius: float) -> None:
    """Fill a rectangle with round corners, antialiased, from the distance to its edge."""
    height, width = mask.shape
    x = np.arange(width, dtype=np.float32) + 0.5
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    across = np.abs(x - (box[0] + box[2]) / 2) - (box[2] - box[0]) / 2 + radius
    along = np.abs(y - (box[1] + box[3]) / 2) - (box[3] - box[1]) / 2 + radius
    outside = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
    far = outside + np.minimum(np.maximum(across, along), 0) - radius
    mask[...] = np.clip(255 * (0.5 - far), 0, 255)
