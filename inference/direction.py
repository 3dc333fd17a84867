"""An art direction in words, for models that follow nothing but a prompt. Pure.

What the draft engines draw exactly, a generative model is told: where the subject stands, what must
stay calm for type, which colours, which mood. Type itself is never asked for: the composer sets it.
"""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, NamedTuple

from contracts.brief import Form
from contracts.colour import rgb
from contracts.errors import InvalidRequestError
from contracts.requests import ArtDirection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.brief import Palette
    from contracts.requests import Box, Subject

NO_TEXT = "No text, letters, numbers, logos or watermarks anywhere in the picture."
ONLY_LABEL = "No text, logos or watermarks besides the product's own label."

SCENES = {
    "disc": "one large flat disc on a pale backdrop",
    "horizon": "layered land under a wide sky",
    "interior": "a quiet room with a window",
    "panel": "a plain wall in one deep tone",
    "pour": "something poured slowly, seen close",
    "rails": "rails that run to the horizon",
    "rings": "concentric rings seen from above",
    "studio": "a seamless studio backdrop",
    "table": "a table top in window light",
    "train": "layered land under a wide sky, a train passing",
}
"""What the draft engines' scenes show; any other scene is taken by its own words."""

_LEAST_SIDE = 0.02  # of the frame: a smaller box is a mistake
_NEAR, _THIRD, _HALF = 0.26, 0.42, 0.64  # how far from an edge a box begins, and where bands end
_WIDE = 0.7  # of the frame's side: a box that takes this much of it is a band
_LEFT_OF, _RIGHT_OF = 0.42, 0.58  # where a middle lies that is neither left nor right
_SIZES = ((0.08, "small"), (0.3, "medium-sized"), (1.0, "large"))


def prompt_of(prompt: str, art: ArtDirection, *, pictures: tuple[str, ...] = ()) -> str:
    """Return the prompt with everything that the art direction says, in whole sentences.

    `pictures` says what the model sees beside the prompt, in its order, such as `the product`.
    Without an art direction the prompt stays as it was written. Raises InvalidRequestError(field)
    for a box without room.
    """
    if art == ArtDirection():
        return prompt.strip()
    check(art)
    said = [
        sentence(prompt),
        *_seen(pictures),
        *_shown(art),
        *_placed(art),
        *_coloured(art.palette),
    ]
    if art.mood:
        said.append(sentence(f"The mood is {art.mood.strip()}"))
    labelled = art.subject is not None and (art.subject.label or art.subject.picture)
    said.append(ONLY_LABEL if labelled else NO_TEXT)
    return " ".join(filter(None, said))


def check(art: ArtDirection) -> None:
    """Raise InvalidRequestError(field) for a box without room."""
    for name, box in (("focus", art.focus), ("quiet", art.quiet)):
        if box is not None and min(box.w, box.h) < _LEAST_SIDE:
            raise InvalidRequestError(f"art.{name} has no room", field=f"art.{name}")


def sentence(text: str) -> str:
    """Return a text on one line that ends as sentences do; nothing for nothing."""
    words = " ".join(text.split())
    return words if not words or words[-1] in ".!?…。！？" else f"{words}."  # noqa: RUF001 - other scripts end so


def _seen(pictures: tuple[str, ...]) -> Iterator[str]:
    for number, what in enumerate(pictures, start=1):
        yield f"Picture {number} shows {what}."


def _shown(art: ArtDirection) -> Iterator[str]:
    if art.scene:
        yield sentence(f"The scene is {SCENES.get(art.scene, art.scene)}")
    if art.subject is not None:
        yield from _subject(art.subject)


def _subject(subject: Subject) -> Iterator[str]:
    if subject.form is not Form.SERVICE:
        yield f"The product is one {subject.form.value}, whole and in focus."
    if subject.picture is not None or subject.label is not None:
        yield "Its shape, colours and label stay exactly as they are shown."


def _placed(art: ArtDirection) -> Iterator[str]:
    if art.focus is not None:
        share = art.focus.w * art.focus.h
        size = next(word for limit, word in _SIZES if share <= limit + 1e-9)
        yield f"The subject is {size} and stands in {place(art.focus)}."
    if art.quiet is not None:
        where = place(art.quiet)
        yield f"Calm plain background of one even tone fills {where}, without any object or detail."


