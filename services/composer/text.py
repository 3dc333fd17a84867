"""One line of type: shaped, measured and drawn.

Skia's paragraph (HarfBuzz, ICU) shapes each line; it tells no ink boxes, so a line is also drawn
once at a reference size and its ink is read off the pixels. All measures are in em (1 = the type
size); x runs from the pen, y from the baseline, downwards.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.colour import rgb
from media.skia import skia
from services.composer import typeface
from services.composer.typeface import Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Large display type is set tight; scripts whose letters join are never tracked.
TRACKING = {Role.DISPLAY: -0.012, Role.NARROW: -0.012, Role.ACCENT: -0.012}
LEADING = {
    Role.DISPLAY: 0.90,
    Role.NARROW: 0.90,
    Role.ACCENT: 1.02,
    Role.NOTE: 1.12,
    Role.TEXT: 1.30,
    Role.STRONG: 1.24,
}
LEADING_ARABIC = {
    Role.DISPLAY: 1.30,
    Role.NARROW: 1.30,
    Role.ACCENT: 1.22,
    Role.NOTE: 1.30,
    Role.TEXT: 1.50,
    Role.STRONG: 1.45,
}
# Condensed capitals need wider word spaces than the face brings.
_WORD_SPACE = {Role.DISPLAY: 0.035, Role.NARROW: 0.045}
_REFERENCE = 160
_BLACK = "#000000"
_INKED = 40  # coverage from which a pixel counts as painted


@dataclass(frozen=True, slots=True)
class Ink:
    """The box of what is really painted, in em: x from the pen, y from the baseline."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Mask:
    """A drawn line: coverage (h, w) uint8, and where the pen and baseline lie in it, in px."""

    coverage: NDArray[np.uint8]
    pen: int
    baseline: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn line: premultiplied BGRA (h, w, 4) uint8, and where pen and baseline lie, in px."""

    pixels: NDArray[np.uint8]
    pen: int
    baseline: int


def rtl(text: str) -> bool:
    """Whether the first strong character of `text` runs right to left."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in {"R", "AL"}:
            return True
        if direction == "L":
            return False
    return False


def leading(text: str, role: Role) -> float:
    """Return the distance of baselines for `text`, in em."""
    return (LEADING_ARABIC if rtl(text) else LEADING)[role]


def joined(text: str) -> bool:
    """Whether any letters of `text` join: such a line is never letter-spaced."""
    return any(unicodedata.bidirectional(character) in {"R", "AL"} for character in text)


Span = tuple[str, str]
"""A stretch of a line and its colour, `#RRGGBB`."""


def _style(role: Role, size: float, spacing: float, colour: str) -> Any:  # noqa: ANN401  # skia ships no types
    style = skia.textlayout.TextStyle()
    style.setFontFamilies(list(typeface.FAMILIES[role]))
    style.setFontSize(size)
    style.setLetterSpacing(spacing * size)
    style.setWordSpacing(_WORD_SPACE.get(role, 0.0) * size)
    style.setColor(skia.ColorSetRGB(*rgb(colour)))
    return style


@lru_cache(maxsize=4096)
def _paragraph(spans: tuple[Span, ...], role: Role, size: float, extra: float) -> Any:  # noqa: ANN401  # skia ships no types
    text = typeface.spelled("".join(part for part, _ in spans), role)
    spacing = 0.0 if joined(text) else TRACKING.get(role, 0.0) + extra
    whole = skia.textlayout.ParagraphStyle()
    whole.setTextStyle(_style(role, size, spacing, _BLACK))
    builder = skia.textlayout.ParagraphBuilder.make(
        whole, typeface.collection(), skia.Unicodes.ICU.Make()
    )
    # The binding cannot set the paragraph's direction: an isolate does, and draws nothing.
    opening, closing = ("\u2067", "\u2069") if rtl(text) else ("", "")
    builder.pushStyle(_style(role, size, spacing, _BLACK))
    builder.addText(opening)
    for part, colour in spans:
        builder.pushStyle(_style(role, size, spacing, colour))
        builder.addText(typeface.spelled(part, role))
        builder.pop()
    builder.addText(closing)
    paragraph = builder.Build()
    paragraph.layout(1e6)
    return paragraph


@lru_cache(maxsize=8192)
def advance(text: str, role: Role, extra: float = 0.0) -> float:
    """Return the width of one line in em; `extra` is added tracking (kickers)."""
    paragraph = _paragraph(((text, _BLACK),), role, _REFERENCE, extra)
    return float(paragraph.MaxIntrinsicWidth) / _REFERENCE


@lru_cache(maxsize=4096)
def ink(text: str, role: Role, extra: float = 0.0) -> Ink:
    """Return the ink box of one line in em, read off a reference drawing."""
    drawn = draw(text, role, _REFERENCE, extra)
    rows = np.flatnonzero(drawn.coverage.max(axis=1) > _INKED)
    columns = np.flatnonzero(drawn.coverage.max(axis=0) > _INKED)
    if not rows.size:
        return Ink(0.0, 0.0, 0.0, 0.0)
    return Ink(
        left=(int(columns[0]) - drawn.pen) / _REFERENCE,
        top=(int(rows[0]) - drawn.baseline) / _REFERENCE,
        right=(int(columns[-1]) + 1 - drawn.pen) / _REFERENCE,
        bottom=(int(rows[-1]) + 1 - drawn.baseline) / _REFERENCE,
    )


_QUOTES = frozenset("\u201c\u201e\u00ab\u201a\u2018\"'\u00bb")


def hanging(text: str, role: Role, extra: float = 0.0) -> float:
    """Return how far an opening quote hangs into the margin, in em."""
    if len(text) < 2 or text[0] not in _QUOTES or rtl(text):  # noqa: PLR2004  # a quote and a letter
        return 0.0
    inside = text[1:]
    return (
        advance(text, role, extra)
        - advance(inside, role, extra)
        + ink(inside, role, extra).left
        - ink(text, role, extra).left
    )


def draw(text: str, role: Role, size: float, extra: float = 0.0) -> Mask:
    """Draw one line at `size` px; the mask has room for swashes and marks on every side."""
    drawn = draw_spans(((text, _BLACK),), role, size, extra)
    return Mask(np.ascontiguousarray(drawn.pixels[:, :, 3]), drawn.pen, drawn.baseline)


def draw_spans(spans: tuple[Span, ...], role: Role, size: float, extra: float = 0.0) -> Drawing:
    """Draw one line in several colours; it is shaped as one, whatever its direction."""
    paragraph = _paragraph(spans, role, size, extra)
    side = round(size * 0.35) + 2
    width = int(paragraph.MaxIntrinsicWidth) + 2 * side + 1
    above, below = round(size * 1.5) + 2, round(size * 0.9) + 2
    pixels = np.zeros((above + below, width, 4), np.uint8)
    # By default a surface over an array is not premultiplied, and edges would come out too bright.
    surface = skia.Surface(
        pixels, colorType=skia.kBGRA_8888_ColorType, alphaType=skia.kPremul_AlphaType
    )
    paragraph.paint(surface.getCanvas(), side, above - float(paragraph.AlphabeticBaseline))
    surface.flushAndSubmit()
    return Drawing(pixels, side, above)
