"""Pictures as H.264 wants them: YUV 4:2:0 planes, BT.709 limited range, and sprites laid on them.

A frame is composed in these planes directly: half the bytes of BGRA, and no conversion per frame.
Arrays are uint8, rows first; pictures from outside are BGR or straight-alpha BGRA.
Sprites are premultiplied, so that scaling, shifting and fading never fringe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    # OpenCV's stubs know only "some array"; the names say what the element type is.
    Bytes = NDArray[Any]
    Floats = NDArray[Any]

# Pictures are drawn by forked workers, one thread each; a fork must not inherit half a pool.
cv2.setNumThreads(1)

_R, _G, _B = 0.2126, 0.7152, 0.0722
# Rows make Y, Cb, Cr from B, G, R, all in 0..255, without the offsets.
_TO_YUV = np.array(
    [
        [_B * 219 / 255, _G * 219 / 255, _R * 219 / 255],
        [112 / 255, -_G / (1 - _B) * 112 / 255, -_R / (1 - _B) * 112 / 255],
        [-_B / (1 - _R) * 112 / 255, -_G / (1 - _R) * 112 / 255, 112 / 255],
    ],
    np.float32,
)
_TO_BGR = np.linalg.inv(_TO_YUV.astype(np.float64)).astype(np.float32)
_STEP = 1 / 64  # a shift smaller than this is not visible and not worth a filter


class OddSizeError(ValueError):
    """4:2:0 pictures have even width and height."""


@dataclass(slots=True)
class Planes:
    """One picture: `y` is (height, width), `u` and `v` are half of it each way."""

    y: Bytes
    u: Bytes
    v: Bytes

    @property
    def width(self) -> int:
        """Width in luma pixels."""
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        """Height in luma pixels."""
        return int(self.y.shape[0])

    @classmethod
    def blank(cls, width: int, height: int, bgr: tuple[float, float, float] = (0, 0, 0)) -> Planes:
        """Return a picture of one colour; OddSizeError when a side is odd."""
        _check_even(width, height)
        y, u, v = yuv(bgr)
        chroma = (height // 2, width // 2)
        return cls(
            np.full((height, width), y, np.uint8),
            np.full(chroma, u, np.uint8),
            np.full(chroma, v, np.uint8),
        )

    @classmethod
    def from_bgr(cls, bgr: Bytes | Floats, dither: Floats | None = None) -> Planes:
        """Convert a (height, width, 3) picture in 0..255; OddSizeError when a side is odd.

        `dither` is noise, (2, h, w) of any size, added to the colour planes before rounding.
        """
        height, width = bgr.shape[:2]
        _check_even(width, height)
        full = cv2.transform(bgr.astype(np.float32, copy=False), _TO_YUV)
        half = cv2.resize(full, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        u, v = half[..., 1], half[..., 2]
        if dither is not None:
            again = (1, -(-u.shape[0] // dither.shape[1]), -(-u.shape[1] // dither.shape[2]))
            noise = np.tile(dither, again)[:, : u.shape[0], : u.shape[1]]
            u, v = u + noise[0], v + noise[1]
        return cls(_round(full[..., 0], 16), _round(u, 128), _round(v, 128))

    def to_bgr(self) -> Bytes:
        """Convert back to a (height, width, 3) picture."""
        size = (self.width, self.height)
        full = np.empty((self.height, self.width, 3), np.float32)
        full[..., 0] = self.y.astype(np.float32) - 16
        for n, plane in ((1, self.u), (2, self.v)):
            full[..., n] = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
            full[..., n] -= 128
        return _round(cv2.transform(full, _TO_BGR), 0)

    def copy(self) -> Planes:
        """Return a picture with arrays of its own."""
        return Planes(self.y.copy(), self.u.copy(), self.v.copy())

    def fill_from(self, other: Planes) -> None:
        """Overwrite this picture with another of the same size."""
        np.copyto(self.y, other.y)
        np.copyto(self.u, other.u)
        np.copyto(self.v, other.v)

    def window(self, left: int, top: int, width: int, height: int) -> Planes:
        """Return a view of a part; all four numbers are even and inside the picture."""
        x, y, w, h = left // 2, top // 2, width // 2, height // 2
        return Planes(
            self.y[top : top + height, left : left + width],
            self.u[y : y + h, x : x + w],
            self.v[y : y + h, x : x + w],
        )

    def mean_bgr(self, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> tuple[int, ...]:
        """Return the mean colour of a box in fractions (left, top, width, height)."""
        left, top = int(box[0] * self.width) & ~1, int(box[1] * self.height) & ~1
        width = max(2, int(box[2] * self.width) & ~1)
        height = max(2, int(box[3] * self.height) & ~1)
        part = self.window(left, top, width, height)
        means = [[[part.y.mean() - 16, part.u.mean() - 128, part.v.mean() - 128]]]
        bgr = cv2.transform(np.array(means, np.float32), _TO_BGR)[0, 0]
        return tuple(int(c) for c in np.clip(np.rint(bgr), 0, 255))


@dataclass(slots=True)
class Sprite:
    """A premultiplied picture with its alpha at both resolutions, and a transparent rim.

    `rim` is the number of transparent pixels on the left and top before the picture proper.
    """

    planes: Planes
    alpha: Bytes
    chroma_alpha: Bytes
    rim: int = 0

    @classmethod
    def from_bgra(cls, bgra: Bytes, *, premultiplied: bool = False) -> Sprite:
        """Convert a (height, width, 4) picture of any size; a rim of 2 pixels is added."""
        height, width = bgra.shape[:2]
        bottom, right = 2 + height % 2, 2 + width % 2
        padded = cv2.copyMakeBorder(bgra, 2, bottom, 2, right, cv2.BORDER_CONSTANT, value=(0,) * 4)
        full = padded.astype(np.float32)
        alpha = full[..., 3] / 255
        colour: Floats = cv2.transform(full[..., :3], _TO_YUV)
        if not premultiplied:
            colour *= alpha[..., None]
        # The offsets are premultiplied too; then a blend needs no knowledge of them.
        colour += alpha[..., None] * np.array([16, 128, 128], np.float32)
        size = (padded.shape[1] // 2, padded.shape[0] // 2)
        half = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        half_alpha = cv2.resize(full[..., 3], size, interpolation=cv2.INTER_AREA)
        planes = Planes(_round(colour[..., 0], 0), _round(half[..., 1], 0), _round(half[..., 2], 0))
        return cls(planes, np.ascontiguousarray(padded[..., 3]), _round(half_alpha, 0), 2)

    def faded(self, opacity: float) -> Sprite:
        """Return the sprite at an opacity of 0..1."""

        def fade(plane: Bytes) -> Bytes:
            return np.asarray(cv2.convertScaleAbs(plane, alpha=opacity), np.uint8)

        p = self.planes
        planes = Planes(fade(p.y), fade(p.u), fade(p.v))
        return Sprite(planes, fade(self.alpha), fade(self.chroma_alpha), self.rim)

    def shifted(self, dx: float, dy: float) -> Sprite:
        """Return the sprite moved right and down by less than 2 pixels, two pixels larger."""

        def move(plane: Bytes, unit: int) -> Bytes:
            grown = cv2.copyMakeBorder(plane, unit, unit, unit, unit, cv2.BORDER_CONSTANT, value=0)
            moved = _bilinear(grown, dx * unit / 2, dy * unit / 2)
            return moved[unit:, unit:]

        p = self.planes
        planes = Planes(move(p.y, 2), move(p.u, 1), move(p.v, 1))
        return Sprite(planes, move(self.alpha, 2), move(self.chroma_alpha, 1), self.rim)


def yuv(bgr: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the limited-range Y, Cb, Cr of a BGR colour in 0..255."""
    y, u, v = _TO_YUV @ np.array(bgr, np.float32) + np.array([16, 128, 128], np.float32)
    return round(float(y)), round(float(u)), round(float(v))


