"""The page's colours: the campaign's own, made readable where they are not."""

from __future__ import annotations

from contracts.brief import Palette
from contracts.colour import contrast

_TEXT = 4.5
_NIGHT, _DAY = "#101113", "#ffffff"


def readable_on(background: str, palette: Palette) -> str:
    """Return the palette's colour that reads best on a background, or black or white."""
    own = [palette.ink, palette.paper]
    best = max(own, key=lambda colour: contrast(colour, background))
    if contrast(best, background) >= _TEXT:
        return best
    return max((_NIGHT, _DAY), key=lambda colour: contrast(colour, background))


def accent_on(background: str, palette: Palette, fallback: str) -> str:
    """Return a colour of the brand that reads as text on a background."""
    own = [palette.primary, palette.accent, palette.secondary]
    return next((c for c in own if contrast(c, background) >= _TEXT), fallback)
