"""Sun or moon over layered land, by day or by night; a train passes where there is one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from media.colour import at_lightness, bgr, distance, lightness, mixed, oklab, toned
from media.pixels import Planes, lay, mix
from media.scenes import ground
from media.scenes.land import Ridge, lay_land
from media.scenes.motion import drift, ease_out, sway
from media.scenes.sky import HALO, celestial, stars
from media.scenes.train import Train

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage

    Array = NDArray[Any]

_LAYERS = 4
_SECOND = 0.255  # of the way from the horizon to the frame's foot: where the second ridge lies
_WHEELS = 0.015  # of the frame's height, that a train's wheels stand below its ridge
_DUSK = 0.10  # OKLab chroma of the evening sky
_COLUMN = 0.5  # of the frame's height: a quiet box taller than this stands beside the subject
_UPPER = 0.55
_SEEN = 0.16  # OKLab distance from which a flat disc is seen on paper


class Horizon:
    """A sky, its light, and four layers of land that slide past one another."""

    def __init__(
        self,
        stage: Stage,
        *,
        pace: float = 0.0,
        plain: bool = False,
        disc: bool = True,
        train: bool | None = None,
    ) -> None:
        """`pace` is how fast the land goes by, in widths per second; `plain` leaves the sky out.

        `disc` says whether sun or moon stand in the sky, `train` whether a train passes; by
        default the prompt's words decide that.
        """
        self._stage = stage
        self._pace = pace
        self._plain = plain
        self._bare = plain or not disc
        self._has_train = stage.train if train is None else train
        self._place()
        sky, land, light = _colours(stage)
        self.land_colours = land
        self._sky = ground.finish(self._backdrop(sky, light), stage)
        if plain:
            self._rising()
        if stage.night and not stage.dawn and not plain:
            stars(self._sky, stage, self._level)
        self._disc = celestial(self._radius, light, moon=stage.night and not stage.dawn)
        self._land = [
            ground.finish(_land_picture(stage, one, self._level), stage, 1.7) for one in land
        ]
        self._ridges = self._make_ridges()
        self._train = None
        if self._has_train:
            narrow = min(stage.width, stage.height)
            self._train = Train(stage.colours, 0.046 * narrow + 4, stage.seed)

    def _place(self) -> None:
        """Find the horizon's row, and where in the focus the sun or moon stands."""
        stage, focus = self._stage, self._stage.focus
        tall = stage.height > 1.3 * stage.width
        self._level = focus.top + (0.62 if tall else 0.66) * focus.height
        self._level = min(self._level, 0.83 * stage.height)
        if not tall and stage.quiet is not None and stage.quiet.height > _COLUMN * stage.height:
            # Type stands in a column beside the subject: keep the land below it.
            self._level = min(0.84 * stage.height, max(self._level, stage.quiet.bottom))
            if self._has_train:
                # The train runs on the second ridge, above whatever stands below the focus.
                foot = focus.bottom - _WHEELS * stage.height
                row = (foot - _SECOND * stage.height) / (1 - _SECOND)
                self._level = min(self._level, max(row, focus.top + 0.5 * focus.height))
        narrow = min(stage.width, stage.height)
        self._radius = 0.5 * min(0.36 * narrow, 0.42 * focus.width, 0.42 * focus.height)
        self._x = focus.x + (0.10 if tall else 0.06) * focus.width
        self._y = self._level - 1.05 * self._radius
        self._y = min(self._y, focus.top + 0.40 * focus.height)
        self._y = max(self._y, focus.top + self._radius)
        if stage.dawn:
            self._y = self._level - 0.30 * self._radius

    def _backdrop(self, sky: list[str], light: str) -> Array:
        """Return the sky as a small picture: its gradient, the light's glow, calm under type."""
        stage = self._stage
        if self._plain:
            # Plain paper as far down as type may stand: a calmed box would show its edges on it.
            paper, land = stage.colours.paper, self._level / stage.height
            haze = mixed(paper, stage.colours.secondary, 0.42)
            stops = [(0.0, paper), (0.58 * land, paper), (1.02 * land, haze)]
            return ground.vertical(stage, stops)
        picture = ground.vertical(stage, _sky_stops(sky, self._level / stage.height))
        at = (self._x, self._y)
        if stage.dawn:
            low = (self._x, self._level)
            ground.glow(picture, stage, low, 0.75 * self._far, (light, 0.55))
            ground.glow(picture, stage, low, 0.28 * self._far, (light, 0.75))
            tone = sky[1]
        elif stage.night:
            ground.glow(picture, stage, at, 2.6 * self._radius, (mixed(light, sky[3], 0.5), 0.40))
            middle = stage.quiet.y / stage.height if stage.quiet is not None else 0.3
            tone = sky[1] if middle < _UPPER * self._level / stage.height else sky[2]
        else:
            ground.glow(picture, stage, at, 4.2 * self._radius, (light, 0.62))
            tone = at_lightness(mixed(sky[1], sky[2], 0.2), 0.42, 1.1)
        ground.settle(picture, stage, tone, 0.72, soft=0.45)
        return picture

    def _rising(self) -> None:
        """Bake a flat sun that comes up behind the land, at the end of the frame."""
        stage, c = self._stage, self._stage.colours
        radius = 0.15 * min(stage.width, stage.height)
        mask = np.zeros((stage.height, stage.width), np.float32)
        ground.disc(mask, 0.80 * stage.width, self._level + 0.10 * radius, radius)
        colour = max((c.secondary, c.primary), key=lambda x: distance(x, c.paper) > _SEEN)
        mix(self._sky, Planes.blank(stage.width, stage.height, bgr(colour)), ground.as_bytes(mask))

    def _make_ridges(self) -> list[Ridge]:
        stage, random = self._stage, self._stage.random(5)
        below = stage.height - self._level
        wide = max(stage.width, 0.8 * stage.height)
        ridges = []
        for n in range(_LAYERS):
            level = self._level + below * (0.02 + 0.235 * n)
            swing = min(below, 0.30 * wide) * (0.13 + 0.015 * n)
            length = wide * (0.74 + 0.22 * n)
            rough = 0.42 if self._has_train and n == 1 else 0.58 - 0.07 * n
            ridges.append(Ridge.random(random, level, swing, length, rough))
        if self._has_train:
            calm_one = ridges[1]
            ridges[1] = Ridge(
                calm_one.level, calm_one.swing * 0.28, wide * 2.2, calm_one.phases, 0.3
            )
        return ridges

    @property
    def _far(self) -> float:
        """How far the light of a sun at the horizon reaches, px."""
        return 0.5 * (self._stage.width + self._level)

    @property
    def level(self) -> float:
        """The horizon's row."""
        return self._level

    def paint_sky(self, target: Planes, seconds: float) -> None:
        """Draw the sky with its sun or moon, and no land."""
        stage = self._stage
        target.fill_from(self._sky)
        rise = ease_out(seconds / max(1.2, 0.9 * stage.seconds))
        y = self._y + 0.55 * self._radius * (1 - rise)
        if not self._bare:
            lay(target, self._disc, self._x - self._radius * HALO, y - self._radius * HALO)

    def paint(self, target: Planes, seconds: float) -> None:
        """Draw from the far to the near."""
        self.paint_sky(target, seconds)
        stage = self._stage
        t = drift(seconds, stage.seconds)
        x = np.arange(stage.width, dtype=np.float32)
        for n, (ridge, layer) in enumerate(zip(self._ridges, self._land, strict=True)):
            slide = t * stage.width * (0.006 + 0.017 * n)
            slide += self._pace * seconds * stage.width * (0.05, 0.16, 0.45, 1.0)[n]
            edge = ridge.edge(x + np.float32(slide))
            edge += np.float32(0.0012 * stage.height * n * sway(seconds, 9.0))
            if n == 1 and self._train is not None:
                self._pass(target, seconds, edge)
            lay_land(target, layer, edge)

    def _pass(self, target: Planes, seconds: float, edge: Array) -> None:
        assert self._train is not None
        stage, train = self._stage, self._train
        speed = stage.width * 0.21
        start = 0.70 * stage.width if train.length > stage.width else 0.45 * train.length
        train.lay(target, start + speed * seconds, edge)


