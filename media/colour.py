"""Colour maths in OKLab: mixing, lightening and choosing colours that stand off one another.

A colour is `#RRGGBB` outside, and an OKLab triple (lightness 0..1, a, b) inside.
"""

from __future__ import annotations

import math

import numpy as np

from contracts.colour import contrast, rgb

Lab = tuple[float, float, float]
_LIMIT = 0.04045
_LINEAR_LIMIT = 0.0031308
_SLACK = 1e-4  # how far outside sRGB still rounds to inside
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_FROM_LAB, _FROM_LMS = np.linalg.inv(_TO_LAB), np.linalg.inv(_TO_LMS)


def oklab(colour: str) -> Lab:
    """Return the OKLab triple of `#RRGGBB`."""
    s = np.array(rgb(colour)) / 255
    linear = np.where(s <= _LIMIT, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    lab = _TO_LAB @ np.cbrt(_TO_LMS @ linear)
    return float(lab[0]), float(lab[1]), float(lab[2])


def from_oklab(lab: Lab) -> str:
    """Return the nearest `#RRGGBB`, giving up chroma rather than hue where sRGB ends."""
    lightness = min(1.0, max(0.0, lab[0]))
    for chroma in np.linspace(1, 0, 21):
        s = _srgb((lightness, lab[1] * chroma, lab[2] * chroma))
        if s.min() >= -_SLACK and s.max() <= 1 + _SLACK:
            break
    r, g, b = (round(float(c) * 255) for c in np.clip(s, 0, 1))
    return f"#{r:02X}{g:02X}{b:02X}"


def _srgb(lab: Lab) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    linear = _FROM_LMS @ (_FROM_LAB @ np.array(lab)) ** 3
    low = np.clip(linear, _LINEAR_LIMIT, None)
    s = np.where(linear <= _LINEAR_LIMIT, linear * 12.92, 1.055 * low ** (1 / 2.4) - 0.055)
    return np.asarray(s, np.float64)


def bgr_between(one: str, other: str, share: float) -> tuple[float, float, float]:
    """Return the colour `share` of the way between two, B G R in 0..255, not rounded."""
    a, b = np.array(oklab(one)), np.array(oklab(other))
    lab = a + (b - a) * share
    r, g, b_ = np.clip(_srgb((float(lab[0]), float(lab[1]), float(lab[2]))), 0, 1) * 255
    return float(b_), float(g), float(r)


def mixed(one: str, other: str, share: float) -> str:
    """Return the colour that lies `share` of the way (0..1) from one to the other."""
    a, b = oklab(one), oklab(other)
    return from_oklab(
        (
            a[0] + (b[0] - a[0]) * share,
            a[1] + (b[1] - a[1]) * share,
            a[2] + (b[2] - a[2]) * share,
        )
    )


def toned(colour: str, *, lightness: float = 0.0, chroma: float = 1.0, hue: float = 0.0) -> str:
    """Return the colour with lightness added, chroma multiplied and hue turned by degrees."""
    level, a, b = oklab(colour)
    angle = math.atan2(b, a) + math.radians(hue)
    radius = math.hypot(a, b) * chroma
    return from_oklab((level + lightness, radius * math.cos(angle), radius * math.sin(angle)))


def at_lightness(colour: str, lightness: float, chroma: float = 1.0) -> str:
    """Return the colour at an OKLab lightness of 0..1, its chroma multiplied."""
    _, a, b = oklab(colour)
    return from_oklab((lightness, a * chroma, b * chroma))


def lightness(colour: str) -> float:
    """Return the OKLab lightness, 0 (black) to 1 (white)."""
    return oklab(colour)[0]


def distance(one: str, other: str) -> float:
    """Return how far apart two colours look; below about 0.1 they read as one."""
    return math.dist(oklab(one), oklab(other))


def bgr(colour: str) -> tuple[int, int, int]:
    """Return the 8-bit components in OpenCV's order."""
    r, g, b = rgb(colour)
    return b, g, r


def legible(background: str, candidates: tuple[str, ...]) -> str:
    """Return the candidate with the highest WCAG contrast on the background."""
    return max(candidates, key=lambda colour: contrast(background, colour))
