"""The motif of a label: concentric rings, or concentric eight-pointed stars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.colour import rgb
from media.skia import skia

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RINGS = 5
_THICKNESS = 0.52  # of the distance from ring to ring
_RATIO = 0.82  # of a star's inner to its outer radius: two squares turned against each other


@dataclass(frozen=True, slots=True)
class Inks:
    """The label's colours, `#RRGGBB`: `words` are read on `ground`, `brand` on `band`."""

    ground: str
    shade: str
    motif: str
    core: str
    band: str
    brand: str
    words: str


@dataclass(frozen=True, slots=True)
class Place:
    """Centre and outer radius of a motif, px."""

    x: float
    y: float
    radius: float


def ground(width: int, height: int, colour: str, shade: str) -> NDArray[np.uint8]:
    """Return a (height, width, 3) BGR ground with fine pinstripes, seamless at the sides."""
    period = width / max(16, round(width / 32))
    wave = (np.arange(width) + 0.5) / period % 1
    line = np.clip((0.16 - np.abs(wave - 0.5)) * period, 0, 1)[None, :, None]
    plain, dark = (np.array(rgb(c)[::-1], np.float64) for c in (colour, shade))
    row = plain * (1 - line) + dark * line
    return np.repeat(np.rint(row).astype(np.uint8), height, axis=0)


def draw(picture: NDArray[np.uint8], place: Place, colour: str, core: str, *, star: bool) -> None:
    """Draw a motif over a BGR picture, in place; what leaves at one side returns at the other."""
    height, width = picture.shape[:2]
    layer = np.zeros((height, width, 4), np.uint8)
    layer[..., :3], layer[..., 3] = picture, 255
    surface = skia.Surface(layer, colorType=skia.kBGRA_8888_ColorType)
    canvas = surface.getCanvas()
    for offset in (-width, 0, width):
        _motif(canvas, Place(place.x + offset, place.y, place.radius), colour, core, star=star)
    surface.flushAndSubmit()
    picture[...] = layer[..., :3]


def _motif(canvas: Any, place: Place, colour: str, core: str, *, star: bool) -> None:  # noqa: ANN401  # skia ships no types
    step = place.radius / (_RINGS + 0.5)
    line = skia.Paint(
        AntiAlias=True,
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=step * _THICKNESS,
        StrokeJoin=skia.Paint.kMiter_Join,
        Color=skia.ColorSetRGB(*rgb(colour)),
    )
    for ring in range(2, _RINGS + 1):
        radius = ring * step
        if star:
            canvas.drawPath(_star(place, radius), line)
        else:
            canvas.drawCircle(place.x, place.y, radius, line)
    fill = skia.Paint(AntiAlias=True, Color=skia.ColorSetRGB(*rgb(core)))
    if star:
        canvas.drawPath(_star(place, 1.25 * step), fill)
    else:
        canvas.drawCircle(place.x, place.y, 1.15 * step, fill)


def _star(place: Place, radius: float) -> Any:  # noqa: ANN401  # skia ships no types
    path = skia.Path()
    for n in range(16):
        reach = radius * (1.0 if n % 2 == 0 else _RATIO)
        angle = math.pi * n / 8 - math.pi / 2
        x, y = place.x + reach * math.cos(angle), place.y + reach * math.sin(angle)
        if n:
            path.lineTo(x, y)
        else:
            path.moveTo(x, y)
    path.close()
    return path
