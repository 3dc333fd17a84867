"""Sets for a product: a studio sweep, a plinth, a table in window light."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from media.colour import bgr, lightness, mixed, toned
from media.pixels import Planes, mix
from media.scenes import ground
from media.scenes.motion import drift, ease, sway
from media.scenes.stage import Area, backdrop, calm
from media.scenes.subject import shadow

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Stage
    from media.scenes.subject import Actor, Subject

    Array = NDArray[Any]

_TURN = 15.0  # degrees to either side
_LOW = 0.80  # of the frame: a subject that stands higher needs something to stand on
_HEADROOM = 0.05  # of the subject's room, left free under type that stands above it
_FLAT = 0.20  # how high an ellipse on the ground is, of its width, at the camera's tilt


class Studio:
    """The product on a sweep, slowly turning; on a plinth where the frame goes on below it."""

    def __init__(self, stage: Stage, subject: Subject) -> None:
        self._stage = stage
        wall = backdrop(stage.colours)
        room = stage.focus
        self.foot = room.bottom - 0.035 * room.height
        self.x = room.x
        above = stage.quiet is not None and stage.quiet.bottom <= room.top
        top = room.top + (_HEADROOM * room.height if above else 0.0)
        self.actor = subject.cast(
            Area(room.left, top, room.right, self.foot + 0.02 * room.height), wall
        )
        planes = self._wall(wall)
        raised = self.foot < _LOW * stage.height
        if raised and self.actor.stands:
            _plinth(planes, stage, (self.x, self.foot), self.actor.width)
        shadow(planes, self.actor, self.x, self.foot, wall if not raised else stage.colours.primary)
        self._ground = planes
        self._light = _brighter(planes)
        y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32)
        self._reach = float(stage.width + 0.6 * stage.height)
        self._sweep = ground.Profile(x + 0.6 * (stage.height - y), 0.25)

    def _wall(self, wall: str) -> Planes:
        stage = self._stage
        low = min(1.0, self.foot / stage.height)
        picture = ground.vertical(
            stage,
            [
                (0.0, toned(wall, lightness=-0.045)),
                (0.72 * low, toned(wall, lightness=0.01)),
                (low, toned(wall, lightness=-0.015)),
                (min(1.0, low + 0.25), toned(wall, lightness=-0.085)),
                (max(1.0, low + 0.26), toned(wall, lightness=-0.10)),
            ],
        )
        reach = 1.05 * max(self.actor.height, stage.focus.width)
        light = mixed(stage.colours.paper, "#FFFFFF", 0.35)
        ground.glow(
            picture, stage, (self.x, self.foot - 0.55 * self.actor.height), reach, (light, 0.75)
        )
        ground.settle(picture, stage, toned(wall, lightness=0.005), 0.65)
        ground.vignette(picture, stage, 0.16)
        return ground.finish(picture, stage)

    def paint(self, target: Planes, seconds: float) -> None:
        """Turn the product, and let a soft light wander over the wall."""
        target.fill_from(self._ground)
        stage = self._stage
        t = drift(seconds, stage.seconds)
        at = self._sweep.at / self._reach
        table = 0.55 * np.exp(-(((at - 0.5 - 0.35 * t) / 0.14) ** 2))
        mix(target, self._light, self._sweep.mask(table))
        self.actor.draw(target, self.x, self.foot, _TURN * (2 * ease(0.5 + 0.42 * t) - 1))


def _brighter(planes: Planes) -> Planes:
    """Return the same picture in a little more light."""
    lifted = np.clip(planes.y.astype(np.float32) * 1.055 + 2, 16, 236)
    return Planes(np.rint(lifted).astype(np.uint8), planes.u, planes.v)


def _plinth(planes: Planes, stage: Stage, foot: tuple[float, float], width: float) -> None:
    """Bake a round plinth in the brand's colour, from the subject's foot to the frame's end."""
    x, y = foot
    rx = min(1.25 * width, 0.46 * stage.width, 1.0 * (stage.height - y))
    rx = max(rx, 0.72 * width)
    ry = 0.5 * _FLAT * rx * 1.15
    colour = stage.colours.primary
    if lightness(colour) < 0.36:  # noqa: PLR2004 - a dark plinth would be a hole
        colour = toned(colour, lightness=0.06)
    columns = np.arange(stage.width, dtype=np.float32) + 0.5
    turn = np.clip((columns - x) / rx, -1, 1)
    # The same soft boxes as the product's: bright to the left, a strip to the right.
    lit = (
        0.62
        + 0.50 * np.exp(-(((turn + 0.45) / 0.32) ** 2))
        + 0.22 * np.exp(-(((turn - 0.72) / 0.14) ** 2))
    )
    lit -= 0.30 * np.abs(turn) ** 6
    rows = np.arange(stage.height, dtype=np.float32)[:, None] + 0.5
    fall = 1 - 0.42 * np.clip((rows - y) / max(1.0, stage.height - y), 0, 1)
    side = np.array(bgr(colour), np.float32) * (lit[None, :, None] * fall[..., None])
    side = np.clip(side, 0, 255) + ground.grain_tile(stage, 1.6)[..., None]
    body = np.clip(rx - np.abs(columns - x) + 0.5, 0, 1)[None, :] * (rows > y)
    lip = np.sqrt(np.clip(1 - ((columns - x) / rx) ** 2, 0, 1)) * ry
    body = body * np.clip(rows - y + lip[None, :] + 0.5, 0, 1)
    mix(planes, Planes.from_bgr(np.clip(side, 0, 255)), ground.as_bytes(body))
    top = np.empty((stage.height, stage.width, 3), np.float32)
    shine = 1.10 - 0.18 * (columns - x + rx) / (2 * rx)
    top[...] = np.array(bgr(toned(colour, lightness=0.05)), np.float32) * shine[None, :, None]
    top += ground.grain_tile(stage, 1.6)[..., None]
    far = np.hypot((columns[None, :] - x) / rx, (rows - y) / ry)
    cover = np.clip((1 - far) * ry + 0.5, 0, 1)
    mix(planes, Planes.from_bgr(np.clip(top, 0, 255)), ground.as_bytes(cover))
    edge = np.clip(1.4 - np.abs((1 - far) * ry - 1.2), 0, 1) * 0.45
    pale = Planes.blank(stage.width, stage.height, bgr(mixed(colour, "#FFFFFF", 0.7)))
    mix(planes, pale, ground.as_bytes(edge))


