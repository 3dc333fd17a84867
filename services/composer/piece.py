"""Pieces: things drawn once, which films blit on every frame and stills once.

A piece is premultiplied BGRA and knows the box of its ink in the frame, so that a
layout can be tested for collisions and contrast before anything is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from contracts.colour import rgb
from media.skia import skia
from services.composer import text as type_
from services.composer.boxes import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.composer.fit import Setting
    from services.composer.typeface import Role


class Align(StrEnum):
    """Which edge lines share; START and END follow the direction of the text."""

    LEFT = "left"
    CENTRE = "centre"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Piece:
    """Premultiplied BGRA (h, w, 4) uint8 with its top left corner at (x, y) px in the frame.

    `ink` is the box of what is visible. `colour` is the hex colour of type, "" for what is not
    read (panels, hairlines); `size` is the type size in px; `ground` is the colour of a filled
    panel that type may stand on, "" for everything else. `tones` are the luminances of the outline
    of a picture that has to be seen: a logo's.
    """

    pixels: NDArray[np.uint8]
    x: int
    y: int
    ink: Box
    colour: str = ""
    size: float = 0.0
    words: str = ""
    ground: str = ""
    tones: tuple[float, ...] = ()

    def moved(self, dx: int, dy: int) -> Piece:
        """Return the piece shifted by whole pixels."""
        ink = self.ink
        box = Box(ink.left + dx, ink.top + dy, ink.right + dx, ink.bottom + dy)
        return replace(self, x=self.x + dx, y=self.y + dy, ink=box)


def coloured(coverage: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """Return premultiplied BGRA of a coverage mask in one colour."""
    red, green, blue = rgb(colour)
    cover = coverage.astype(np.uint16)
    channels = [(cover * c + 127) // 255 for c in (blue, green, red)]
    return np.stack([*channels, cover], axis=-1).astype(np.uint8)


def recoloured(piece: Piece, colour: str) -> Piece:
    """Return a line of type in another colour."""
    return replace(piece, pixels=coloured(piece.pixels[..., 3], colour), colour=colour)


def line(
    words: str,
    setting: Setting,
    x: float,
    baseline: float,
    colour: str,
    align: Align = Align.LEFT,
) -> Piece:
    """Draw one line; its ink (not its advance) touches `x`, quotes hang outside."""
    mask = type_.draw(words, setting.role, setting.size, setting.extra)
    ink = type_.ink(words, setting.role, setting.extra)
    left, right = ink.left * setting.size, ink.right * setting.size
    if align is Align.LEFT:
        pen = x - left - type_.hanging(words, setting.role, setting.extra) * setting.size
    elif align is Align.RIGHT:
        pen = x - right
    else:
        pen = x - (left + right) / 2
    at_x, at_y = round(pen) - mask.pen, round(baseline) - mask.baseline
    top = ink.top * setting.size + round(baseline)
    bottom = ink.bottom * setting.size + round(baseline)
    box = Box(round(pen) + left, top, round(pen) + right, bottom)
    # Only what holds ink is kept: blitting cost follows area.
    cut = box.grown(2)
    x0, y0 = max(0, int(cut.left) - at_x), max(0, int(cut.top) - at_y)
    x1, y1 = int(cut.right) + 1 - at_x, int(cut.bottom) + 1 - at_y
    return Piece(
        coloured(mask.coverage[y0:y1, x0:x1], colour),
        at_x + x0,
        at_y + y0,
        box,
        colour,
        setting.size,
        words,
    )


def spans(
    parts: tuple[type_.Span, ...],
    role: Role,
    size: float,
    at: tuple[float, float],
    colour: str,
) -> Piece:
    """Draw one line in several colours, centred on `at` (x, baseline); `colour` is the main one."""
    words = "".join(part for part, _ in parts)
    drawn = type_.draw_spans(parts, role, size)
    ink = type_.ink(words, role)
    pen = round(at[0] - (ink.left + ink.right) / 2 * size)
    x, y = pen - drawn.pen, round(at[1]) - drawn.baseline
    box = Box(
        pen + ink.left * size,
        round(at[1]) + ink.top * size,
        pen + ink.right * size,
        round(at[1]) + ink.bottom * size,
    )
    return Piece(drawn.pixels, x, y, box, colour, size, words)


def block(
    setting: Setting, x: float, top: float, colour: str, align: Align = Align.LEFT
) -> list[Piece]:
    """Draw all lines of a setting; the ink of the first line begins at `top`."""
    first = top + setting.top
    return [
        line(words, setting, x, first + n * setting.leading, colour, align)
        for n, words in enumerate(setting.lines)
    ]


def panel(box: Box, colour: str, *, radius: float = 0.0, opacity: float = 1.0) -> Piece:
    """Draw a filled, rounded rectangle."""
    x, y = int(box.left), int(box.top)
    width, height = int(np.ceil(box.right)) - x, int(np.ceil(box.bottom)) - y
    pixels = np.zeros((height, width, 4), np.uint8)
    surface = skia.Surface(pixels, colorType=skia.kBGRA_8888_ColorType)
    paint = skia.Paint(AntiAlias=True, Color=skia.ColorWHITE)
    paint.setAlphaf(opacity)
    shape = skia.Rect.MakeLTRB(box.left - x, box.top - y, box.right - x, box.bottom - y)
    surface.getCanvas().drawRoundRect(shape, radius, radius, paint)
    surface.flushAndSubmit()
    return Piece(coloured(pixels[:, :, 3], colour), x, y, box, ground=colour)


def arrow(box: Box, colour: str, *, backwards: bool) -> Piece:
    """Draw a slim arrow that fills `box`, pointing along the reading direction."""
    x, y = int(box.left), int(box.top)
    width, height = int(np.ceil(box.width)) + 2, int(np.ceil(box.height)) + 2
    pixels = np.zeros((height, width, 4), np.uint8)
    surface = skia.Surface(pixels, colorType=skia.kBGRA_8888_ColorType)
    stroke = max(1.5, box.height * 0.16)
    half, reach = box.height / 2, box.width - stroke
    path = skia.Path()
    path.moveTo(stroke / 2, half)
    path.lineTo(reach, half)
    path.moveTo(reach - half + stroke / 2, stroke / 2)
    path.lineTo(reach, half)
    path.lineTo(reach - half + stroke / 2, box.height - stroke / 2)
    paint = skia.Paint(
        AntiAlias=True,
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=stroke,
        StrokeCap=skia.Paint.kRound_Cap,
        StrokeJoin=skia.Paint.kRound_Join,
        Color=skia.ColorWHITE,
    )
    surface.getCanvas().drawPath(path, paint)
    surface.flushAndSubmit()
    coverage = pixels[:, ::-1, 3] if backwards else pixels[:, :, 3]
    return Piece(coloured(np.ascontiguousarray(coverage), colour), x, y, box)


def laid(picture: NDArray[np.uint8], pieces: list[Piece]) -> None:
    """Blend pieces over a BGR picture (h, w, 3) uint8, in place; what lies outside is cut."""
    height, width = picture.shape[:2]
    for piece in pieces:
        rows, columns = piece.pixels.shape[:2]
        x0, y0 = max(0, piece.x), max(0, piece.y)
        x1, y1 = min(width, piece.x + columns), min(height, piece.y + rows)
        if x0 >= x1 or y0 >= y1:
            continue
        part = piece.pixels[y0 - piece.y : y1 - piece.y, x0 - piece.x : x1 - piece.x]
        under = picture[y0:y1, x0:x1].astype(np.uint16)
        clear = 255 - part[:, :, 3:].astype(np.uint16)
        picture[y0:y1, x0:x1] = (part[:, :, :3] + (under * clear + 127) // 255).astype(np.uint8)
