"""Layers of land: rolling edges that slide past one another, and a train that follows one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.pixels import Planes

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

_WAVES = 6


@dataclass(frozen=True)
class Ridge:
    """An edge that repeats nowhere in sight: heights in pixels from the frame's top.

    `level` is its mean, `swing` how far it rises and falls, `length` of its longest wave.
    """

    level: float
    swing: float
    length: float
    phases: tuple[float, ...]
    rough: float = 0.55

    @classmethod
    def random(
        cls, random: np.random.Generator, level: float, swing: float, length: float, rough: float
    ) -> Ridge:
        """Return a ridge with phases of its own."""
        phases = tuple(float(p) for p in random.uniform(0, 2 * math.pi, _WAVES))
        return cls(level, swing, length, phases, rough)

    def edge(self, x: Array) -> Array:
        """Return the edge's height above each x; x may be fractional."""
        total, weight = np.zeros_like(x, np.float32), 0.0
        for n, phase in enumerate(self.phases):
            share = self.rough**n
            # No wave is a multiple of another: the sum never repeats within sight.
            total += share * np.sin(2 * math.pi * x / self.length * 1.83**n + phase)
            weight += share
        return np.asarray(self.level - self.swing * total / weight, np.float32)


def lay_land(target: Planes, layer: Planes, edge: Array) -> None:
    """Fill everything below an edge with a layer; the edge is one height per column."""
    height = target.height
    top = max(0, int(edge.min()) - 1) & ~1
    low = min(height, int(edge.max()) + 3) & ~1
    if top >= height:
        return
    if low > top:
        rows = np.arange(top, low, dtype=np.float32)[:, None] + 0.5
        cover = np.clip((rows - edge[None, :] + 0.5) * 255, 0, 255).astype(np.uint8)
        blend_band(target, layer, cover, top)
    low = max(low, 0)
    target.y[low:] = layer.y[low:]
    target.u[low // 2 :] = layer.u[low // 2 :]
    target.v[low // 2 :] = layer.v[low // 2 :]


def blend_band(target: Planes, layer: Planes, cover: Array, top: int) -> None:
    """Blend rows from `top` (even) of a layer of the same size through a mask of those rows."""
    rows = slice(top, top + cover.shape[0])
    halves = slice(top // 2, (top + cover.shape[0]) // 2)
    half = cv2.resize(
        cover, (cover.shape[1] // 2, cover.shape[0] // 2), interpolation=cv2.INTER_AREA
    )
    for name, part, mask in (("y", rows, cover), ("u", halves, half), ("v", halves, half)):
        under = getattr(target, name)[part]
        over = getattr(layer, name)[part]
        under[...] = cv2.add(
            cv2.multiply(under, 255 - mask, scale=1 / 255), cv2.multiply(over, mask, scale=1 / 255)
        )