def _colours(stage: Stage) -> tuple[list[str], list[str], str]:
    if stage.dawn:
        return dawn_colours(stage)
    return night_colours(stage) if stage.night else day_colours(stage)


def dawn_colours(stage: Stage) -> tuple[list[str], list[str], str]:
    """Return sky from top to horizon, land from far to near, and the first light of day."""
    c = stage.colours
    night, land, _ = night_colours(stage)
    light = mixed(c.secondary, c.paper, 0.55)
    sky = [
        toned(night[1], lightness=0.02),
        toned(night[2], lightness=0.01),
        mixed(mixed(night[3], c.accent, 0.45), light, 0.15),
        mixed(mixed(c.accent, c.secondary, 0.55), light, 0.55),
    ]
    return sky, [mixed(land[0], c.accent, 0.22), *land[1:]], light


def day_colours(stage: Stage) -> tuple[list[str], list[str], str]:
    """Return sky from top to horizon, land from far to near, and the light of day."""
    c = stage.colours
    warm = c.secondary
    deep = c.deepest
    _, a, b = oklab(at_lightness(c.primary, 0.41))
    strength = _DUSK / max(0.02, math.hypot(a, b))
    top = toned(at_lightness(c.primary, 0.41), chroma=min(1.7, strength), hue=-22)
    sky = [
        top,
        mixed(top, at_lightness(c.primary, 0.58, 0.80), 0.38),
        mixed(warm, at_lightness(c.primary, 0.66, 0.9), 0.30),
        mixed(warm, c.paper, 0.62),
    ]
    body = mixed(c.primary, deep, 0.30)
    land = [
        mixed(mixed(warm, c.primary, 0.55), deep, 0.06),
        mixed(body, deep, 0.28),
        mixed(body, deep, 0.66),
        mixed(deep, body, 0.08),
    ]
    return sky, land, mixed(c.paper, "#FFF3D6", 0.5)


