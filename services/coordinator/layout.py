"""Where things stand in the frame: boxes for type, subject and captions, as fractions of it.

Who paints the plate and who sets the type never meet: they agree by these boxes. Tall frames
stack (type above, subject below), wide ones split (type left, subject right); captions have a
strip of their own at the foot of the safe area. Type meets neither subject nor captions; only in a
tall frame may the picture run on below the captions' strip.
"""

from __future__ import annotations

import math

import msgspec

from contracts.placement import Insets, Ratio
from contracts.requests import Box
from contracts.script import ShotKind

_PLACES = 10_000
_GAP = 0.02
_CAPTION = {Ratio.TALL: 0.06, Ratio.PORTRAIT: 0.07, Ratio.SQUARE: 0.08, Ratio.WIDE: 0.1}
_REEL_FOOT = 0.65
"""In a tall film no platform leaves more than this free for words (Instagram's Reels)."""


class FilmBoxes(msgspec.Struct, frozen=True):
    """Boxes of one shot. `focus` is None where the type takes the whole frame."""

    type_box: Box
    focus: Box | None

    @property
    def quiet(self) -> Box:
        """Return what the picture must leave calm: exactly where type will stand."""
        return self.type_box


_Area = tuple[float, float, float, float]
"""left, top, right, bottom"""

_STACKED = {
    ShotKind.HOOK: 0.60,
    ShotKind.STATEMENT: 0.44,
    ShotKind.PRODUCT: 0.36,
    ShotKind.END: 0.60,
}
"""Share of the height that type takes when the subject stands below it."""

_SPLIT = {
    ShotKind.HOOK: 0.60,
    ShotKind.STATEMENT: 0.58,
    ShotKind.PRODUCT: 0.48,
    ShotKind.END: 0.52,
}
"""Share of the width that type takes when the subject stands beside it."""


def safe_box(insets: Insets) -> Box:
    """Return the part of the frame that no platform covers."""
    return _box(_area(insets))


def caption_box(ratio: Ratio, insets: Insets) -> Box:
    """Return the strip at the foot of the safe area that captions have to themselves."""
    left, _, right, bottom = _area(insets)
    if ratio is Ratio.TALL:
        bottom = min(bottom, max(_REEL_FOOT, 1 - insets.bottom))
    return _box((left, bottom - _CAPTION[ratio], right, bottom))


def film_boxes(kind: ShotKind, ratio: Ratio, insets: Insets, *, subject: bool) -> FilmBoxes:
    """Return where type and subject of a shot stand; `subject` says that it shows the product."""
    left, top, right, _ = _area(insets)
    area = (left, top, right, caption_box(ratio, insets).y - _GAP)
    if kind is ShotKind.STATS:
        return FilmBoxes(_box(area), None)
    if kind is ShotKind.END and not subject and ratio is not Ratio.TALL:
        return FilmBoxes(_box(area), None)
    if kind is ShotKind.PRODUCT and not subject:
        kind = ShotKind.STATEMENT
    if ratio is Ratio.TALL:
        return _tall(area, _TALL[kind])
    if ratio is Ratio.WIDE:
        return _beside(area, _SPLIT[kind])
    if kind is ShotKind.END:
        return _beside(area, _END_BESIDE)
    return _above(area, _STACKED[kind])


_END_BESIDE = 0.57
"""An end card has six rows of type: the product stands tall beside them, never below them."""

_TALL = {
    ShotKind.HOOK: 0.34,
    ShotKind.STATEMENT: 0.26,
    ShotKind.PRODUCT: 0.24,
    ShotKind.END: 1.0,
}
"""Height that type takes in a tall frame, as a fraction of it, where the safe area has so much."""

_TALL_FOOT = 0.95


def _tall(area: _Area, share: float) -> FilmBoxes:
    """Words keep to the safe area; the picture below them may use the frame down to its foot.

    The subject stands in the frame's middle, whatever margins the platforms take from words.
    Where it crosses the captions' strip, the composer moves the captions below the headline.
    """
    left, top, right, bottom = area
    middle = min(bottom, top + share)
    margin = min(left, 1 - right)
    start = middle + _GAP if middle < bottom else bottom + _GAP + _CAPTION[Ratio.TALL] + _GAP / 2
    return FilmBoxes(
        _box((left, top, right, middle)), _box((margin, start, 1 - margin, _TALL_FOOT))
    )


_STRIP = 3.0
_LANDSCAPE = 1.15
_TOWER = 0.45
_PHONE = 0.7


def still_boxes(width: int, height: int, insets: Insets, *, subject: bool) -> FilmBoxes:
    """Return where a still's type and picture stand; pixels in, fractions out.

    All of a still's type (headline, offer, button, legal line) shares the type box, so it takes
    more of the frame than a shot's.
    """
    area = _area(insets)
    aspect = width / height
    if aspect >= _STRIP:
        # A strip: the subject stands in a square at the right end, the type runs beside it.
        share = 1 - min(0.26, 1.3 / aspect)
        return _beside(area, share)
    if aspect >= _LANDSCAPE:
        return _beside(area, 0.54 if subject else 0.60)
    if aspect <= _TOWER:
        return _above(area, 0.60)
    if aspect < _PHONE:
        # As in films: words keep to the safe area, the picture runs on to the frame's foot.
        words = _above(area, 0.66).type_box
        margin = min(insets.left, insets.right)
        foot = words.y + words.h + _GAP
        return FilmBoxes(words, _box((margin, foot, 1 - margin, _TALL_FOOT)))
    return _above(area, 0.52 if subject else 0.58)


def _area(insets: Insets) -> _Area:
    return insets.left, insets.top, 1 - insets.right, 1 - insets.bottom


def _beside(area: _Area, share: float) -> FilmBoxes:
    left, top, right, bottom = area
    middle = left + (right - left) * share
    gap = min(_GAP, (right - left) * 0.04)
    return FilmBoxes(
        _box((left, top, middle - gap / 2, bottom)), _box((middle + gap / 2, top, right, bottom))
    )


def _above(area: _Area, share: float) -> FilmBoxes:
    left, top, right, bottom = area
    middle = top + (bottom - top) * share
    gap = min(_GAP, (bottom - top) * 0.04)
    return FilmBoxes(
        _box((left, top, right, middle - gap / 2)), _box((left, middle + gap / 2, right, bottom))
    )


def _box(area: _Area) -> Box:
    """Round inwards to four places, so that neighbours stay apart and the safe area is kept."""
    left, top = (math.ceil(v * _PLACES - 1e-6) for v in area[:2])
    right, bottom = (math.floor(v * _PLACES + 1e-6) for v in area[2:])
    return Box(
        x=left / _PLACES,
        y=top / _PLACES,
        w=(right - left) / _PLACES,
        h=(bottom - top) / _PLACES,
    )
