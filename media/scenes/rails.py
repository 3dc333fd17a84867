"""Rails to the horizon: sleepers that come towards us under a big sky."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import at_lightness, bgr, mixed, toned
from media.pixels import Planes
from media.scenes import ground
from media.scenes.horizon import Horizon
from media.scenes.land import Ridge, blend_band, lay_land
from media.scenes.motion import drift, sway

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage

    Array = NDArray[Any]

_GAUGE = 0.72  # half the track, in eye heights
_SLEEPER = 1.12
_PITCH = 1.35  # from sleeper to sleeper, in eye heights
_SPEED = 5.2  # eye heights per second


class Rails:
    """A track runs to its vanishing point in the focus; land and sky stand still behind it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        # A full moon stands over the rails; the first light lies behind the land.
        self._sky = Horizon(stage, disc=not stage.dawn)
        self._x = stage.focus.x
        self._level = self._sky.level
        deep = self._sky.land_colours
        below = max(8.0, stage.height - self._level)
        self._below = below
        # Pixels of one eye height at the lower edge: the track fills most of a narrow frame.
        self._scale = 0.40 * min(stage.width, 3.2 * below)
        self._floor = ground.finish(
            ground.vertical(
                stage,
                [
                    (self._level / stage.height, mixed(deep[0], deep[1], 0.5)),
                    (1.0001, toned(deep[3], lightness=0.01)),
                ],
            ),
            stage,
        )
        self._ridge = Ridge.random(
            stage.random(21), self._level, 0.10 * below, 0.9 * stage.width, 0.5
        )
        self._far = ground.finish(ground.vertical(stage, [(0, deep[0]), (1, deep[1])]), stage, 1.7)
        self._prepare(deep)

    def _prepare(self, deep: list[str]) -> None:
        stage = self._stage
        top = int(self._level) & ~1
        rows = np.arange(top, stage.height, dtype=np.float32)[:, None] + 0.5
        depth = self._below / np.maximum(rows - self._level, 0.35)  # 1 at the lower edge
        self._top, self._depth = top, depth[:, 0]
        columns = np.arange(stage.width, dtype=np.float32)[None, :] + 0.5
        # Eye heights from the middle of the track; the lower edge shows about five of them.
        self._across = np.abs(columns - self._x) / self._scale * depth
        pixel = depth / self._scale
        rail = np.clip(0.5 + (0.060 - np.abs(self._across - _GAUGE)) / pixel, 0, 1)
        shine = np.clip(0.5 + (0.018 - np.abs(self._across - _GAUGE + 0.012)) / pixel, 0, 1)
        fade = np.exp(-((depth - 1) / 26))
        self._rail = ground.as_bytes(rail * fade)
        self._shine = ground.as_bytes(shine * np.minimum(1, 0.25 + fade))
        self._bed = np.clip(0.5 + (_SLEEPER - self._across) / pixel, 0, 1)
        ballast = np.clip((1.75 - self._across) / 0.5, 0, 1) * 0.55
        night = stage.night
        steel = mixed(stage.colours.secondary, stage.colours.paper, 0.55)
        base = deep[3]
        size = (stage.width, stage.height)
        stone = Planes.blank(*size, bgr(toned(base, lightness=0.07 if night else 0.10)))
        self._wood = Planes.blank(*size, bgr(toned(base, lightness=-0.035)))
        self._steel = Planes.blank(*size, bgr(at_lightness(base, 0.34, 0.6)))
        self._gleam = Planes.blank(*size, bgr(steel))
        blend_band(self._floor, stone, ground.as_bytes(ballast), top)

    def paint(self, target: Planes, seconds: float) -> None:
        """Draw the sleepers where the journey has brought them."""
        stage = self._stage
        self._sky.paint_sky(target, seconds)
        x = np.arange(stage.width, dtype=np.float32)
        edge = self._ridge.edge(x + np.float32(0.012 * stage.width * drift(seconds, stage.seconds)))
        lay_land(target, self._far, np.minimum(edge, np.float32(self._level)))
        lay_land(target, self._floor, np.full(stage.width, self._level, np.float32))
        # How much of a row is sleeper: exact over the row's depth, so that far rows never flicker.
        near = self._depth
        behind = self._below / np.maximum(self._below / near - 1.0, 0.35)
        run = _SPEED * seconds
        cover = _covered(behind + run, 0.40) - _covered(near + run, 0.40)
        cover = np.clip(cover / np.maximum((behind - near) / _PITCH, 1e-6), 0, 1)
        fade = np.exp(-((near - 1) / 30))
        mask = ground.as_bytes(self._bed * (cover * fade)[:, None])
        self._band(target, self._wood, mask)
        self._band(target, self._steel, self._rail)
        glint = np.clip(0.75 + 0.25 * sway(seconds, 1.7), 0, 1)
        self._band(target, self._gleam, cv2.convertScaleAbs(self._shine, alpha=float(glint)))

    def _band(self, target: Planes, layer: Planes, mask: Array) -> None:
        low = mask.shape[0] & ~1
        blend_band(target, layer, mask[:low], self._top)


def _covered(depth: Array, share: float) -> Array:
    """Return how many sleepers lie before a depth, counting parts of them."""
    turns = depth / _PITCH
    whole = np.floor(turns)
    return np.asarray(whole + np.clip((turns - whole) / share, 0, 1), np.float32) * share
