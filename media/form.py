"""Product forms: what a can, a bottle or a box is made of, as outlines that are turned on a lathe.

Lengths are in units of the form's own height, which `metres` gives. An outline runs from the
bottom to the top; its points are (radius, height). Parts of one form touch but do not overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Points = NDArray[Any]

Pair = tuple[float, float]


class Material(StrEnum):
    """How a part answers light."""

    METAL = "metal"
    PRINT = "print"
    PLASTIC = "plastic"
    GLASS = "glass"
    PAPER = "paper"


class Tint(StrEnum):
    """Where a part's colour comes from: the palette, or the material itself."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    INK = "ink"
    PAPER = "paper"
    ACCENT = "accent"
    STEEL = "steel"
    LIQUID = "liquid"


@dataclass(frozen=True, slots=True)
class Band:
    """One part of the surface: its outline from bottom to top, and what it is made of."""

    name: str
    material: Material
    tint: Tint
    outline: tuple[Pair, ...]

    @property
    def points(self) -> Points:
        """Return the outline as an array, (n, 2)."""
        return np.array(self.outline)


@dataclass(frozen=True, slots=True)
class Wrap:
    """Where label art sticks: between two heights, over `degrees` of the turn around the front.

    It shows the middle `span` of the art's width. Angles and u run to the right as seen from
    the front, where u is 0.5; v runs down from `top`.
    """

    bottom: float
    top: float
    degrees: float
    span: float = 1.0


@dataclass(frozen=True, slots=True)
class Form:
    """A product's form. `sides` are a box's half width and half depth, None for a lathe form.

    `fill` is the height that a liquid reaches and `wall` the thickness of the glass around it.
    """

    name: str
    metres: float
    bands: tuple[Band, ...]
    wrap: Wrap
    sides: Pair | None = None
    fill: float = 0.0
    wall: float = 0.0

    @property
    def radius(self) -> float:
        """Largest distance from the axis, seen from the front."""
        if self.sides is not None:
            return math.hypot(*self.sides)
        return float(max(band.points[:, 0].max() for band in self.bands))

    @property
    def outline(self) -> Points:
        """Return the whole outline from bottom to top, (n, 2)."""
        parts = [self.bands[0].points]
        parts += [band.points[1:] for band in self.bands[1:]]
        return np.concatenate(parts)


class UnknownFormError(ValueError):
    """No form has this name."""


def form_named(name: str) -> Form:
    """Return a form by its name in a brief, or raise UnknownFormError."""
    if name not in _FORMS:
        raise UnknownFormError(f"no product form is called {name!r}")
    return _FORMS[name]()


def form_names() -> list[str]:
    """Return the names of all forms."""
    return sorted(_FORMS)


def _bend(start: Pair, corner: Pair, end: Pair, steps: int = 10) -> list[Pair]:
    """Round a corner with a quadratic curve; the start is left out."""
    t = np.linspace(0, 1, steps + 1)[1:, None]
    a, b, c = np.array(start), np.array(corner), np.array(end)
    curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    return [(float(r), float(z)) for r, z in curve]


def _path(first: Pair, *parts: Pair | tuple[Pair, Pair]) -> tuple[Pair, ...]:
    """Join straight runs (a point) and bends (a corner and an end) into one outline."""
    points = [first]
    for part in parts:
        match part:
            case ((float(), float()) as corner, (float(), float()) as end):
                points += _bend(points[-1], corner, end)
            case (float() as radius, float() as height):
                points.append((radius, height))
    return tuple(points)


@cache
def _can() -> Form:
    r = 0.232
    foot = _path(
        (0.0, 0.045),
        ((0.1, 0.043), (0.155, 0.012)),
        ((0.168, 0.0), (0.178, 0.006)),
        ((0.190, 0.012), (0.200, 0.030)),
        ((0.222, 0.052), (r, 0.074)),
        ((r, 0.080)),
    )
    body = ((r, 0.080), (r, 0.860))
    neck = _path(
        (r, 0.860),
        ((r, 0.884), (0.219, 0.904)),
        ((0.196, 0.936), (0.190, 0.956)),
        ((0.189, 0.963), (0.194, 0.967)),
    )
    rim = _path(
        (0.194, 0.967),
        ((0.202, 0.972), (0.202, 0.981)),
        ((0.202, 0.994), (0.194, 0.994)),
        ((0.186, 0.994), (0.184, 0.984)),
        ((0.180, 0.966), (0.172, 0.962)),
    )
    lid = _path((0.172, 0.962), ((0.165, 0.961), (0.160, 0.967)), ((0.156, 0.971), (0.148, 0.971)))
    return Form(
        "can",
        0.134,
        (
            Band("foot", Material.METAL, Tint.STEEL, foot),
            Band("label", Material.PRINT, Tint.PRIMARY, body),
            Band("neck", Material.METAL, Tint.STEEL, neck),
            Band("rim", Material.METAL, Tint.STEEL, rim),
            Band("lid", Material.METAL, Tint.STEEL, (*lid, (0.0, 0.971))),
        ),
        Wrap(0.080, 0.860, 360.0),
    )


