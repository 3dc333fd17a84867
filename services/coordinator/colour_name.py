"""What a colour is called, for models that read words: `#14342B` is a dark teal."""

from __future__ import annotations

import colorsys

from contracts.colour import luminance, rgb

_HUES = (
    (12, "red"),
    (40, "orange"),
    (52, "amber"),
    (66, "yellow"),
    (90, "lime green"),
    (150, "green"),
    (185, "teal"),
    (200, "sky blue"),
    (250, "blue"),
    (285, "violet"),
    (320, "magenta"),
    (345, "pink"),
    (360, "red"),
)
"""Up to which angle of the colour circle (degrees) each name reaches."""
_WARM = (20, 70)
_GREY, _MUTED, _VIVID = 0.12, 0.4, 0.8
_BLACK, _DARK, _DEEP, _LIGHT, _PALE = 0.012, 0.04, 0.12, 0.45, 0.7


def name_of(colour: str) -> str:
    """Return the name of `#RRGGBB` in plain English."""
    red, green, blue = (c / 255 for c in rgb(colour))
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    light = luminance(colour)
    if light < _BLACK:
        return "near-black"
    if saturation < _GREY:
        return _neutral(light, warm=_WARM[0] <= hue * 360 <= _WARM[1] and saturation > _GREY / 4)
    if light > _PALE and _WARM[0] <= hue * 360 <= _WARM[1] and saturation < _MUTED:
        return "cream"
    base = next(name for limit, name in _HUES if hue * 360 <= limit)
    if base == "orange" and light < _DEEP:
        base = "brown"
    if base == "red" and light > _LIGHT:
        base = "pink"
    return f"{_tone(light, saturation, value)}{base}"


def _neutral(light: float, *, warm: bool) -> str:
    if light > _PALE:
        return "warm white" if warm else "white"
    if light > _LIGHT:
        return "light grey"
    return "grey" if light > _DEEP else "charcoal"


def _tone(light: float, saturation: float, value: float) -> str:
    if light < _DARK:
        return "dark "
    if light < _DEEP:
        return "deep "
    if saturation < _MUTED:
        return "pale " if light > _LIGHT else "muted "
    return "vivid " if saturation > _VIVID and value > _VIVID else ""