def lay(target: Planes, sprite: Sprite, x: float, y: float, opacity: float = 1.0) -> None:
    """Blend a sprite so that its picture's corner lies at (x, y), in pixels, fractions welcome.

    What falls outside the target is cut off; opacity is 0..1.
    """
    if opacity <= 0:
        return
    if opacity < 1:
        sprite = sprite.faded(opacity)
    left, dx = _even(x - sprite.rim)
    top, dy = _even(y - sprite.rim)
    if max(dx, dy) >= _STEP:
        sprite = sprite.shifted(dx, dy)
    height, width = sprite.alpha.shape
    x0, x1 = max(left, 0), min(left + width, target.width)
    y0, y1 = max(top, 0), min(top + height, target.height)
    if x0 >= x1 or y0 >= y1:
        return
    part = target.window(x0, y0, x1 - x0, y1 - y0)
    source = sprite.planes.window(x0 - left, y0 - top, x1 - x0, y1 - y0)
    alpha = sprite.alpha[y0 - top : y1 - top, x0 - left : x1 - left]
    half = sprite.chroma_alpha[
        (y0 - top) // 2 : (y1 - top) // 2, (x0 - left) // 2 : (x1 - left) // 2
    ]
    _over(part.y, source.y, 255 - alpha)
    rest = 255 - half
    _over(part.u, source.u, rest)
    _over(part.v, source.v, rest)


