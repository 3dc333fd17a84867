"""Colours as people write them, and the contrast between two of them (WCAG 2.2)."""

from __future__ import annotations

from typing import Annotated

import msgspec

HEX_PATTERN = r"\A#[0-9A-Fa-f]{6}\Z"

Hex = Annotated[str, msgspec.Meta(pattern=HEX_PATTERN)]
"""`#RRGGBB`, sRGB."""

_LINEAR_LIMIT = 0.04045


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the 8-bit sRGB components of `#RRGGBB`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def luminance(colour: str) -> float:
    """Return the relative luminance, 0 (black) to 1 (white)."""
    linear = [
        c / 12.92 if c <= _LINEAR_LIMIT else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in rgb(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio, 1 (none) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
