"""The end card: one large disc, with the product in front of it or a landscape inside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from contracts.colour import contrast
from media.colour import bgr, distance, mixed, toned
from media.pixels import Planes, mix
from media.scenes import ground
from media.scenes.horizon import Horizon
from media.scenes.motion import drift, ease_out, sway
from media.scenes.stage import Area
from media.scenes.subject import shadow

if TYPE_CHECKING:
    from media.scenes.stage import Stage
    from media.scenes.subject import Subject

_OFF_TYPE = 0.91  # of the way to the type box: a headline may fill that to its edge
_STRIP = 2.6  # width over height of a place too flat for a disc


class ProductDisc:
    """Two flat discs in brand colours grow behind the product, which rises into place."""

    def __init__(self, stage: Stage, subject: Subject) -> None:
        self._stage = stage
        c = stage.colours
        paper = c.paper
        room = stage.focus
        self._x, self._y = room.x, room.y
        self._radius = min(0.66 * min(room.width, room.height), _clearance(stage, room))
        picture = ground.vertical(
            stage, [(0, mixed(paper, "#FFFFFF", 0.25)), (1, mixed(paper, c.secondary, 0.08))]
        )
        ground.vignette(picture, stage, 0.07)
        plain = ground.finish(picture, stage, 1.6)
        self._plain = plain
        tall = min(0.96 * room.height, 2.5 * self._radius)
        self.foot = self._y + tall / 2
        half = 0.46 * room.width
        self.actor = subject.cast(
            Area(self._x - half, self.foot - tall, self._x + half, self.foot), c.secondary
        )
        # A low product stands in the middle of the disc, not at the foot of its room.
        self.foot = self._y + self.actor.height / 2
        outer, inner = disc_colours(stage)
        self._outer = ground.finish(
            ground.vertical(stage, [(0, toned(outer, lightness=0.015)), (1, outer)]), stage, 1.6
        )
        self._inner = ground.finish(
            ground.vertical(stage, [(0, toned(inner, lightness=0.02)), (1, inner)]), stage, 1.6
        )
        for planes, colour in ((self._outer, outer), (self._inner, inner)):
            shadow(planes, self.actor, self._x, self.foot, colour)
        shadow(plain, self.actor, self._x, self.foot, paper)
        y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32) + 0.5
        self._profile = ground.Profile(np.hypot(x - self._x, y - self._y), 4.0)

    def paint(self, target: Planes, seconds: float) -> None:
        """Grow the discs, let the product come to rest on them."""
        target.fill_from(self._plain)
        at = self._profile.at
        breath = 1 + 0.008 * sway(seconds, 4.5)
        for layer, delay, size in ((self._outer, 0.0, 1.0), (self._inner, 0.12, 0.735)):
            radius = (
                self._radius * size * breath * (0.55 + 0.45 * ease_out((seconds - delay) / 0.9))
            )
            mix(target, layer, self._profile.mask(np.clip(radius - at + 0.5, 0, 1)))
        turn = 13.0 * drift(seconds, self._stage.seconds)
        self.actor.draw(target, self._x, self.foot, turn)


class ServiceDisc:
    """A round window on paper, in which the land goes by; or the land alone along a strip."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        room = stage.focus
        c = stage.colours
        self._flat: Horizon | None = None
        if room.width > _STRIP * room.height:
            self._flat = Horizon(stage, pace=0.02, plain=True)
            return
        whole = room.width >= stage.width and room.height >= stage.height
        small = min(room.width, room.height)
        # The two thin rings around it need a seventh more than the disc itself.
        radius = 0.37 * small if whole else min(0.60 * small, _clearance(stage, room) / 1.15)
        self._radius, self._x, self._y = radius, room.x, room.y
        picture = ground.vertical(
            stage, [(0, mixed(c.paper, "#FFFFFF", 0.25)), (1, mixed(c.paper, c.secondary, 0.08))]
        )
        ground.vignette(picture, stage, 0.07)
        self._plain = ground.finish(picture, stage, 1.6)
        size = int(2 * radius + 4) // 2 * 2
        self._left = int(self._x - size / 2) // 2 * 2
        self._top = int(self._y - size / 2) // 2 * 2
        box = Area(0.06 * size, 0.06 * size, 0.94 * size, 0.94 * size)
        self._inside = Horizon(
            replace(stage, width=size, height=size, focus=box, quiet=None), pace=0.03
        )
        self._view = Planes.blank(size, size)
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
        far = np.hypot(x + self._left - self._x, y + self._top - self._y)
        self._window = ground.Profile(far, 4.0)
        y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32) + 0.5
        self._profile = ground.Profile(np.hypot(x - self._x, y - self._y), 4.0)
        outer, _ = disc_colours(stage)
        self._ring = Planes.blank(stage.width, stage.height, bgr(outer))

    def paint(self, target: Planes, seconds: float) -> None:
        """Open the window and let the land go by."""
        if self._flat is not None:
            self._flat.paint(target, seconds)
            return
        target.fill_from(self._plain)
        grown = 0.55 + 0.45 * ease_out(seconds / 0.9)
        radius = self._radius * grown * (1 + 0.006 * sway(seconds, 4.5))
        at = self._profile.at
        for n, strength in ((1, 0.9), (2, 0.35)):
            middle = radius * (1 + 0.065 * n)
            line = np.clip(0.011 * self._radius - np.abs(at - middle) + 0.5, 0, 1)
            mix(target, self._ring, self._profile.mask(line * strength))
        self._inside.paint(self._view, seconds)
        size = self._view.width
        x0, y0 = max(0, self._left), max(0, self._top)
        x1 = min(self._stage.width, self._left + size)
        y1 = min(self._stage.height, self._top + size)
        mask = self._window.mask(np.clip(radius - self._window.at + 0.5, 0, 1))
        part = target.window(x0, y0, x1 - x0, y1 - y0)
        left, top = x0 - self._left, y0 - self._top
        view = self._view.window(left, top, x1 - x0, y1 - y0)
        mix(part, view, np.ascontiguousarray(mask[top : top + y1 - y0, left : left + x1 - x0]))


def _clearance(stage: Stage, room: Area) -> float:
    """Return how large a disc in the middle of a room may be: off the type, inside the frame."""
    near = [room.x, stage.width - room.x, room.y, stage.height - room.y]
    q = stage.quiet
    if q is not None:
        across = max(q.left - room.x, room.x - q.right, 0.0)
        along = max(q.top - room.y, room.y - q.bottom, 0.0)
        near.append(_OFF_TYPE * max(across, along))
    return 0.94 * min(near)


def disc_colours(stage: Stage) -> tuple[str, str]:
    """Return the colours of the outer and the inner disc; both stand off the paper."""
    c = stage.colours
    outer = max((c.primary, c.accent), key=lambda x: contrast(x, c.paper) > 1.6)  # noqa: PLR2004 - visible
    inner = c.secondary if distance(c.secondary, outer) > 0.12 else mixed(outer, c.paper, 0.5)  # noqa: PLR2004 - told apart
    return outer, inner
