"""Grounds: gradients without bands, baked grain, glows, and masks drawn from distances.

Colours are B G R floats in 0..255, gamma coded. A gradient is computed small, as it is smooth,
and gets its grain at full size: grain is what keeps 8 bits from showing steps.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import bgr, bgr_between
from media.pixels import Planes
from media.scenes.stage import calm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage

    Array = NDArray[Any]

SMALL = 4  # how much smaller than the frame smooth things are computed
_TILE = 509  # a prime: the grain's repetition falls on no other pattern
_BETWEEN = 6  # colours inserted between two of a gradient, so that it runs through OKLab
GRAIN = 2.1


def ramp(stops: Sequence[tuple[float, str]], at: Array) -> Array:
    """Return the colours of a gradient at positions; stops are (position, colour), ascending."""
    places: list[float] = []
    colours: list[tuple[float, float, float]] = []
    for (p0, c0), (p1, c1) in pairwise(stops):
        for k in range(_BETWEEN):
            places.append(p0 + (p1 - p0) * k / _BETWEEN)
            colours.append(bgr_between(c0, c1, k / _BETWEEN))
    places.append(stops[-1][0])
    colours.append(bgr(stops[-1][1]))
    table = np.array(colours, np.float32)
    return np.stack([np.interp(at, places, table[:, n]) for n in range(3)], -1).astype(np.float32)


def small_grid(stage: Stage) -> tuple[Array, Array]:
    """Return x and y of a small picture's pixels, in pixels of the frame, each (h, w)."""
    columns, rows = -(-stage.width // SMALL), -(-stage.height // SMALL)
    x = (np.arange(columns, dtype=np.float32) + 0.5) * SMALL
    y = (np.arange(rows, dtype=np.float32) + 0.5) * SMALL
    across, along = np.meshgrid(x, y)
    return across, along


def vertical(stage: Stage, stops: Sequence[tuple[float, str]]) -> Array:
    """Return a small picture with a gradient from the frame's top (0) to its bottom (1)."""
    _, y = small_grid(stage)
    return ramp(stops, y / stage.height)


def glow(
    picture: Array, stage: Stage, at: tuple[float, float], radius: float, light: Light
) -> None:
    """Lighten (or darken) a small picture around a point towards a colour, softly."""
    x, y = small_grid(stage)
    colour, strength = light
    far = ((x - at[0]) ** 2 + (y - at[1]) ** 2) / radius**2
    share = (strength * np.exp(-far))[..., None]
    picture += (np.array(bgr(colour), np.float32) - picture) * share


Light = tuple[str, float]


def settle(picture: Array, stage: Stage, colour: str, strength: float, soft: float = 0.22) -> None:
    """Bring a small picture close to one colour where type will stand."""
    if stage.quiet is None or strength <= 0:
        return
    share = cv2.resize(
        calm(stage, soft), (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_AREA
    )
    picture += (np.array(bgr(colour), np.float32) - picture) * (strength * share)[..., None]


def vignette(picture: Array, stage: Stage, strength: float) -> None:
    """Darken a small picture's corners."""
    x, y = small_grid(stage)
    far = np.hypot(x / stage.width - 0.5, y / stage.height - 0.5) / math.sqrt(0.5)
    picture *= (1 - strength * np.clip(far - 0.35, 0, 1) ** 2)[..., None].astype(np.float32)


def finish(picture: Array, stage: Stage, grain: float = GRAIN) -> Planes:
    """Enlarge a small picture to the frame and give it grain, as planes."""
    size = (stage.width, stage.height)
    # Enlarge with whole steps and cut, so that the frame's edge is where the grid has it.
    whole = (picture.shape[1] * SMALL, picture.shape[0] * SMALL)
    full = cv2.resize(picture, whole, interpolation=cv2.INTER_CUBIC)[: size[1], : size[0]]
    full = full + grain_tile(stage, grain)[..., None]
    # Chroma has no grain of its own; without a little noise its 8 bits would show steps.
    noise = stage.random(9).uniform(-0.75, 0.75, (2, _TILE, _TILE)).astype(np.float32)
    return Planes.from_bgr(np.clip(full, 0, 255), dither=noise)


def grain_tile(stage: Stage, strength: float) -> Array:
    """Return the shot's grain, (height, width): monochrome, slightly soft, the same every frame."""
    noise = stage.random(7).normal(0, 1, (_TILE, _TILE)).astype(np.float32)
    soft = cv2.GaussianBlur(np.pad(noise, 4, mode="wrap"), (0, 0), 0.6)[4:-4, 4:-4]
    soft *= strength / soft.std()
    rows, columns = -(-stage.height // _TILE), -(-stage.width // _TILE)
    return np.tile(soft, (rows, columns))[: stage.height, : stage.width]


class Profile:
    """A mask that depends on one number per pixel, such as the distance from a point.

    The number is kept as an index, so that a picture of the mask costs one table lookup.
    """

    def __init__(self, values: Array, steps_per_unit: float) -> None:
        self._steps = steps_per_unit
        self._index = np.clip(values * steps_per_unit, 0, 65_535).astype(np.uint16)
        self._at = (np.arange(int(self._index.max()) + 1) + 0.5) / steps_per_unit

    @property
    def at(self) -> Array:
        """Return the values for which `mask` wants a table, ascending."""
        return self._at

    def mask(self, table: Array) -> Array:
        """Return the mask, uint8, of a table of 0..1 over `at`."""
        levels = np.clip(table * 255 + 0.5, 0, 255).astype(np.uint8)
        return np.asarray(levels.take(self._index))


def disc(target: Array, x: float, y: float, radius: float) -> None:
    """Draw an antialiased disc into a float mask of 0..1."""
    height, width = target.shape
    x0, x1 = max(0, int(x - radius - 2)), min(width, int(x + radius + 3))
    y0, y1 = max(0, int(y - radius - 2)), min(height, int(y + radius + 3))
    if x0 >= x1 or y0 >= y1:
        return
    across = np.arange(x0, x1, dtype=np.float32) + 0.5 - x
    along = (np.arange(y0, y1, dtype=np.float32) + 0.5 - y)[:, None]
    part = np.clip(radius - np.hypot(across, along) + 0.5, 0, 1)
    target[y0:y1, x0:x1] = np.maximum(target[y0:y1, x0:x1], part)


def as_bytes(mask: Array) -> Array:
    """Return a float mask of 0..1 as uint8."""
    return np.clip(mask * 255 + 0.5, 0, 255).astype(np.uint8)


def blurred(mask: Array, sigma: float) -> Array:
    """Return a mask blurred widely; wide blurs are done small, as nothing fine is left."""
    shrink = max(1, int(sigma / 4))
    size = (max(1, mask.shape[1] // shrink), max(1, mask.shape[0] // shrink))
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(0.5, sigma / shrink))
    return np.asarray(
        cv2.resize(small, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_LINEAR)
    )
