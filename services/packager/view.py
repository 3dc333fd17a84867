"""What the page shows, put in order: films with posters and captions, stills, sound, forms."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

import msgspec

from contracts.placement import PLACEMENTS
from contracts.requests import PackageItem

_RATIOS = {
    Fraction(9, 16): ("9:16", "Tall"),
    Fraction(4, 5): ("4:5", "Portrait"),
    Fraction(1, 1): ("1:1", "Square"),
    Fraction(16, 9): ("16:9", "Wide"),
}
_NEAR = 0.02
T = TypeVar("T")


class Film(msgspec.Struct, frozen=True):
    """A film, with the poster and the captions that the same step made."""

    item: PackageItem
    poster: PackageItem | None
    captions: PackageItem | None
    subtitles: PackageItem | None


class View(msgspec.Struct, frozen=True):
    """The package's parts. Films by ratio, stills by placement, each in a stable order."""

    films: dict[str, list[Film]]
    stills: dict[str, list[PackageItem]]
    sound: list[PackageItem]
    models: list[PackageItem]
    model_pictures: list[PackageItem]
    locales: list[str]
    variants: list[str]


def view_of(items: list[PackageItem]) -> View:
    """Sort a package's items into what the page shows."""
    films = [_film(item, items) for item in items if item.artifact.media_type == "video/mp4"]
    used = {film.poster.path for film in films if film.poster is not None}
    pictures = [
        i for i in items if i.artifact.media_type.startswith("image/") and i.path not in used
    ]
    models = [i for i in items if i.artifact.media_type.startswith("model/")]
    stills = [i for i in pictures if i.placements]
    return View(
        films=_grouped([(ratio_of(f.item), f) for f in films], [r for r, _ in _RATIOS.values()]),
        stills=_grouped([(p, i) for i in stills for p in i.placements], list(PLACEMENTS)),
        sound=[i for i in items if i.artifact.media_type.startswith("audio/")],
        models=models,
        model_pictures=[i for i in pictures if not i.placements],
        locales=sorted({i.locale for i in items if i.locale}),
        variants=sorted({i.variant for i in items if i.variant}),
    )


def _film(item: PackageItem, items: list[PackageItem]) -> Film:
    beside = [i for i in items if i.step == item.step and i.path != item.path]
    by_type = {i.artifact.media_type: i for i in reversed(beside)}
    posters = [i for i in beside if i.artifact.media_type.startswith("image/")]
    subtitles = by_type.get("application/x-subrip") or next(
        (i for i in beside if i.path.endswith(".srt")), None
    )
    return Film(item, posters[0] if posters else None, by_type.get("text/vtt"), subtitles)


def ratio_of(item: PackageItem) -> str:
    """Return `9:16` and so on, or the pixels of a shape that has no name."""
    width, height = item.artifact.width, item.artifact.height
    if width <= 0 or height <= 0:
        return "Films"
    for ratio, (name, _) in _RATIOS.items():
        if abs(width / height / float(ratio) - 1) < _NEAR:
            return name
    return f"{width} x {height}"


def ratio_title(name: str) -> str:
    """Return what a ratio is called."""
    return next((title for ratio, title in _RATIOS.values() if ratio == name), "")


def _grouped(pairs: list[tuple[str, T]], order: list[str]) -> dict[str, list[T]]:
    names = sorted({n for n, _ in pairs}, key=lambda n: (n not in order, _place(n, order), n))
    return {name: [thing for n, thing in pairs if n == name] for name in names}


def _place(name: str, order: list[str]) -> int:
    return order.index(name) if name in order else 0


def placement_title(name: str) -> str:
    """Return a placement's title, or its name if it is not one of ours."""
    place = PLACEMENTS.get(name)
    return place.title if place is not None else name
