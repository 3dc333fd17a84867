"""A box on a turntable: two faces in perspective, each a flat picture in its own light."""

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
_YAW = 26.0  # degrees that the box shows of its side at rest
_LEAST_YAW = 4.0  # it never turns past its front: the other side is not lit
_FRONT_LIGHT, _SIDE_LIGHT, _TOP_LIGHT = 0.99, 0.60, 1.12
_SUBPIXEL = 4  # bits


class Package:
    """A box form with label art on its front; `at(degrees)` draws it turned."""

    def __init__(self, form: Form, art: Array, height: int, ground: str) -> None:
        sides = form.sides or (0.35, 0.13)
        self._half = sides
        self._tall = height
        middle, half = art.shape[1] / 2, form.wrap.span * art.shape[1] / 2
        front = art[:, int(middle - half) : int(middle + half), :3]
        size = (max(8, round(height * 2 * sides[0])), max(8, height))
        front = cv2.resize(front, size, interpolation=cv2.INTER_AREA)
        plain = np.empty((64, 64, 3), np.float32)
        plain[...] = bgr(ground)
        self._faces = {
            "front": _lit(front, _FRONT_LIGHT),
            "side": _lit(plain, _SIDE_LIGHT),
            "top": _lit(plain, _TOP_LIGHT),
        }
        self.width = 2 * math.hypot(*sides) * height

    def at(self, degrees: float) -> tuple[Sprite, float, float]:
        """Return a sprite, and where in it the middle of the base lies, from left and top."""
        yaw = math.radians(max(_LEAST_YAW, _YAW - degrees))
        wide = int(self.width * 1.16 + 0.04 * self._tall) // 2 * 2
        high = int(self._tall * 1.20) // 2 * 2
        origin = (wide / 2, 1.10 * self._tall)
        picture = np.zeros((high, wide, 4), np.uint8)
        for name, quad in (
            ("top", ((-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1))),
            ("side", ((-1, 1, -1), (-1, 1, 1), (-1, 0, 1), (-1, 0, -1))),
            ("front", ((-1, 1, 1), (1, 1, 1), (1, 0, 1), (-1, 0, 1))),
        ):
            points = np.array([self._place(corner, yaw, origin) for corner in quad], np.float32)
            _draw(picture, self._faces[name], points)
        return Sprite.from_bgra(picture, premultiplied=True), origin[0], origin[1]

    def _place(
        self, corner: tuple[int, int, int], yaw: float, origin: tuple[float, float]
    ) -> tuple[float, float]:
        x, z = corner[0] * self._half[0], corner[2] * self._half[1]
        x, z = x * math.cos(yaw) + z * math.sin(yaw), -x * math.sin(yaw) + z * math.cos(yaw)
        y = corner[1] - 0.5
        depth = _AWAY - (z * math.cos(_TILT) + y * math.sin(_TILT))
        up = y * math.cos(_TILT) - z * math.sin(_TILT)
        scale = self._tall * _AWAY / depth
        return origin[0] + x * scale, origin[1] - (up + 0.5 * math.cos(_TILT)) * scale


def _lit(picture: Array, light: float) -> Array:
    """Return a face in its light, BGRA: it falls off downwards, and the board's edges shine."""
    rows, columns = picture.shape[:2]
    across = np.linspace(0, 1, columns, dtype=np.float32)[None, :, None]
    along = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    shaded = picture.astype(np.float32) * (light * (1.05 - 0.16 * along - 0.09 * across))
    edge = np.minimum(across, 1 - across) * columns < 1
    face = np.full((rows, columns, 4), 255, np.uint8)
    face[..., :3] = np.clip(shaded + 24 * edge, 0, 255)
    return face


def _draw(picture: Array, face: Array, points: Array) -> None:
    """Draw a face into a premultiplied picture; its outline is antialiased as a polygon."""
    rows, columns = face.shape[:2]
    x0, y0 = (max(0, int(v) - 2) for v in points.min(0))
    x1, y1 = int(points[:, 0].max()) + 3, int(points[:, 1].max()) + 3
    part = picture[y0:y1, x0:x1]
    size = (part.shape[1], part.shape[0])
    local = points - np.array([x0, y0], np.float32)
    flat = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(flat, local - 0.5)
    # Beyond its edge a face goes on in the edge's colour: the outline is the mask's alone.
    drawn = cv2.warpPerspective(
        face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros(part.shape[:2], np.uint8)
    corners = np.rint((local - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillConvexPoly(mask, corners, 255, cv2.LINE_AA, _SUBPIXEL)
    share = cv2.cvtColor(mask, cv2.COLOR_GRAY2BGRA)
    share[..., 3] = mask
    under = cv2.multiply(part, 255 - share, scale=1 / 255)
    part[...] = cv2.add(under, cv2.multiply(drawn, share, scale=1 / 255))