@cache
def _bottle() -> Form:
    r = 0.170
    glass = _path(
        (0.0, 0.022),
        ((0.08, 0.020), (0.120, 0.004)),
        ((0.128, 0.0), (0.138, 0.0)),
        ((0.168, 0.0), (r, 0.036)),
        ((r, 0.545)),
        ((r, 0.640), (0.112, 0.705)),
        ((0.062, 0.752), (0.060, 0.815)),
        ((0.059, 0.862)),
        ((0.060, 0.868), (0.068, 0.870)),
    )
    cap = _path(
        (0.068, 0.870),
        ((0.072, 0.870), (0.072, 0.876)),
        ((0.072, 0.985)),
        ((0.072, 1.0), (0.058, 1.0)),
        ((0.0, 1.0)),
    )
    return Form(
        "bottle",
        0.215,
        (
            Band("glass", Material.GLASS, Tint.LIQUID, glass),
            Band("cap", Material.PLASTIC, Tint.SECONDARY, cap),
        ),
        Wrap(0.115, 0.500, 130.0, 0.5),
        fill=0.74,
        wall=0.012,
    )


@cache
def _jar() -> Form:
    r = 0.372
    glass = _path(
        (0.0, 0.030),
        ((0.22, 0.028), (0.290, 0.006)),
        ((0.300, 0.0), (0.320, 0.0)),
        ((r, 0.0), (r, 0.060)),
        ((r, 0.730)),
        ((r, 0.800), (0.325, 0.818)),
        ((0.312, 0.824), (0.312, 0.842)),
    )
    lid = _path(
        (0.312, 0.842),
        ((0.336, 0.842), (0.338, 0.850)),
        ((0.338, 0.975)),
        ((0.338, 1.0), (0.314, 1.0)),
        ((0.300, 1.0), (0.292, 0.992)),
        ((0.0, 0.992)),
    )
    return Form(
        "jar",
        0.11,
        (
            Band("glass", Material.GLASS, Tint.LIQUID, glass),
            Band("lid", Material.METAL, Tint.SECONDARY, lid),
        ),
        Wrap(0.150, 0.690, 122.0, 0.74),
        fill=0.75,
        wall=0.020,
    )


@cache
def _tube() -> Form:
    cap = _path(
        (0.0, 0.0),
        ((0.140, 0.0)),
        ((0.158, 0.0), (0.158, 0.018)),
        ((0.160, 0.196)),
        ((0.160, 0.204), (0.150, 0.204)),
    )
    body = _path(
        (0.150, 0.204),
        ((0.150, 0.212)),
        ((0.165, 0.214), (0.168, 0.236)),
        ((0.174, 0.930)),
        ((0.174, 0.962), (0.150, 0.968)),
    )
    end = _path((0.150, 0.968), ((0.148, 1.0), (0.120, 1.0)), ((0.0, 1.0)))
    return Form(
        "tube",
        0.16,
        (
            Band("cap", Material.PLASTIC, Tint.SECONDARY, cap),
            Band("body", Material.PRINT, Tint.PRIMARY, body),
            Band("end", Material.PLASTIC, Tint.PRIMARY, end),
        ),
        Wrap(0.290, 0.840, 360.0),
    )


@cache
def _cup() -> Form:
    foot = _path((0.0, 0.020), ((0.205, 0.020)), ((0.214, 0.0), (0.222, 0.0)), ((0.226, 0.014)))
    body = ((0.226, 0.014), (0.297, 0.842))
    lid = _path(
        (0.297, 0.842),
        ((0.316, 0.842), (0.316, 0.856)),
        ((0.316, 0.884), (0.304, 0.888)),
        ((0.292, 0.892), (0.288, 0.912)),
        ((0.280, 0.975)),
        ((0.278, 1.0), (0.260, 1.0)),
        ((0.244, 1.0), (0.240, 0.972)),
        ((0.0, 0.968)),
    )
    return Form(
        "cup",
        0.14,
        (
            Band("foot", Material.PAPER, Tint.PAPER, foot),
            Band("body", Material.PRINT, Tint.PRIMARY, body),
            Band("lid", Material.PLASTIC, Tint.INK, lid),
        ),
        Wrap(0.080, 0.800, 300.0),
    )


@cache
def _box() -> Form:
    edge = _path((0.0, 0.0), ((0.35, 0.0)), ((0.35, 1.0)), ((0.0, 1.0)))
    return Form(
        "box",
        0.2,
        (Band("body", Material.PRINT, Tint.PRIMARY, edge),),
        Wrap(0.0, 1.0, 90.0, 0.35),
        sides=(0.35, 0.13),
    )


_FORMS = {
    "can": _can,
    "bottle": _bottle,
    "jar": _jar,
    "tube": _tube,
    "cup": _cup,
    "box": _box,
}
