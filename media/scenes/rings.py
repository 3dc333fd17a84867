"""The hook: rings that grow from a core and keep spreading, on the brand's colour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from contracts.colour import contrast
from media.colour import distance, lightness, mixed, toned
from media.pixels import Planes, mix
from media.scenes import ground
from media.scenes.motion import ease_out, sway
from media.scenes.stage import calm

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage

    Array = NDArray[Any]

_RINGS = 9
_STEPS = 4.0  # table entries per pixel of distance
_IN_QUIET = 0.88  # how much of a ring is taken away where type stands


class Rings:
    """A core in the focus, rings around it that fade with distance."""

    def __init__(self, stage: Stage) -> None:
        c = stage.colours
        self._stage = stage
        base = c.primary
        light = toned(base, lightness=0.045)
        picture = ground.vertical(stage, [(0, toned(base, lightness=0.01)), (1, base)])
        focus = stage.focus
        self._x, self._y = focus.x, focus.y
        reach = max(stage.width, stage.height)
        ground.glow(picture, stage, (focus.x, focus.y), 0.55 * reach, (light, 0.8))
        ground.vignette(picture, stage, 0.16)
        self._ground = ground.finish(picture, stage)
        ring, core = ring_colours(stage)
        self._ring = ground.finish(ground.vertical(stage, [(0, ring), (1, ring)]), stage)
        self._core = ground.finish(
            ground.vertical(stage, [(0, toned(core, lightness=0.015)), (1, core)]), stage
        )
        y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32) + 0.5
        away = np.hypot(x - self._x, y - self._y)
        self._profile = ground.Profile(away, _STEPS)
        keep = 1 - _IN_QUIET * calm(stage, 0.16)
        self._keep = ground.as_bytes(keep)
        self._radius = 0.150 * min(focus.width, focus.height)
        narrow = min(stage.width, stage.height)
        self._radius = min(max(self._radius, 0.055 * narrow), 0.105 * narrow)
        self._far = float(away.max())

    def paint(self, target: Planes, seconds: float) -> None:
        """Draw rings at their radius of the moment, then the core over them."""
        target.fill_from(self._ground)
        at = self._profile.at
        rings = self._profile.mask(self._ring_table(at, seconds))
        mix(target, self._ring, _times(rings, self._keep))
        grown = ease_out(0.10 + seconds / 0.7)
        radius = self._radius * (grown + 0.02 * sway(seconds, 2.4) * grown)
        mix(target, self._core, self._profile.mask(np.clip(radius - at + 0.5, 0, 1)))

    def _ring_table(self, at: Array, seconds: float) -> Array:
        table = np.zeros_like(at)
        pitch = self._radius * 0.98
        for n in range(_RINGS):
            began = 0.075 * n - 0.12
            grown = ease_out((seconds - began) / 1.3)
            if grown <= 0:
                continue
            # After their entrance the rings never stop: they spread, the outer ones faster.
            spread = 0.045 * pitch * max(0.0, seconds - began) * (1 + 0.35 * n)
            middle = self._radius + (pitch * (0.85 + n) * (1 + 0.045 * n)) * grown + spread
            half = pitch * (0.165 - 0.009 * n) * min(1.0, 0.4 + grown)
            strength = 0.92 * math.exp(-0.20 * n) * min(1.0, 1.5 * grown)
            edge = np.clip(half - np.abs(at - middle) + 0.5, 0, 1)
            table = np.maximum(table, strength * edge)
        return table


def ring_colours(stage: Stage) -> tuple[str, str]:
    """Return the colours of rings and core: both stand off the ground, and from one another."""
    c = stage.colours
    base = c.primary
    if lightness(base) < 0.5:  # noqa: PLR2004 - dark grounds glow, light ones are printed on
        ring = mixed(base, c.secondary, 0.72)
        core = max((c.secondary, c.paper), key=lambda x: contrast(x, base))
    else:
        ring = mixed(base, c.paper, 0.55)
        core = max((c.ink, c.accent), key=lambda x: distance(x, base))
    return ring, core


def _times(one: Array, other: Array) -> Array:
    return np.asarray(cv2.multiply(one, other, scale=1 / 255))
