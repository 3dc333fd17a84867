"""The vendored typefaces: which face speaks in which role, and what each can spell.

Every face is registered as an instance with all its axes set, because the default instance of
the variable files is not the regular one. Latin and Latin-Extended are separate files of one
design; a role lists both, and the Arabic face of the same role behind them, so that a mixed line
is set in one call.
"""

from __future__ import annotations

import enum
from functools import cache
from pathlib import Path
from typing import Any

from contracts.errors import InvalidRequestError
from media.skia import skia

FOLDER = Path(__file__).parent / "fonts"

# Directional marks steer the shaper and never need a glyph.
MARKS = frozenset("\u200b\u200c\u200d\u200e\u200f\u2066\u2067\u2068\u2069\n")
# One space for all: the fonts spell only these two.
SPELLINGS = str.maketrans({"\u202f": "\u00a0", "\u2009": "\u00a0", "\u2011": "-", "\t": " "})


class Role(enum.StrEnum):
    """What a piece of type is for; each role is one voice in Latin and in Arabic.

    NOTE is the accent cut for small sizes, NARROW the display cut for long words.
    """

    DISPLAY = "display"
    NARROW = "narrow"
    ACCENT = "accent"
    NOTE = "note"
    TEXT = "text"
    STRONG = "strong"


# family -> (file, axes); the axes are complete, so that no default instance is ever used.
_INSTANCES: dict[str, tuple[str, dict[str, float]]] = {
    "display": ("Archivo.ttf", {"wght": 800, "wdth": 76}),
    "display-ext": ("ArchivoExt.ttf", {"wght": 800, "wdth": 76}),
    "narrow": ("Archivo.ttf", {"wght": 800, "wdth": 62}),
    "narrow-ext": ("ArchivoExt.ttf", {"wght": 800, "wdth": 62}),
    "accent": ("FrauncesItalic.ttf", {"wght": 420, "opsz": 120}),
    "accent-ext": ("FrauncesItalicExt.ttf", {"wght": 420, "opsz": 120}),
    "note": ("FrauncesItalic.ttf", {"wght": 520, "opsz": 36}),
    "note-ext": ("FrauncesItalicExt.ttf", {"wght": 520, "opsz": 36}),
    "text": ("Inter.ttf", {"wght": 500}),
    "text-ext": ("InterExt.ttf", {"wght": 500}),
    "strong": ("Inter.ttf", {"wght": 700}),
    "strong-ext": ("InterExt.ttf", {"wght": 700}),
    "display-ar": ("NotoKufiArabic.ttf", {"wght": 800}),
    "accent-ar": ("Amiri.ttf", {}),
    "text-ar": ("NotoSansArabic.ttf", {"wght": 500}),
    "strong-ar": ("NotoSansArabic.ttf", {"wght": 700}),
}

FAMILIES: dict[Role, tuple[str, ...]] = {
    Role.DISPLAY: ("display", "display-ext", "display-ar"),
    Role.NARROW: ("narrow", "narrow-ext", "display-ar"),
    Role.ACCENT: ("accent", "accent-ext", "accent-ar"),
    Role.NOTE: ("note", "note-ext", "accent-ar"),
    Role.TEXT: ("text", "text-ext", "text-ar"),
    Role.STRONG: ("strong", "strong-ext", "strong-ar"),
}


class MissingGlyphError(InvalidRequestError):
    """A text needs characters that no vendored face of its role can spell."""

    def __init__(self, text: str, missing: str) -> None:
        self.missing = missing
        super().__init__(f"no glyph for {missing!r} in {text!r}", field="text")


def axes_of(family: str) -> dict[str, float]:
    """Return the axes that a family's instance is set to."""
    return dict(_INSTANCES[family][1])


@cache
def face(family: str) -> Any:  # noqa: ANN401  # skia ships no types
    """Return the skia typeface of one registered family, axes set."""
    file, axes = _INSTANCES[family]
    plain = skia.Typeface.MakeFromFile(str(FOLDER / file))
    if not axes:
        return plain
    position = skia.FontArguments.VariationPosition
    # Kept in a variable: skia reads the coordinates after this line, from memory it does not own.
    coordinates = position.Coordinates(
        [position.Coordinate(int.from_bytes(tag.encode(), "big"), v) for tag, v in axes.items()]
    )
    arguments = skia.FontArguments()
    arguments.setVariationDesignPosition(position(coordinates))
    return plain.makeClone(arguments)


@cache
def collection() -> Any:  # noqa: ANN401  # skia ships no types
    """Return the font collection that knows the vendored faces and no font of the machine."""
    provider = skia.textlayout.TypefaceFontProvider()
    for family in _INSTANCES:
        provider.registerTypeface(face(family), family)
    fonts = skia.textlayout.FontCollection()
    fonts.setDefaultFontManager(provider)
    return fonts


@cache
def _spells(role: Role, character: str) -> bool:
    code = ord(character)
    return any(face(family).unicharToGlyph(code) for family in FAMILIES[role])


def spelled(text: str, role: Role) -> str:
    """Return `text` in the spelling the faces know; raise MissingGlyphError if they cannot."""
    text = text.translate(SPELLINGS)
    missing = "".join(sorted({c for c in text if c not in MARKS and not _spells(role, c)}))
    if missing:
        raise MissingGlyphError(text, missing)
    return text
