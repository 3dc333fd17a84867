"""A pour, seen close: a thread of something thick falls and folds into slow rings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import bgr, mixed, toned
from media.pixels import Planes, mix
from media.scenes import ground
from media.scenes.motion import ease_out
from media.scenes.stage import backdrop
from media.scenes.subject import liquid

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage

    Array = NDArray[Any]

_FLAT = 0.30  # height of a circle on the surface, of its width


class Pour:
    """The thread ends in the lower part of the focus; below it lies the surface."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        c = stage.colours
        room = stage.focus
        narrow = min(stage.width, stage.height)
        self._x = room.x
        self._y = room.top + 0.66 * room.height
        self._radius = min(0.30 * narrow, 0.42 * room.width)
        self._half = 0.030 * narrow
        wall = backdrop(c)
        picture = ground.vertical(
            stage, [(0, toned(wall, lightness=-0.02)), (1, toned(wall, lightness=-0.07))]
        )
        light = mixed(c.secondary, c.paper, 0.45)
        ground.glow(picture, stage, (room.x, room.y), 0.8 * narrow, (light, 0.55))
        ground.settle(picture, stage, wall, 0.6)
        self._edge = self._y - 0.62 * self._radius
        quiet = stage.quiet
        if quiet is not None and quiet.top < self._edge < quiet.bottom - 0.12 * quiet.height:
            # The surface must not begin behind the type: move it to the type's lower end.
            self._edge = quiet.bottom - 0.03 * quiet.height
            self._y = self._edge + 0.45 * (stage.height - self._edge)
        base = ground.finish(picture, stage)
        deep = liquid(c)
        self._tones = [
            ground.finish(ground.vertical(stage, [(0, tone), (1, tone)]), stage, 1.5)
            for tone in (
                toned(deep, lightness=-0.07),
                deep,
                mixed(deep, c.secondary, 0.30),
                mixed(deep, c.secondary, 0.68),
                mixed(c.secondary, c.paper, 0.75),
            )
        ]
        self._surface(base)
        self._mouth = self._find_mouth(narrow)
        if self._mouth > 0:
            self._spout(base, narrow)
        self._ground = base
        self._prepare()

    def _find_mouth(self, narrow: int) -> float:
        """Return the row where the thread begins: the frame's top, or a spout below the type."""
        quiet = self._stage.quiet
        if quiet is None or not quiet.left < self._x < quiet.right or quiet.top > self._y:
            return 0.0
        room = self._stage.focus
        return max(quiet.bottom + 0.03 * narrow, room.top + min(0.20 * narrow, 0.30 * room.height))

    def _spout(self, base: Planes, narrow: int) -> None:
        """Bake the neck of a bottle that comes in from the right and ends above the thread."""
        stage = self._stage
        x = np.arange(stage.width, dtype=np.float32)[None, :] + 0.5
        y = np.arange(stage.height, dtype=np.float32)[:, None] + 0.5
        far = (stage.width + 0.3 * narrow, self._mouth - 0.160 * narrow)
        end = (self._x + 0.30 * self._half, self._mouth - 0.012 * narrow)
        length = math.hypot(end[0] - far[0], end[1] - far[1])
        ux, uy = (far[0] - end[0]) / length, (far[1] - end[1]) / length
        along = (x - end[0]) * ux + (y - end[1]) * uy
        across = -(x - end[0]) * uy + (y - end[1]) * ux
        neck, lip = 0.052 * narrow, 0.060 * narrow
        wide = np.where(
            along < 0.045 * narrow, lip, neck + 0.05 * np.maximum(along - 0.2 * narrow, 0)
        )
        inside = np.clip(wide - np.abs(across) + 0.5, 0, 1) * np.clip(along + 0.5, 0, 1)
        turn = np.clip(across / wide, -1, 1)
        c = stage.colours
        glass = mixed(liquid(c), c.accent, 0.25)
        lit = 0.62 + 0.55 * np.exp(-(((turn - 0.45) / 0.20) ** 2))
        lit += 1.5 * np.exp(-(((turn - 0.52) / 0.07) ** 2)) + 0.7 * np.exp(
            -(((turn + 0.66) / 0.10) ** 2)
        )
        lit = lit * np.where((along > 0.040 * narrow) & (along < 0.050 * narrow), 0.55, 1.0)
        picture = np.array(bgr(glass), np.float32) * lit[..., None]
        picture += ground.grain_tile(stage, 1.6)[..., None]
        mix(
            base,
            Planes.from_bgr(np.clip(picture, 0, 255).astype(np.float32)),
            ground.as_bytes(inside),
        )

    def _surface(self, base: Planes) -> None:
        """Bake the surface: everything below its far edge, lighter where the sky lies in it."""
        stage = self._stage
        start = self._edge / stage.height
        c = stage.colours
        deep = self._deep_stops(c.secondary)
        picture = ground.vertical(
            stage, [(start, deep[0]), (start + (1 - start) * 0.35, deep[1]), (1.0001, deep[2])]
        )
        sea = ground.finish(picture, stage)
        rows = np.arange(stage.height, dtype=np.float32)[:, None] + 0.5
        soft = np.clip((rows - self._edge) / (0.012 * stage.height) + 0.5, 0, 1)
        mix(base, sea, ground.as_bytes(np.broadcast_to(soft, (stage.height, stage.width))))

    def _deep_stops(self, bright: str) -> tuple[str, str, str]:
        deep = liquid(self._stage.colours)
        return mixed(deep, bright, 0.42), mixed(deep, bright, 0.10), toned(deep, lightness=-0.05)

    def _prepare(self) -> None:
        stage = self._stage
        self._shore = max(0, int(self._edge)) // 2 * 2
        rows, columns = np.mgrid[self._shore : stage.height, 0 : stage.width]
        y, x = rows.astype(np.float32) + 0.5, columns.astype(np.float32) + 0.5
        away = np.hypot(x - self._x, (y - self._y) / _FLAT)
        self._rings = ground.Profile(away, 2.0)
        # A ring's near slope faces us and its far slope the window: shade by direction too.
        facing = (y - self._y) / _FLAT / np.maximum(away, 1)
        self._near = ground.as_bytes(np.clip(0.55 + 0.45 * facing, 0, 1))
        self._far = ground.as_bytes(np.clip(0.55 - 0.45 * facing, 0, 1))
        top = int(self._mouth) & ~1
        self._rows = (top, min(stage.height, int(self._y + 0.3 * self._half) & ~1))
        reach = int(4 * self._half) & ~1
        left = max(0, (int(self._x) - reach) & ~1)
        self._columns = (left, min(stage.width, left + 2 * reach))

    def paint(self, target: Planes, seconds: float) -> None:
        """Draw the rings that spread, then the thread over them."""
        target.fill_from(self._ground)
        at = self._rings.at
        pitch = 0.44 * self._radius
        run = seconds * 0.5
        wave = np.sin(2 * math.pi * (at / pitch - run))
        fade = np.exp(-at / (0.80 * self._radius)) * ease_out(seconds / 1.2 + 0.15)
        table = wave * fade
        light = self._rings.mask(np.clip(table, 0, 1) ** 3 * 1.3)
        dark = self._rings.mask(np.clip(-table * 0.8, 0, 1))
        sea = self._below(target)
        mix(sea, self._below(self._tones[3]), _times(light, self._far))
        mix(sea, self._below(self._tones[0]), _times(dark, self._near))
        core = self._rings.mask(np.clip((2.3 * self._half - at) / (1.1 * self._half), 0, 1))
        mix(sea, self._below(self._tones[2]), core)
        self._thread(target, seconds)

    def _below(self, planes: Planes) -> Planes:
        height = self._stage.height - self._shore
        return planes.window(0, self._shore, self._stage.width, height)

    def _thread(self, target: Planes, seconds: float) -> None:
        (top, low), (left, right) = self._rows, self._columns
        rows = np.arange(top, low, dtype=np.float32)[:, None] + 0.5
        columns = np.arange(left, right, dtype=np.float32)[None, :] + 0.5
        fall = np.clip(1 - (self._y - rows) / (0.9 * self._stage.height), 0, 1)
        bend = 0.16 * self._half * np.sin(rows / (2.6 * self._half) - 3.1 * seconds) * fall
        foot = np.exp(-(self._y - rows) / (0.9 * self._half))
        wide = self._half * (1.18 - 0.46 * fall + 1.15 * foot)
        wide *= 1 + 0.05 * np.sin(rows / (3.4 * self._half) - 9.0 * seconds)
        swing = 0.30 * self._half * np.sin(2.0 * seconds) * fall**3
        # Out of a spout it leaves in the spout's direction and then falls.
        leave = 1.1 * self._half * np.exp(-(rows - self._mouth) / (1.1 * self._half))
        leave = leave if self._mouth > 0 else 0.0
        share = (columns - self._x - bend - swing - leave) / wide
        inside = np.clip((1 - np.abs(share)) * wide + 0.5, 0, 1)
        inside = inside * np.clip((rows - self._mouth) / 3, 0, 1)
        window = target.window(left, top, right - left, low - top)
        strips = (
            (1, inside),
            (2, inside * np.exp(-(((share - 0.10) / 0.52) ** 2)) * 0.80),
            (3, inside * np.exp(-(((share + 0.42) / 0.17) ** 2)) * 0.85),
            (4, inside * np.exp(-(((share + 0.46) / 0.075) ** 2)) * 0.80),
            (3, inside * np.exp(-(((share - 0.74) / 0.12) ** 2)) * 0.55),
        )
        for tone, mask in strips:
            layer = self._tones[tone].window(left, top, right - left, low - top)
            mix(window, layer, ground.as_bytes(mask))


def _times(one: Array, other: Array) -> Array:
    return np.asarray(cv2.multiply(one, other, scale=1 / 255))
