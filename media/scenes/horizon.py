"""Sun or moon over layered land, by day or by night; a train passes where there is one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from media.colour import at_lightness, bgr, lightness, mixed, oklab, toned
from media.pixels import Planes, Sprite, lay, mix
from media.scenes import ground
from media.scenes.land import Ridge, lay_land
from media.scenes.motion import drift, ease_out, sway
from media.scenes.stage import calm
from media.scenes.train import Train

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage

    Array = NDArray[Any]

_LAYERS = 4
_DUSK = 0.10  # OKLab chroma of the evening sky
_COLUMN = 0.5  # of the frame's height: a quiet box taller than this stands beside the subject
_UPPER = 0.55


class Horizon:
    """A sky, its light, and four layers of land that slide past one another."""

    def __init__(
        self, stage: Stage, *, pace: float = 0.0, plain: bool = False, train: bool | None = None
    ) -> None:
        """`pace` is how fast the land goes by, in widths per second; `plain` leaves the sky out.

        `train` says whether a train passes; by default the prompt's words decide.
        """
        self._stage = stage
        self._pace = pace
        self._has_train = stage.train if train is None else train
        night = stage.night
        narrow = min(stage.width, stage.height)
        focus = stage.focus
        tall = stage.height > 1.3 * stage.width
        self._level = focus.top + (0.62 if tall else 0.66) * focus.height
        self._level = min(self._level, 0.83 * stage.height)
        if not tall and stage.quiet is not None and stage.quiet.height > _COLUMN * stage.height:
            # Type stands in a column beside the subject: keep the land below most of it.
            self._level = min(0.84 * stage.height, max(self._level, stage.quiet.bottom))
        self._radius = 0.5 * min(0.36 * narrow, 0.42 * focus.width, 0.42 * focus.height)
        self._x = focus.x + (0.10 if tall else 0.06) * focus.width
        self._y = self._level - 1.05 * self._radius
        self._y = min(self._y, focus.top + 0.40 * focus.height)
        self._y = max(self._y, focus.top + self._radius)
        sky, land, light = night_colours(stage) if night else day_colours(stage)
        self.land_colours = land
        picture = ground.vertical(stage, _sky_stops(sky, self._level / stage.height))
        spread = 2.6 if night else 4.2
        ground.glow(
            picture,
            stage,
            (self._x, self._y),
            spread * self._radius,
            (mixed(light, sky[3], 0.5) if night else light, 0.40 if night else 0.62),
        )
        middle = stage.quiet.y / stage.height if stage.quiet is not None else 0.3
        tone = sky[1] if middle < _UPPER * self._level / stage.height else sky[2]
        evening = at_lightness(mixed(sky[1], sky[2], 0.2), 0.42, 1.1)
        ground.settle(picture, stage, tone if night else evening, 0.72, soft=0.45)
        if plain:
            picture = ground.vertical(stage, [(0, stage.colours.paper), (1, sky[3])])
            ground.settle(picture, stage, stage.colours.paper, 0.9)
        self._sky = ground.finish(picture, stage)
        if night and not plain:
            self._stars()
        self._plain = plain
        self._disc = _disc(self._radius, light, moon=night)
        self._land = [
            ground.finish(_land_picture(stage, one, self._level), stage, 1.7) for one in land
        ]
        self._ridges = self._make_ridges()
        self._train = None
        if self._has_train:
            self._train = Train(stage.colours, 0.046 * narrow + 4, stage.seed)

    def _stars(self) -> None:
        stage = self._stage
        random = stage.random(3)
        count = int(220 * stage.width * stage.height / (1080 * 1920)) + 30
        mask = np.zeros((stage.height, stage.width), np.float32)
        low = 0.92 * self._level
        for _ in range(count):
            x, y = random.uniform(0, stage.width), low * random.uniform() ** 1.5
            size = (0.65 + 1.5 * random.uniform() ** 5) * max(0.8, stage.unit)
            dim = 0.35 + 0.65 * random.uniform() ** 2
            spot = np.zeros((9, 9), np.float32)
            ground.disc(spot, 4.5 + x % 1, 4.5 + y % 1, size)
            x0, y0 = int(x) - 4, int(y) - 4
            if 0 <= x0 < stage.width - 9 and 0 <= y0 < stage.height - 9:
                part = mask[y0 : y0 + 9, x0 : x0 + 9]
                np.maximum(part, spot * dim, out=part)
        if stage.quiet is not None:
            mask *= 1 - 0.6 * calm(stage, 0.03)
        paper = mixed(stage.colours.paper, "#FFFFFF", 0.5)
        white = Planes.blank(stage.width, stage.height, bgr(paper))
        mix(self._sky, white, ground.as_bytes(mask))

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
    def level(self) -> float:
        """The horizon's row."""
        return self._level

    def paint_sky(self, target: Planes, seconds: float) -> None:
        """Draw the sky with its sun or moon, and no land."""
        stage = self._stage
        target.fill_from(self._sky)
        rise = ease_out(seconds / max(1.2, 0.9 * stage.seconds))
        y = self._y + 0.55 * self._radius * (1 - rise)
        if not self._plain:
            lay(target, self._disc, self._x - self._radius * _HALO, y - self._radius * _HALO)

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


_HALO = 2.2


def _disc(radius: float, light: str, *, moon: bool) -> Sprite:
    """Return a sun with a bloom, or a moon with a few seas, as a sprite of 2 * _HALO radii."""
    size = max(8, int(2 * _HALO * radius))
    mask = np.zeros((size, size), np.float32)
    middle = size / 2
    ground.disc(mask, middle, middle, radius)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5 - middle
    far = np.hypot(x, y) / radius
    bloom = (0.34 if moon else 0.42) * np.exp(-np.clip(far - 1, 0, None) * 3.2)
    bloom *= np.clip((_HALO - far) / (_HALO - 1), 0, 1)
    alpha = np.maximum(mask, bloom * (1 - mask))
    colour = np.empty((size, size, 3), np.float32)
    colour[...] = bgr(light)
    white = np.array(bgr(mixed(light, "#FFFFFF", 0.55)), np.float32)
    colour += (white - colour) * mask[..., None] * 0.9
    if moon:
        shade = np.zeros_like(mask)
        for dx, dy, r in _SEAS:
            ground.disc(shade, middle + dx * radius, middle + dy * radius, r * radius)
        soft = ground.blurred(shade, 0.05 * radius) * mask * 0.13
        dark = np.array(bgr(toned(light, lightness=-0.25, chroma=0.7)), np.float32)
        colour += (dark - colour) * soft[..., None]
        # Lit from the left: the right limb is a little darker.
        limb = np.clip((x / radius * 0.6 + y / radius * 0.25), 0, 1) * mask * 0.35
        colour += (dark - colour) * limb[..., None]
    picture = np.concatenate([colour, alpha[..., None] * 255], -1)
    return Sprite.from_bgra(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


_SEAS = (
    (-0.30, -0.28, 0.26),
    (0.02, -0.42, 0.16),
    (0.30, -0.12, 0.20),
    (-0.12, 0.18, 0.17),
    (0.22, 0.34, 0.12),
)


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
