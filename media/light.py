"""A photographer's room: soft boxes, flags and a backdrop, as functions of direction.

Directions have x to the right, y up and z towards the camera. Light is linear, B G R; white paper
in the key light is about 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

_GAMMA = 2.2
_KNEE = 0.80


def linear(bgr: tuple[int, ...] | Array) -> Array:
    """Return linear light of gamma-coded components in 0..255."""
    return (np.asarray(bgr, np.float32) / 255) ** _GAMMA


def gamma(light: Array) -> Array:
    """Return gamma-coded components in 0..1; what is brighter than white rolls off softly."""
    over = np.maximum(light - _KNEE, 0)
    rolled = np.where(light > _KNEE, _KNEE + (1 - _KNEE) * over / (over + 1 - _KNEE), light)
    return np.asarray(np.maximum(rolled, 0) ** (1 / _GAMMA), np.float32)


def smooth(low: float, high: float, x: Array) -> Array:
    """Return 0 below `low`, 1 above `high`, and an S curve between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def window(x: Array, low: float, high: float, soft: float) -> Array:
    """Return 1 between two limits with edges as soft as given."""
    return np.asarray(
        smooth(low - soft, low + soft, x) * (1 - smooth(high - soft, high + soft, x)), np.float32
    )


def unit(*xyz: float) -> Array:
    """Return a direction of length 1."""
    direction = np.array(xyz, np.float32)
    return np.asarray(direction / np.linalg.norm(direction), np.float32)


_KEY, _FILL, _TOP = unit(-0.62, 0.50, 0.62), unit(0.85, 0.15, 0.50), unit(0, 1, 0.15)


@dataclass(frozen=True)
class Room:
    """The set around a product; `surround` is the colour of its walls in linear light."""

    surround: Array

    def boxes(self, ray: Array, blur: float = 1.0) -> Array:
        """Return how bright the soft boxes are in a direction, (n,); `blur` softens their edges."""
        turn = np.arctan2(ray[:, 0], ray[:, 2])
        rise = ray[:, 1]
        key = 3.2 * window(turn, -1.32, -0.62, 0.10 * blur) * window(rise, -0.45, 0.80, 0.14 * blur)
        strip = 2.1 * window(turn, 0.92, 1.22, 0.07 * blur) * window(rise, -0.55, 0.80, 0.12 * blur)
        level = smooth(0.10, 0.40, np.hypot(ray[:, 0], ray[:, 2]))
        rim = 1.5 * window(np.abs(turn), 2.05, 2.60, 0.12 * blur)
        top = 1.5 * smooth(0.70, 0.98, rise)
        return np.asarray(
            (key + strip + rim * window(rise, -0.4, 0.7, 0.15)) * level + top, np.float32
        )

    def walls(self, ray: Array) -> Array:
        """Return the light of walls, floor and the black flags beside the camera, (n, 3)."""
        turn = np.abs(np.arctan2(ray[:, 0], ray[:, 2]))
        level = 0.40 + 0.30 * smooth(-0.4, 0.9, ray[:, 1]) + 0.10 * smooth(0.1, 0.9, -ray[:, 1])
        flat = smooth(0.10, 0.40, np.hypot(ray[:, 0], ray[:, 2]))
        flag = 1 - 0.72 * flat * window(turn, 0.28, 0.60, 0.20)
        tint = 0.45 + 0.55 * self.surround
        return np.asarray((level * flag)[:, None] * tint, np.float32)

    def metal(self, ray: Array, normal: Array, tint: Array) -> Array:
        """Return what bare metal of a tint shows, (n, 3)."""
        mirror = _mirror(ray, normal)
        edge = _fresnel(ray, normal, 0.0)[:, None]
        seen = self.walls(mirror) + 0.62 * self.boxes(mirror, 1.6)[:, None]
        return np.asarray(seen * (tint + (1 - tint) * edge), np.float32)

    def diffuse(self, normal: Array) -> Array:
        """Return how brightly a matt white surface is lit, (n,), about 1 where it faces the key."""
        key = np.clip((normal @ _KEY + 0.22) / 1.22, 0, None)
        fill = np.clip((normal @ _FILL + 0.35) / 1.35, 0, None)
        top = np.clip(normal @ _TOP, 0, None)
        return np.asarray(0.10 + 0.84 * key + 0.20 * fill + 0.18 * top, np.float32)

    def gloss(self, ray: Array, normal: Array) -> tuple[Array, Array]:
        """Return what a clear coat mirrors, (n, 3), and its share of all light, (n,)."""
        share = _fresnel(ray, normal, 0.04)
        mirror = _mirror(ray, normal)
        seen = self.walls(mirror) * 0.6 + self.boxes(mirror)[:, None]
        return share[:, None] * seen, share

    def coated(self, ray: Array, normal: Array, tint: Array) -> Array:
        """Return what lacquer or plastic of a colour shows, (n, 3)."""
        mirror, share = self.gloss(ray, normal)
        lit = tint * self.diffuse(normal)[:, None] * (1 - share[:, None])
        return np.asarray(lit + mirror, np.float32)

    def behind(self, ray: Array) -> Array:
        """Return the backdrop as seen through the product: brightest in its middle, (n, 3)."""
        turn = np.abs(np.arctan2(ray[:, 0], -ray[:, 2]))
        glow = 1.25 * np.exp(-((turn / 0.75) ** 2)) + 0.22
        side = 1.3 * window(turn, 1.0, 1.5, 0.15)
        floor = 1 - 0.45 * smooth(0.0, 0.5, -ray[:, 1])
        tint = 0.30 + 0.70 * self.surround
        return np.asarray(((glow + side) * floor)[:, None] * tint, np.float32)


def _mirror(ray: Array, normal: Array) -> Array:
    return np.asarray(ray - 2 * (ray * normal).sum(1)[:, None] * normal, np.float32)


def _fresnel(ray: Array, normal: Array, least: float) -> Array:
    facing = np.clip(-(ray * normal).sum(1), 0, 1)
    return np.asarray(least + (1 - least) * (1 - facing) ** 5, np.float32)