def night_colours(stage: Stage) -> tuple[list[str], list[str], str]:
    """Return sky from top to horizon, land from far to near, and the moon's light."""
    c = stage.colours
    blue = c.primary if c.nocturnal else mixed(c.deepest, "#10233F", 0.6)
    level = max(0.17, min(0.30, lightness(blue)))
    sky = [
        at_lightness(blue, level - 0.06, 0.95),
        at_lightness(blue, level + 0.03, 1.05),
        at_lightness(blue, level + 0.16, 1.05),
        mixed(at_lightness(blue, level + 0.28, 1.0), c.secondary, 0.10),
    ]
    land = [
        at_lightness(blue, level + 0.11, 0.85),
        at_lightness(blue, level + 0.03, 0.85),
        at_lightness(blue, level - 0.045, 0.8),
        at_lightness(blue, level - 0.095, 0.7),
    ]
    return sky, land, mixed(c.secondary, c.paper, 0.72)


def _sky_stops(sky: list[str], horizon: float) -> list[tuple[float, str]]:
    return [
        (0.0, sky[0]),
        (0.42 * horizon, sky[1]),
        (0.80 * horizon, sky[2]),
        (1.02 * horizon, sky[3]),
        (max(1.0, 1.03 * horizon), sky[3]),
    ]


def _land_picture(stage: Stage, colour: str, level: float) -> Array:
    """Return a layer: lightest at its upper edge, where the haze of what is behind lies on it."""
    start = level / stage.height
    return ground.vertical(
        stage,
        [
            (0.0, toned(colour, lightness=0.05)),
            (start, toned(colour, lightness=0.05)),
            (1.0, toned(colour, lightness=-0.035)),
        ],
    )
