"""A passing train: a ribbon of lit windows that follows the land."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import bgr, mixed, toned
from media.pixels import Planes, Sprite

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Colours

    Array = NDArray[Any]

_CARS = 7
_LENGTH = 8.6  # of a car, in heights of a car
_GAP = 0.28
_FINE = 3


class Train:
    """A train of a height in pixels. `lay` draws it with its nose at x on an edge of land."""

    def __init__(self, colours: Colours, height: float, seed: int) -> None:
        self.height = height
        self.length = _CARS * (_LENGTH + _GAP) * height
        self._sprite = Sprite.from_bgra(_side(colours, height, np.random.default_rng(seed)))

    def lay(self, target: Planes, nose: float, edge: Array) -> None:
        """Draw it; `edge` has one height per column of the target."""
        alpha = self._sprite.alpha
        rise = alpha.shape[0] * 0.62
        x0, x1 = max(0, int(nose - alpha.shape[1]) & ~1), min(target.width, (int(nose) + 4) & ~1)
        if x1 - x0 < 2:  # noqa: PLR2004 - nothing in sight
            return
        line = edge[x0:x1]
        top = max(0, int(line.min() - alpha.shape[0]) & ~1)
        low = min(target.height, (int(line.max() + alpha.shape[0] * 0.45) + 2) & ~1)
        if low <= top:
            return
        columns = np.arange(x0, x1, dtype=np.float32) - np.float32(nose - alpha.shape[1])
        rows = np.arange(top, low, dtype=np.float32)[:, None]
        along = rows - line[None, :] + np.float32(rise)
        across = np.broadcast_to(columns, along.shape)
        part = target.window(x0, top, x1 - x0, low - top)
        s = self._sprite
        self._over(part.y, s.planes.y, alpha, (np.ascontiguousarray(across), along))
        half = (
            np.ascontiguousarray(across[::2, ::2]) / 2 - 0.25,
            np.ascontiguousarray(along[::2, ::2]) / 2 - 0.25,
        )
        self._over(part.u, s.planes.u, s.chroma_alpha, half)
        self._over(part.v, s.planes.v, s.chroma_alpha, half)

    @staticmethod
    def _over(part: Array, plane: Array, alpha: Array, maps: tuple[Array, Array]) -> None:
        seen = cv2.remap(plane, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        cover = cv2.remap(alpha, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        part[...] = cv2.add(cv2.multiply(part, 255 - cover, scale=1 / 255), seen)


def _side(colours: Colours, height: float, random: np.random.Generator) -> Array:
    """Draw the train's side, BGRA: glow around the windows, bodies, windows, a lit nose."""
    unit = height * _FINE
    wide = int(_CARS * (_LENGTH + _GAP) * unit)
    high = int(3.0 * unit)
    body_top, body_low = int(0.86 * unit), int(1.80 * unit)
    body = np.zeros((high, wide), np.float32)
    windows = np.zeros_like(body)
    stripe = np.zeros_like(body)
    for n in range(_CARS):
        left = wide - int((n + 1) * (_LENGTH + _GAP) * unit)
        right = left + int(_LENGTH * unit)
        _plate(body, (left, body_top, right, body_low), 0.16 * unit, nose=n == 0)
        stripe[int(body_low - 0.20 * unit) : int(body_low - 0.13 * unit), left:right] = 1
        step = _LENGTH * unit / 10.4
        for k in range(10):
            x = left + (0.45 + k) * step
            lit = 1.0 if random.random() < 0.80 else 0.22  # noqa: PLR2004 - some sleep already
            if n == 0 and k == 9:  # noqa: PLR2004 - the driver's cab is dark
                lit = 0.12
            y0, y1 = body_top + 0.24 * unit, body_top + 0.58 * unit
            pane = np.zeros_like(windows[:, int(x) : int(x + 0.62 * step) + 1])
            pane[int(y0) : int(y1)] = lit
            windows[:, int(x) : int(x + 0.62 * step) + 1] = pane
    glow = cv2.GaussianBlur(windows, (0, 0), 0.42 * unit) * 1.7
    warm = np.array(bgr(toned(colours.secondary, lightness=0.06)), np.float32)
    bright = np.array(bgr(mixed(colours.secondary, "#FFFFFF", 0.45)), np.float32)
    shell = np.array(bgr(mixed(colours.deepest, colours.primary, 0.35)), np.float32)
    line = np.array(bgr(colours.accent), np.float32)
    alpha = np.clip(glow * 0.55, 0, 0.6) * (1 - body) + body
    colour = warm * (1 - body[..., None]) + shell * body[..., None]
    colour += (line - colour) * (stripe * body * 0.8)[..., None]
    colour += (bright - colour) * np.clip(windows * body, 0, 1)[..., None]
    colour += (warm - colour) * np.clip(glow * body * (1 - windows) * 0.22, 0, 1)[..., None]
    picture = np.concatenate([colour, alpha[..., None] * 255], -1)
    picture[..., :3] *= alpha[..., None]
    size = (wide // _FINE, high // _FINE)
    small: Array = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small[..., :3] /= np.maximum(small[..., 3:] / 255, 1e-4)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def _plate(mask: Array, box: tuple[int, int, int, int], radius: float, *, nose: bool) -> None:
    left, top, right, low = box
    r = int(radius)
    cv2.rectangle(mask, (left, top + r), (right, low), 1.0, -1)
    cv2.rectangle(mask, (left + r, top), (right - r, low), 1.0, -1)
    for x in (left + r, right - r):
        cv2.circle(mask, (x, top + r), r, 1.0, -1, cv2.LINE_AA)
    if nose:
        # A sloped front: cut a wedge from the upper right corner.
        wedge = np.array([(right + 2, top - 2), (right - 5 * r, top - 2), (right + 2, low - 2 * r)])
        cv2.fillPoly(mask, [wedge.astype(np.int32)], 0.0, cv2.LINE_AA)
