"""A box on a turntable: three faces in perspective, each a flat picture in its own light."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import bgr
from media.pixels import Sprite

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.form import Form

    Array = NDArray[Any]

_AWAY = 5.0
_TILT = math.radians(8.0)
_YAW = 24.0  # degrees that the box shows of its side at rest
_OVER = 2


class Package:
    """A box form with label art on its front; `at(degrees)` draws it turned."""

    def __init__(self, form: Form, art: Array, height: int, ground: str) -> None:
        sides = form.sides or (0.35, 0.13)
        self._half = sides
        self._tall = height
        self._ground = np.array(bgr(ground), np.float32)
        middle, half = art.shape[1] / 2, form.wrap.span * art.shape[1] / 2
        front = art[:, int(middle - half) : int(middle + half), :3]
        rows = max(8, round(height * 1.1))
        size = (max(8, round(rows * 2 * sides[0])), rows)
        self._front = cv2.resize(front, size, interpolation=cv2.INTER_AREA)
        self.width = 2 * math.hypot(*sides) * height

    def at(self, degrees: float) -> tuple[Sprite, float, float]:
        """Return a sprite, and where in it the middle of the base lies, from left and top."""
        yaw = math.radians(_YAW - degrees)
        tall = self._tall * _OVER
        margin = 0.06 * tall
        wide = int(self.width * _OVER * 1.12 + 2 * margin) // 4 * 4
        high = int(tall * 1.16 + 2 * margin) // 4 * 4
        origin = (wide / 2, margin + tall * 1.08)
        picture = np.zeros((high, wide, 4), np.uint8)
        corners = {
            (sx, sy, sz): self._place((sx, sy, sz), yaw, origin, tall)
            for sx in (-1, 1)
            for sy in (0, 1)
            for sz in (-1, 1)
        }
        side = 1 if yaw < 0 else -1
        faces = (
            ("top", ((-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1))),
            ("side", ((side, 1, side), (side, 1, -side), (side, 0, -side), (side, 0, side))),
            ("front", ((-1, 1, 1), (1, 1, 1), (1, 0, 1), (-1, 0, 1))),
        )
        for name, quad in faces:
            points = np.array([corners[c] for c in quad], np.float32)
            self._face(picture, name, points, yaw)
        size = (wide // _OVER, high // _OVER)
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        sprite = Sprite.from_bgra(np.asarray(small), premultiplied=True)
        return sprite, origin[0] / _OVER, origin[1] / _OVER

    def _place(
        self, corner: tuple[int, int, int], yaw: float, origin: tuple[float, float], tall: float
    ) -> tuple[float, float]:
        x, z = corner[0] * self._half[0], corner[2] * self._half[1]
        x, z = x * math.cos(yaw) + z * math.sin(yaw), -x * math.sin(yaw) + z * math.cos(yaw)
        y = corner[1] - 0.5
        depth = _AWAY - (z * math.cos(_TILT) + y * math.sin(_TILT))
        up = y * math.cos(_TILT) - z * math.sin(_TILT)
        scale = tall * _AWAY / depth
        return origin[0] + x * scale, origin[1] - (up + 0.5 * math.cos(_TILT)) * scale

    def _face(self, picture: Array, name: str, points: Array, yaw: float) -> None:
        light = {"front": 0.97 + 0.10 * math.sin(-yaw), "side": 0.60, "top": 1.10}[name]
        rows, columns = (self._front.shape[:2]) if name == "front" else (64, 64)
        source = np.empty((rows, columns, 3), np.float32)
        source[...] = self._front if name == "front" else self._ground
        across = np.linspace(0, 1, columns, dtype=np.float32)[None, :, None]
        along = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
        source *= light * (1.05 - 0.14 * along - 0.08 * across)
        # Bent board catches light along its edges.
        rim = np.minimum(np.minimum(across, 1 - across) * columns, 1.0 + 0 * along)
        source += (1 - np.clip(rim / 1.0, 0, 1)) * 26
        face = np.full((rows, columns, 4), 255, np.uint8)
        face[..., :3] = np.clip(source, 0, 255)
        flat = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32) - 0.5
        matrix = cv2.getPerspectiveTransform(flat, points)
        size = (picture.shape[1], picture.shape[0])
        drawn = cv2.warpPerspective(face, matrix, size, flags=cv2.INTER_LINEAR)
        mask = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, np.rint(points * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
        keep = drawn[..., 3] > 0
        drawn = cv2.warpPerspective(
            face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        del keep
        share = mask[..., None].astype(np.float32) / 255
        drawn = drawn.astype(np.float32)
        drawn[..., 3] = 255
        picture[...] = np.rint(picture * (1 - share) + drawn * share).astype(np.uint8)