def place(box: Box) -> str:
    """Return where in a frame a box lies: `the upper third`, `the lower left corner`."""
    right, bottom = min(1.0, box.x + box.w), min(1.0, box.y + box.h)
    across, down = right - box.x >= _WIDE, bottom - box.y >= _WIDE
    if across and down:
        return "the whole frame"
    if across:
        return _band(box.y, bottom, "upper", "lower", "the middle band from left to right")
    if down:
        return _band(box.x, right, "left", "right", "the middle band from top to bottom")
    return _spot(
        _side((box.y + bottom) / 2, "upper", "lower"), _side((box.x + right) / 2, "left", "right")
    )


def _spot(vertical: str, horizontal: str) -> str:
    match vertical, horizontal:
        case "", "":
            return "the centre"
        case "", side:
            return f"the {side} half, halfway up"
        case side, "":
            return f"the {side} part, in the middle"
        case _:
            return f"the {vertical} {horizontal} corner"


def _band(start: float, end: float, first: str, last: str, middle: str) -> str:
    """Return a band's name by the edge that it begins at and by how far it reaches."""
    if start <= _NEAR and start <= 1 - end:
        return f"the {first} {_share(end)}"
    if 1 - end <= _NEAR:
        return f"the {last} {_share(1 - start)}"
    return middle


def _share(reach: float) -> str:
    return "third" if reach <= _THIRD else "half" if reach <= _HALF else "two thirds"


def _side(middle: float, first: str, last: str) -> str:
    return first if middle < _LEFT_OF else last if middle > _RIGHT_OF else ""


def _coloured(palette: Palette) -> Iterator[str]:
    main = _unique(colour_name(c) for c in (palette.primary, palette.secondary))
    accent = colour_name(palette.accent)
    ground = colour_name(palette.paper)
    said = f"The colours are {_listed(main)}"
    if accent not in main:
        said += f" with accents of {accent}"
    if ground not in (*main, accent):
        said += f" on {ground}"
    yield f"{said}."


def _unique(names: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _listed(names: list[str]) -> str:
    return " and ".join(names)


class _Hue(NamedTuple):
    until: float  # degrees
    name: str


_HUES = (
    _Hue(12, "red"),
    _Hue(38, "orange"),
    _Hue(50, "amber"),
    _Hue(66, "yellow"),
    _Hue(88, "lime green"),
    _Hue(150, "green"),
    _Hue(178, "teal"),
    _Hue(198, "turquoise"),
    _Hue(245, "blue"),
    _Hue(265, "indigo"),
    _Hue(290, "violet"),
    _Hue(325, "magenta"),
    _Hue(345, "pink"),
    _Hue(360, "red"),
)
_DARK_NAMES = {"orange": "brown", "amber": "ochre brown", "yellow": "olive", "blue": "navy blue"}
_LIGHT_NAMES = {"red": "pale pink", "orange": "peach", "amber": "cream", "yellow": "pale yellow"}
_GREYS = (
    _Hue(0.09, "black"),
    _Hue(0.3, "charcoal grey"),
    _Hue(0.62, "grey"),
    _Hue(0.86, "light grey"),
    _Hue(0.97, "off-white"),
    _Hue(1.0, "white"),
)
_GREY_CHROMA = 0.07
_PALE, _DARK, _DEEP = 0.82, 0.3, 0.42


def colour_name(colour: str) -> str:
    """Return what people call `#RRGGBB`: `navy blue`, `warm off-white`, `bright amber`."""
    r, g, b = (part / 255 for part in rgb(colour))
    hue, lightness, _ = colorsys.rgb_to_hls(r, g, b)
    chroma = max(r, g, b) - min(r, g, b)
    if chroma <= _GREY_CHROMA:
        grey = next(g.name for g in _GREYS if lightness <= g.until)
        warm = chroma > _GREY_CHROMA / 3 and hue * 360 < _HUES[3].until
        return f"warm {grey}" if grey == "off-white" and warm else grey
    name = next(h.name for h in _HUES if hue * 360 <= h.until)
    if lightness >= _PALE:
        return _LIGHT_NAMES.get(name, f"pale {name}")
    if lightness < _DARK:
        return _DARK_NAMES.get(name, f"dark {name}")
    if lightness < _DEEP:
        return f"deep {name}"
    return f"bright {name}" if chroma > 0.6 else f"soft {name}" if chroma < 0.35 else name  # noqa: PLR2004 - vivid and muted
