"""What a picture is about: a modelled product, or the user's own picture, set on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from media.colour import at_lightness, bgr, lightness, mixed
from media.form import Form, Tint
from media.package import Package
from media.pixels import Planes, Sprite, lay, mix
from media.scenes.ground import blurred
from media.studio import Camera, photograph

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.scenes.stage import Area, Colours

    Array = NDArray[Any]

_TILT = 7.0
_OPAQUE = 250  # alpha; a picture with no lower value is a photograph, not a cut-out
_ON_CARD = 0.88  # a photograph leaves some of its room free
_CUT = 0.03  # share of transparent pixels that makes a cut-out


class Actor(Protocol):
    """A subject at its size. `x`, `foot` say where it stands; `width`, `height` in pixels."""

    width: float
    height: float
    stands: bool

    def draw(self, target: Planes, x: float, foot: float, degrees: float) -> None:
        """Draw it with the middle of its base at (x, foot), turned by some degrees."""


class Subject(Protocol):
    """Something that can be photographed at any size."""

    def cast(self, room: Area, surround: str) -> Actor:
        """Return it as large as fits the room, for a set of that colour."""


@dataclass(frozen=True)
class Product:
    """A modelled form with its label art (BGR)."""

    form: Form
    art: Array
    colours: Colours

    def cast(self, room: Area, surround: str) -> Actor:
        """Take its photograph as large as fits the room."""
        tilt = 2 * self.form.radius * math.sin(math.radians(_TILT))
        height = min(room.height / (1.0 + tilt), room.width / (2.04 * self.form.radius))
        height = max(24.0, height)
        c = self.colours
        tints = {
            Tint.PRIMARY: c.primary,
            Tint.SECONDARY: c.secondary,
            Tint.INK: c.ink,
            Tint.PAPER: c.paper,
            Tint.ACCENT: c.accent,
            Tint.LIQUID: liquid(c),
        }
        if self.form.sides is not None:
            return _Standing(Package(self.form, self.art, round(height), c.primary), height)
        shot = photograph(self.form, self.art, Camera(round(height), _TILT), tints, surround)
        return _Turning(shot, 2 * self.form.radius * height, height * (1 + tilt / 2))


def liquid(colours: Colours) -> str:
    """Return the colour of what is in the glass or the cup: the brand's colour, made deep."""
    return at_lightness(colours.primary, min(0.32, lightness(colours.primary)), 0.9)


class _Turning:
    def __init__(self, shot: Any, width: float, height: float) -> None:  # noqa: ANN401 - Turntable
        self._shot = shot
        self.width, self.height = width, height
        self.stands = True

    def draw(self, target: Planes, x: float, foot: float, degrees: float) -> None:
        sprite = self._shot.at(degrees)
        left = x - (self._shot.width - 2 * sprite.rim) / 2
        lay(target, sprite, left, foot - self._shot.foot + sprite.rim)


class _Standing:
    def __init__(self, package: Package, height: float) -> None:
        self._package = package
        self.width, self.height = package.width, height
        self.stands = True

    def draw(self, target: Planes, x: float, foot: float, degrees: float) -> None:
        sprite, left, up = self._package.at(degrees)
        lay(target, sprite, x - left, foot - up)


@dataclass(frozen=True)
class Picture:
    """The user's own picture, straight-alpha BGRA: a cut-out, or a photograph on a card."""

    bgra: Array

    def cast(self, room: Area, surround: str) -> Actor:  # noqa: ARG002 - a picture has its own light
        """Scale it to fit the room."""
        clear = float((self.bgra[..., 3] < _OPAQUE).mean())
        picture = self.bgra
        stands = clear > _CUT
        if stands:
            rows = np.nonzero(picture[..., 3].max(1) > 8)[0]  # noqa: PLR2004 - visible
            columns = np.nonzero(picture[..., 3].max(0) > 8)[0]  # noqa: PLR2004 - visible
            picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = picture.shape[:2]
        share = 1.0 if stands else _ON_CARD
        scale = share * min(room.width / width, room.height / height)
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        straight = picture.astype(np.float32)
        straight[..., :3] *= straight[..., 3:] / 255
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = np.clip(cv2.resize(straight, size, interpolation=way), 0, 255)
        if not stands:
            corners = _card(size, 0.035 * min(size))
            scaled *= corners[..., None]
        sprite = Sprite.from_bgra(np.rint(scaled).astype(np.uint8), premultiplied=True)
        return _Flat(sprite, size, stands=stands)


class _Flat:
    def __init__(self, sprite: Sprite, size: tuple[int, int], *, stands: bool) -> None:
        self._sprite = sprite
        self.width, self.height = float(size[0]), float(size[1])
        self.stands = stands

    def draw(self, target: Planes, x: float, foot: float, degrees: float) -> None:
        # A picture cannot turn; it gives a little, so that the shot is not dead.
        lay(
            target,
            self._sprite,
            x - self.width / 2 + degrees * self.width * 6e-4,
            foot - self.height,
        )


def _card(size: tuple[int, int], radius: float) -> Array:
    x = np.abs(np.arange(size[0], dtype=np.float32) + 0.5 - size[0] / 2) - size[0] / 2 + radius
    y = np.abs(np.arange(size[1], dtype=np.float32) + 0.5 - size[1] / 2) - size[1] / 2 + radius
    far = np.hypot(np.maximum(x[None, :], 0), np.maximum(y[:, None], 0))
    far += np.minimum(np.maximum(x[None, :], y[:, None]), 0)
    return np.asarray(np.clip(radius - far + 0.5, 0, 1), np.float32)


def shadow(planes: Planes, actor: Actor, x: float, foot: float, colour: str) -> None:
    """Bake the shadow of a subject into the ground: contact, body, and one cast to the right."""
    dark = Planes.blank(planes.width, planes.height, bgr(mixed(colour, "#000000", 0.55)))
    mask: Array = np.zeros((planes.height, planes.width), np.float32)
    w, h = actor.width, actor.height
    if not actor.stands:
        box = np.zeros_like(mask)
        cv2.rectangle(
            box,
            (int(x - w / 2), int(foot - h + 0.04 * h)),
            (int(x + w / 2), int(foot + 0.02 * h)),
            1.0,
            -1,
        )
        mask = 0.50 * blurred(box, 0.045 * min(w, h))
    else:
        for offset, wide, flat, sigma, strength in (
            (0.00, 0.47, 0.055, 0.020, 0.62),
            (0.06, 0.62, 0.085, 0.070, 0.42),
            (0.42, 0.95, 0.085, 0.130, 0.30),
        ):
            spot = np.zeros_like(mask)
            centre = (int(16 * (x + offset * w)), int(16 * (foot - 0.01 * h + 0.10 * flat * w)))
            axes = (int(16 * wide * w), int(16 * max(1.0, flat * w)))
            cv2.ellipse(spot, centre, axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA, 4)
            mask = 1 - (1 - mask) * (1 - strength * blurred(spot, sigma * w))
    mix(planes, dark, np.clip(mask * 255 + 0.5, 0, 255).astype(np.uint8))
