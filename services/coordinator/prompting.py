"""What production models are told: subject, action, camera, light, room for type, palette by name.

A script's own prompt says what is seen; everything that all shots share, and that a writer cannot
know (the layout, the brand's colours), is added here. Draft engines get none of it: they follow the
art direction itself.
"""

from __future__ import annotations

from contracts.brief import Form, Palette, localized
from contracts.placement import Ratio
from contracts.requests import Box
from contracts.script import Shot, ShotKind
from services.coordinator.colour_name import name_of
from services.coordinator.layout import FilmBoxes
from services.coordinator.treatment import NO_TEXT, Treatment

PLAIN = "No text, no letters, no numbers, no logo, no watermark anywhere."
"""Said to every model that paints: the composer sets the type."""

_FLAWS = "caption, border, blurry, low quality, oversaturated, deformed, extra limbs, collage"
_MOVING_FLAWS = "cut, scene change, flicker, jitter, morphing, warping, slideshow, static noise"

STILL_FLAWS = f"{NO_TEXT}, {_FLAWS}"
"""What no picture shall have."""
MOVING_FLAWS = f"{NO_TEXT}, {_FLAWS}, {_MOVING_FLAWS}"
"""What no shot shall have."""
EDIT_FLAWS = f"{NO_TEXT}, blurry, low quality, distorted"
"""What no edit shall bring in: an instruction may well ask for a collage or a border."""

_ACTION = {
    ShotKind.HOOK: "One clear movement begins at once and carries through the shot",
    ShotKind.STATEMENT: "Natural, unhurried movement from the first frame to the last",
    ShotKind.PRODUCT: "The product stands still while the light travels slowly across it",
    ShotKind.STATS: "Almost nothing moves; the light breathes",
    ShotKind.END: "The scene comes to rest",
}
_CAMERA = {
    ShotKind.HOOK: "a slow push-in, 35 mm lens",
    ShotKind.STATEMENT: "a gentle lateral glide, 35 mm lens, shallow depth of field",
    ShotKind.PRODUCT: "a slow, small orbit, 85 mm lens, product sharp",
    ShotKind.STATS: "locked off, 50 mm lens",
    ShotKind.END: "locked off, 85 mm lens",
}
_LENS = {
    ShotKind.HOOK: "35 mm lens",
    ShotKind.STATEMENT: "35 mm lens, shallow depth of field",
    ShotKind.PRODUCT: "85 mm lens, product sharp",
    ShotKind.STATS: "50 mm lens",
    ShotKind.END: "85 mm lens",
}
_SHAPES = {
    Ratio.TALL: "vertical 9:16",
    Ratio.PORTRAIT: "portrait 4:5",
    Ratio.SQUARE: "square 1:1",
    Ratio.WIDE: "wide 16:9",
}
_FORMS = {
    Form.CAN: "an aluminium can",
    Form.BOTTLE: "a bottle",
    Form.JAR: "a jar",
    Form.TUBE: "a tube",
    Form.CUP: "a cup",
    Form.BOX: "a box",
}
_UPPER, _LOWER = 0.42, 0.58
_WHOLE = 0.8


def still_prompt(treatment: Treatment, shot: Shot, boxes: FilmBoxes, shape: str) -> str:
    """Return the prompt of a key visual; `shape` says its format in words."""
    return _joined(
        [
            _sentence(shot.prompt),
            *_shared(treatment, shot, boxes),
            f"Format: {shape} composition, {_LENS[shot.kind]}, photographic realism.",
            PLAIN,
        ]
    )


def moving_prompt(treatment: Treatment, shot: Shot, boxes: FilmBoxes, ratio: Ratio) -> str:
    """Return the prompt of a shot of a film."""
    return _joined(
        [
            _sentence(shot.prompt),
            f"Action: {_ACTION[shot.kind]}.",
            f"Camera: {_CAMERA[shot.kind]}; one continuous take without a cut.",
            *_shared(treatment, shot, boxes),
            f"Format: {_SHAPES[ratio]} composition, steady exposure, photographic realism.",
            PLAIN,
        ]
    )


def edit_instruction(instruction: str) -> str:
    """Return what an editing model is told about a picture."""
    return (
        f"{_sentence(instruction)} Keep everything else as it is: composition, framing, "
        f"perspective and light. {PLAIN}"
    )


def restyle_instruction(style: str) -> str:
    """Return what an editing model is told about a shot that gets another look."""
    return (
        f"Make it {_sentence(style)} Keep the composition, every subject and every movement; the "
        f"look stays the same from the first frame to the last. {PLAIN}"
    )


def shape_of(width: int, height: int) -> str:
    """Return a picture's format in words, for a size in pixels."""
    nearest = min(Ratio, key=lambda r: abs(r.size[0] / r.size[1] - width / height))
    if max(width, height) / min(width, height) > 2:  # noqa: PLR2004 - beyond any film's ratio
        return "very wide banner" if width > height else "very tall banner"
    return _SHAPES[nearest]


def _shared(treatment: Treatment, shot: Shot, boxes: FilmBoxes) -> list[str]:
    product = treatment.brief.product
    found = []
    if treatment.shows_product(shot):
        what = _FORMS.get(product.form)
        locale = treatment.first_locale
        name, about = localized(product.name, locale), localized(product.what, locale)
        found.append(f"Subject: {name}, {about}{f', in {what}' if what else ''}.")
        found += [f"It stands {_where(boxes.focus)}."] if boxes.focus else []
    if "light" not in shot.prompt.lower():
        found.append(f"Light: soft and directional, {treatment.script.mood or 'calm'} in mood.")
    found.append(f"Composition: calm, even area {_where(boxes.quiet)} without detail.")
    found.append(f"Colour palette: {palette_words(treatment.brief.brand.palette)}.")
    return found


def palette_words(palette: Palette) -> str:
    """Return a palette by name, the leading colour first, none twice."""
    colours = (palette.primary, palette.secondary, palette.accent, palette.paper, palette.ink)
    return ", ".join(dict.fromkeys(name_of(colour) for colour in colours))


def _where(box: Box) -> str:
    """Return in words where in the frame a box lies."""
    if box.w > _WHOLE and box.h > _WHOLE:
        return "over the whole frame"
    x, y = box.x + box.w / 2, box.y + box.h / 2
    across = "left" if x < _UPPER else "right" if x > _LOWER else ""
    down = "upper" if y < _UPPER else "lower" if y > _LOWER else ""
    if not across and not down:
        return "in the middle of the frame"
    if not across:
        return f"in the {down} part of the frame"
    return f"in the {down + ' ' if down else ''}{across} part of the frame"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."


def _joined(parts: list[str]) -> str:
    return " ".join(part for part in parts if part)