class Table:
    """A table by a window: panes of light with leaves in them wander over wall and product."""

    def __init__(self, stage: Stage, subject: Subject | None) -> None:
        self._stage = stage
        c = stage.colours
        room = stage.focus
        wall = mixed(c.paper, c.secondary, 0.34)
        # Beside a column of type the table must not reach up behind the type.
        beside = stage.quiet is not None and stage.quiet.bottom > room.y
        self.foot = room.bottom - (0.012 if beside else 0.05) * room.height
        self.x = room.x
        picture = ground.vertical(
            stage, [(0, toned(wall, lightness=-0.13)), (1, toned(wall, lightness=-0.07))]
        )
        ground.settle(picture, stage, toned(wall, lightness=-0.10), 0.6)
        dim = ground.finish(picture, stage)
        bright = ground.vertical(
            stage, [(0, toned(wall, lightness=0.035)), (1, toned(wall, lightness=0.065))]
        )
        lit = ground.finish(bright, stage)
        self.actor: Actor | None = None
        if subject is not None:
            self.actor = subject.cast(Area(room.left, room.top, room.right, self.foot), wall)
        edge = self.foot - (0.10 * self.actor.width if self.actor else 0.0)
        edge = min(edge, 0.9 * stage.height)
        top = mixed(c.primary, c.deepest, 0.25 if lightness(c.primary) > 0.5 else 0.05)  # noqa: PLR2004 - a light wood is stained
        _board(dim, stage, edge, toned(top, lightness=-0.05))
        _board(lit, stage, edge, toned(top, lightness=0.07))
        if self.actor is not None:
            shadow(dim, self.actor, self.x, self.foot, top)
            shadow(lit, self.actor, self.x, self.foot, top)
        self._dim, self._lit = dim, lit
        self._gobo = _gobo(stage)
        self._keep = 1 - 0.62 * cv2.resize(
            calm(stage, 0.10), self._gobo_size(), interpolation=cv2.INTER_AREA
        )

    def _gobo_size(self) -> tuple[int, int]:
        return (-(-self._stage.width // 4), -(-self._stage.height // 4))

    def paint(self, target: Planes, seconds: float) -> None:
        """Move the light through the small mask, enlarge it, and mix the two states of the set."""
        stage = self._stage
        target.fill_from(self._dim)
        t = drift(seconds, stage.seconds)
        width, height = self._gobo_size()
        shift = np.array(
            [
                [1, 0.010 * sway(seconds, 5.3), -0.11 * width - 0.06 * width * t],
                [0.012 * sway(seconds, 4.1, 0.3), 1, -0.11 * height + 0.015 * height * t],
            ],
            np.float32,
        )
        small = cv2.warpAffine(self._gobo, shift, (width, height), flags=cv2.INTER_LINEAR)
        mask = ground.as_bytes(small * self._keep)
        whole = cv2.resize(mask, (width * 4, height * 4), interpolation=cv2.INTER_LINEAR)
        mix(target, self._lit, np.ascontiguousarray(whole[: stage.height, : stage.width]))
        if self.actor is not None:
            self.actor.draw(target, self.x, self.foot, 0.8 * _TURN * t)


def _board(planes: Planes, stage: Stage, edge: float, colour: str) -> None:
    """Bake a table top from an edge down: its far rim, its surface, darker towards the viewer."""
    start = edge / stage.height
    picture = ground.vertical(
        stage,
        [
            (start, toned(colour, lightness=0.05)),
            (start + (1 - start) * 0.5, colour),
            (1.0001, toned(colour, lightness=-0.08)),
        ],
    )
    board = ground.finish(picture, stage, 2.6)
    rows = np.arange(stage.height, dtype=np.float32)[:, None] + 0.5
    cover = np.broadcast_to(np.clip(rows - edge + 0.5, 0, 1), (stage.height, stage.width))
    mix(planes, board, ground.as_bytes(cover))
    rim = np.broadcast_to(
        np.clip(1.6 - np.abs(rows - edge - 1.2), 0, 1) * 0.35, (stage.height, stage.width)
    )
    pale = Planes.blank(stage.width, stage.height, bgr(mixed(colour, "#FFFFFF", 0.6)))
    mix(planes, pale, ground.as_bytes(rim))


def _gobo(stage: Stage) -> Array:
    """Draw window panes and leaves, small and a third larger than the frame, soft as far away."""
    height, width = int(-(-stage.height // 4) * 1.34), int(-(-stage.width // 4) * 1.34)
    mask = np.zeros((height, width), np.float32)
    size = 0.62 * min(max(width, height), 2.2 * min(width, height))
    cx = 0.5 * width + (stage.focus.x / stage.width - 0.5) * 0.6 * width
    cy = 0.44 * height + (stage.focus.y / stage.height - 0.5) * 0.5 * height
    slant = 0.34
    for row in range(4):
        for column in range(3):
            left = cx + (column - 1.5) * 0.36 * size
            top = cy + (row - 2) * 0.40 * size
            quad = [(0, 0), (0.325, 0), (0.325, 0.36), (0, 0.36)]
            points = np.array(
                [
                    (
                        left + u * size + slant * (cy - top - v * size),
                        top + v * size + 0.10 * u * size,
                    )
                    for u, v in quad
                ]
            )
            cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    random = stage.random(11)
    leaves = np.zeros_like(mask)
    for _ in range(9):
        _branch(leaves, random, (cx, cy), size)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.8, 0.011 * size))
    shade = cv2.GaussianBlur(leaves, (0, 0), max(0.8, 0.016 * size))
    return np.asarray(soft * (1 - 0.80 * shade), np.float32)


def _branch(
    mask: Array, random: np.random.Generator, middle: tuple[float, float], size: float
) -> None:
    x = middle[0] + random.uniform(-0.75, 0.75) * size
    y = middle[1] + random.uniform(-0.9, 0.6) * size
    heading = random.uniform(0.5, 1.3)
    for n in range(9):
        x += 0.055 * size * math.cos(heading)
        y += 0.055 * size * math.sin(heading)
        heading += random.uniform(-0.10, 0.12)
        turn = heading + (1 if n % 2 else -1) * random.uniform(0.6, 1.0)
        long = size * random.uniform(0.040, 0.062)
        at = (int(16 * (x + long * math.cos(turn))), int(16 * (y + long * math.sin(turn))))
        axes = (int(16 * long), int(16 * long * 0.30))
        cv2.ellipse(mask, at, axes, math.degrees(turn), 0, 360, 1.0, -1, cv2.LINE_AA, 4)
