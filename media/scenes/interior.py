"""A room at night or by day: a window in which the land goes by, a curtain, a warm lamp."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import at_lightness, bgr, lightness, mixed, toned
from media.pixels import Planes, mix
from media.scenes import ground
from media.scenes.horizon import Horizon
from media.scenes.motion import sway
from media.scenes.stage import Area

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage

    Array = NDArray[Any]


_TALLEST, _WIDEST = 1.15, 2.1
"""Height over width, and width over height, beyond which a window is cut to a window's shape."""


class Interior:
    """Seen from the berth: the window stands in the focus, the wall around it is calm."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        room = stage.focus
        narrow = min(stage.width, stage.height)
        pad = 0.045 * narrow
        low = min(room.bottom, stage.height - 0.14 * narrow)
        box = Area(room.left + pad, room.top + pad, room.right - pad, low - pad)
        if box.height > _TALLEST * box.width:
            middle = box.y
            half = _TALLEST / 2 * box.width
            box = Area(box.left, middle - half, box.right, middle + half)
        elif box.width > _WIDEST * box.height:
            # A slit is no window: the wall beside it keeps the rest.
            box = Area(box.right - _WIDEST * box.height, box.top, box.right, box.bottom)
        self._left, self._top = int(box.left) & ~1, int(box.top) & ~1
        width, height = max(32, int(box.width) & ~1), max(32, int(box.height) & ~1)
        self._size = (width, height)
        view = replace(
            stage,
            width=width,
            height=height,
            focus=Area(0.10 * width, 0.05 * height, 0.95 * width, 0.92 * height),
            quiet=None,
            words=stage.words - {"train", "sleeper", "rail", "railway", "zug", "schlafwagen"},
        )
        self._inside = Horizon(view, pace=0.42)
        self._view = Planes.blank(width, height)
        self._room = self._wall(box)
        hole = np.zeros((stage.height, stage.width), np.float32)
        self._shape(hole, box, 0.0, 0.16 * min(width, height))
        cut = hole[self._top : self._top + height, self._left : self._left + width]
        glass = ground.as_bytes(cut)
        curtain = ground.as_bytes(self._curtain(box))
        self._glass = np.asarray(
            cv2.multiply(
                glass,
                255 - curtain[self._top : self._top + height, self._left : self._left + width],
                scale=1 / 255,
            )
        )
        self._sheen = self._streaks(width, height)
        self._white = Planes.blank(width, height, bgr(mixed(stage.colours.paper, "#FFFFFF", 0.4)))

    @staticmethod
    def _shape(mask: Array, box: Area, grow: float, radius: float) -> None:
        """Draw a rectangle with round corners into a mask of 0..1."""
        height, width = mask.shape
        x = np.arange(width, dtype=np.float32)[None, :] + 0.5
        y = np.arange(height, dtype=np.float32)[:, None] + 0.5
        across = np.abs(x - box.x) - box.width / 2 - grow + radius
        along = np.abs(y - box.y) - box.height / 2 - grow + radius
        far = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
        far = far + np.minimum(np.maximum(across, along), 0) - radius
        np.maximum(mask, np.clip(0.5 - far, 0, 1), out=mask)

    def _wall(self, box: Area) -> Planes:
        stage = self._stage
        narrow = min(stage.width, stage.height)
        c = stage.colours
        deep = c.primary if lightness(c.primary) < 0.45 else c.deepest  # noqa: PLR2004 - a room after dark
        wall = at_lightness(mixed(deep, c.accent, 0.16), 0.27, 0.8)
        picture = ground.vertical(
            stage, [(0, toned(wall, lightness=-0.02)), (1, toned(wall, lightness=-0.05))]
        )
        lamp = mixed(c.secondary, c.accent, 0.25)
        ground.settle(picture, stage, wall, 0.55)
        at = (self._lamp_x(box), self._ledge_at(box) - 0.06 * narrow)
        ground.glow(picture, stage, at, 0.55 * narrow, (lamp, 0.34))
        ground.glow(picture, stage, at, 0.20 * narrow, (lamp, 0.40))
        ground.vignette(picture, stage, 0.25)
        planes = ground.finish(picture, stage)
        self._frame(planes, box, wall)
        mix(planes, self._cloth(box), ground.as_bytes(self._curtain(box)))
        self._ledge(planes, box)
        self._rod(planes, box)
        return planes

    def _rod(self, planes: Planes, box: Area) -> None:
        """Bake the rod that the curtain hangs from."""
        stage = self._stage
        thick = 0.007 * min(stage.width, stage.height)
        row = box.top - 0.07 * box.height
        mask = np.zeros((stage.height, stage.width), np.float32)
        rod = Area(
            box.right - 0.30 * box.width, row - thick, box.right + 0.09 * box.width, row + thick
        )
        self._shape(mask, rod, 0.0, thick)
        brass = at_lightness(stage.colours.secondary, 0.60, 0.8)
        mix(planes, Planes.blank(stage.width, stage.height, bgr(brass)), ground.as_bytes(mask))

    def _frame(self, planes: Planes, box: Area, wall: str) -> None:
        """Bake the frame: a shadow gap, a bright lip above, a sill that catches the lamp."""
        stage = self._stage
        radius = 0.16 * min(box.width, box.height)
        unit = 0.011 * min(stage.width, stage.height)
        for grow, colour, dy in (
            (3.6 * unit, toned(wall, lightness=-0.06), 0.6 * unit),
            (3.0 * unit, toned(wall, lightness=0.11), 0.0),
            (1.1 * unit, toned(wall, lightness=0.03), 0.0),
            (0.5 * unit, toned(wall, lightness=-0.10), 0.0),
        ):
            mask = np.zeros((stage.height, stage.width), np.float32)
            moved = Area(box.left, box.top + dy, box.right, box.bottom + dy)
            self._shape(mask, moved, grow, radius + grow)
            mix(planes, Planes.blank(stage.width, stage.height, bgr(colour)), ground.as_bytes(mask))

    def _curtain(self, box: Area) -> Array:
        """Return where the curtain hangs, gathered at the window's right."""
        stage = self._stage
        x = np.arange(stage.width, dtype=np.float32)[None, :] + 0.5
        y = np.arange(stage.height, dtype=np.float32)[:, None] + 0.5
        share = np.clip((y - box.top) / box.height, 0, 1)
        edge = box.right - box.width * (0.20 - 0.05 * np.sin(np.pi * share) - 0.02 * share)
        end = box.right + 0.045 * box.width
        inside = np.clip(x - edge + 0.5, 0, 1) * np.clip(end - x + 0.5, 0, 1)
        inside = inside * np.clip(y - (box.top - 0.07 * box.height) + 0.5, 0, 1)
        # It hangs down to the ledge, which is baked over its end.
        return np.asarray(inside * np.clip(self._ledge_at(box) + 2 - y + 0.5, 0, 1))

    def _cloth(self, box: Area) -> Planes:
        stage = self._stage
        cloth = at_lightness(stage.colours.accent, 0.46, 0.95)
        x = np.arange(stage.width, dtype=np.float32)[None, :]
        y = np.arange(stage.height, dtype=np.float32)[:, None]
        phase = (x - box.right) / (0.040 * box.width) + 0.5 * np.sin(y / (0.5 * box.height))
        fold = 0.80 + 0.26 * np.sin(phase) + 0.08 * np.sin(2.3 * phase + 1)
        fall = 1.06 - 0.30 * np.clip((y - box.top) / box.height, 0, 1)
        picture = np.array(bgr(cloth), np.float32) * (fold * fall)[..., None]
        picture += ground.grain_tile(stage, 2.0)[..., None]
        return Planes.from_bgr(np.clip(picture, 0, 255).astype(np.float32))

    def _ledge(self, planes: Planes, box: Area) -> None:
        """Bake a ledge below the window, and the lamp on it whose light is on the wall."""
        stage = self._stage
        c = stage.colours
        narrow = min(stage.width, stage.height)
        edge = self._ledge_at(box)
        x = np.arange(stage.width, dtype=np.float32)[None, :] + 0.5
        y = np.arange(stage.height, dtype=np.float32)[:, None] + 0.5
        lamp_x, size = self._lamp_x(box), 0.070 * narrow
        wood = at_lightness(mixed(c.accent, c.secondary, 0.35), 0.36, 0.75)
        pool = np.exp(-(((x - lamp_x) / (5.5 * size)) ** 2 + ((y - edge) / (3.2 * size)) ** 2))
        lit = 0.50 + 0.95 * pool - 0.18 * np.clip((y - edge) / (0.2 * stage.height), 0, 1)
        front = y > edge + 0.030 * narrow
        lit = lit * np.where(front, 0.60, 1.0)
        picture = np.array(bgr(wood), np.float32) * lit[..., None]
        picture += ground.grain_tile(stage, 2.2)[..., None]
        board = Planes.from_bgr(np.clip(picture, 0, 255).astype(np.float32))
        cover = np.broadcast_to(np.clip(y - edge + 0.5, 0, 1), (stage.height, stage.width))
        mix(planes, board, ground.as_bytes(cover))
        self._lamp(planes, (lamp_x, edge + 0.016 * narrow), size)

    def _lamp(self, planes: Planes, foot: tuple[float, float], size: float) -> None:
        stage = self._stage
        c = stage.colours
        x = np.arange(stage.width, dtype=np.float32)[None, :] + 0.5 - foot[0]
        y = np.arange(stage.height, dtype=np.float32)[:, None] + 0.5 - foot[1]
        stem = np.clip(0.07 * size - np.abs(x) + 0.5, 0, 1) * ((y < 0) & (y > -1.1 * size))
        base = np.clip(
            (1 - np.hypot(x / (0.42 * size), y / (0.10 * size))) * 0.10 * size + 0.5, 0, 1
        )
        dome = np.clip(size - np.hypot(x, (y + 1.02 * size) * 1.08) + 0.5, 0, 1)
        dome = dome * np.clip(-1.02 * size - y + 0.5, 0, 1)
        dark = Planes.blank(stage.width, stage.height, bgr(at_lightness(c.accent, 0.20, 0.5)))
        mix(planes, dark, ground.as_bytes(np.maximum(stem, base)))
        glow = ground.vertical(
            stage,
            [
                (0, mixed(c.secondary, c.accent, 0.20)),
                (
                    max(0.01, (foot[1] - 2.0 * size) / stage.height),
                    mixed(c.secondary, c.accent, 0.20),
                ),
                ((foot[1] - 1.0 * size) / stage.height, mixed(c.secondary, "#FFFFFF", 0.62)),
                (1.0001, mixed(c.secondary, "#FFFFFF", 0.62)),
            ],
        )
        mix(planes, ground.finish(glow, stage, 1.0), ground.as_bytes(dome))

    def _ledge_at(self, box: Area) -> float:
        narrow = min(self._stage.width, self._stage.height)
        return min(box.bottom + 0.105 * narrow, 0.965 * self._stage.height)

    def _lamp_x(self, box: Area) -> float:
        narrow = min(self._stage.width, self._stage.height)
        return max(0.10 * narrow, box.left + 0.02 * narrow)

    @staticmethod
    def _streaks(width: int, height: int) -> Array:
        """Return reflections on the pane: two slanting streaks of the lamp."""
        x = np.arange(width, dtype=np.float32)[None, :] / width
        y = np.arange(height, dtype=np.float32)[:, None] / height
        along = x + 0.45 * y
        streak = 0.10 * np.exp(-(((along - 0.42) / 0.055) ** 2))
        streak += 0.06 * np.exp(-(((along - 0.60) / 0.022) ** 2))
        return ground.as_bytes(streak * (1 - 0.5 * y))

    def paint(self, target: Planes, seconds: float) -> None:
        """Draw what passes outside, gently rocked, behind the glass."""
        target.fill_from(self._room)
        self._inside.paint(self._view, seconds)
        width, height = self._size
        glint = 0.85 + 0.15 * sway(seconds, 2.9)
        mix(self._view, self._white, np.asarray(cv2.convertScaleAbs(self._sheen, alpha=glint)))
        part = target.window(self._left, self._top, width, height)
        mix(part, self._view, self._glass)