def mix(target: Planes, layer: Planes, mask: Bytes) -> None:
    """Blend a picture of the same size through a mask of 0..255 at luma resolution."""
    half = cv2.resize(mask, (target.u.shape[1], target.u.shape[0]), interpolation=cv2.INTER_AREA)
    for part, source, weight in (
        (target.y, layer.y, mask),
        (target.u, layer.u, half),
        (target.v, layer.v, half),
    ):
        _over(part, cv2.multiply(source, weight, scale=1 / 255), 255 - weight)


def _over(part: Bytes, source: Bytes, rest: Bytes) -> None:
    part[...] = cv2.add(cv2.multiply(part, rest, scale=1 / 255), source)


def _even(position: float) -> tuple[int, float]:
    """Split a position into an even whole number and a rest of [0, 2)."""
    whole = math.floor(position / 2) * 2
    rest = position - whole
    # A hair below the next even pixel is that pixel.
    return (whole + 2, 0.0) if rest > 2 - _STEP else (whole, rest)


def _bilinear(plane: Bytes, dx: float, dy: float) -> Bytes:
    """Move a plane by up to 2 pixels right and down, taking what is there for outside."""
    ix, iy = int(dx), int(dy)
    fx, fy = dx - ix, dy - iy
    kernel = np.zeros((5, 5), np.float32)
    for row, wy in ((2 - iy, 1 - fy), (1 - iy, fy)):
        for column, wx in ((2 - ix, 1 - fx), (1 - ix, fx)):
            if wx * wy:
                kernel[row, column] += wx * wy
    rows, columns = np.nonzero(kernel)
    r0, r1, c0, c1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    anchor = (int(2 - c0), int(2 - r0))
    tight = kernel[r0:r1, c0:c1]
    if not (0 <= anchor[0] < tight.shape[1] and 0 <= anchor[1] < tight.shape[0]):
        tight, anchor = kernel, (2, 2)
    return np.asarray(
        cv2.filter2D(plane, -1, tight, anchor=anchor, borderType=cv2.BORDER_REPLICATE), np.uint8
    )


def _round(values: Floats, offset: float) -> Bytes:
    return np.clip(np.rint(values + offset), 0, 255).astype(np.uint8)


def _check_even(width: int, height: int) -> None:
    if width % 2 or height % 2:
        raise OddSizeError(f"{width} x {height} is not even")
