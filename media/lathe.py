"""Turn a form's outlines into triangles, in metres, Y up, front towards +Z."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from media.form import Band, Form, Material, Tint

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

_STEPS = 96
_FOOT = 1e-3  # the hollow below the foot is no wall
_CREASE = 0.8  # radians; a sharper corner keeps two normals and catches light as an edge


@dataclass(frozen=True, slots=True)
class Part:
    """Triangles of one material.

    `vertices` and `normals` are (n, 3), `uv` (n, 2) with v up as glTF's textures expect after
    flipping, `faces` (m, 3) counter-clockwise from outside. `labelled` says that `uv` is the
    label art's: u 0..1 from left to right with the front at 0.5, v from the art's top down.
    """

    name: str
    material: Material
    tint: Tint
    vertices: Array
    normals: Array
    uv: Array
    faces: Array
    labelled: bool = False


def parts(form: Form, steps: int = _STEPS) -> list[Part]:
    """Return the triangles of a form; `steps` is how often the turn is divided."""
    if form.sides is not None:
        return _box(form, form.sides)
    turned: list[Part] = []
    for band in form.bands:
        inside, outside = _split(form, band)
        if outside:
            turned += [_turn(form, band, piece, steps) for piece in outside]
        if inside is not None:
            turned.append(_turn(form, band, inside, steps, labelled=True))
    if form.wall:
        turned.append(_patch(form, steps))
        turned.append(_liquid(form, steps))
    return turned


def _split(form: Form, band: Band) -> tuple[Array | None, list[Array]]:
    """Divide a printed outline into the labelled run and what lies below and above it."""
    points = band.points
    if band.material is not Material.PRINT:
        return None, [points]
    low, high = form.wrap.bottom, form.wrap.top
    low, high = max(low, points[:, 1].min()), min(high, points[:, 1].max())
    cut = [points]
    for level in (low, high):
        cut = [piece for part in cut for piece in _cut(part, level)]
    labelled = [p for p in cut if low - 1e-9 <= p[:, 1].mean() <= high + 1e-9]
    rest = [p for p in cut if not low - 1e-9 <= p[:, 1].mean() <= high + 1e-9]
    return labelled[0], rest


def _cut(points: Array, level: float) -> list[Array]:
    """Cut an outline where it crosses a height for the first time."""
    z = points[:, 1]
    crossing = np.nonzero((z[:-1] < level - 1e-9) & (z[1:] > level + 1e-9))[0]
    if not len(crossing):
        return [points]
    n = int(crossing[0])
    share = (level - z[n]) / (z[n + 1] - z[n])
    between = points[n] + share * (points[n + 1] - points[n])
    return [np.vstack([points[: n + 1], between]), np.vstack([between, points[n + 1 :]])]


def _turn(form: Form, band: Band, points: Array, steps: int, *, labelled: bool = False) -> Part:
    rings, normals = _creased(points)
    # From the back over the left to the front: u grows to the right as seen from the front.
    turn = np.linspace(0, 1, steps + 1)
    angle = (turn - 0.5) * 2 * math.pi
    if labelled:
        wrap = form.wrap
        u = 0.5 + (turn - 0.5) * 360 / wrap.degrees * wrap.span
        v = (wrap.top - rings[:, 1]) / (wrap.top - wrap.bottom)
    else:
        u, v = turn, np.linspace(0, 1, len(rings))
    return _grid(band, rings, normals, angle, (u, v), form.metres, labelled=labelled)


def _grid(
    band: Band,
    rings: Array,
    normals: Array,
    angle: Array,
    uv: tuple[Array, Array],
    metres: float,
    *,
    labelled: bool = False,
) -> Part:
    rows, columns = len(rings), len(angle)
    side, front = np.sin(angle)[None, :], np.cos(angle)[None, :]

    def around(radius: Array, height: Array) -> Array:
        flat = np.broadcast_to(height[:, None], (rows, columns))
        return np.stack([radius[:, None] * side, flat, radius[:, None] * front], -1).reshape(-1, 3)

    u, v = np.meshgrid(uv[0], uv[1])
    n = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = n[:-1, :-1], n[:-1, 1:], n[1:, 1:], n[1:, :-1]
    faces = np.concatenate(
        [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    )
    vertices = around(rings[:, 0], rings[:, 1]) * metres
    corners = vertices[faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    return Part(
        band.name,
        band.material,
        band.tint,
        vertices.astype(np.float32),
        around(normals[:, 0], normals[:, 1]).astype(np.float32),
        np.stack([u, v], -1).reshape(-1, 2).astype(np.float32),
        faces[area > metres**2 * 1e-12].astype(np.uint32),  # at the poles half of them are lines
        labelled,
    )


def _creased(points: Array) -> tuple[Array, Array]:
    """Return ring positions and outline normals; a ring at a crease appears twice."""
    step = np.diff(points, axis=0)
    flat = np.stack([step[:, 1], -step[:, 0]], -1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    rings, normals = [points[0]], [flat[0]]
    for n in range(1, len(points) - 1):
        before, after = flat[n - 1], flat[n]
        if float(before @ after) < math.cos(_CREASE):
            rings += [points[n], points[n]]
            normals += [before, after]
        else:
            mean = before + after
            rings.append(points[n])
            normals.append(mean / np.linalg.norm(mean))
    return np.array([*rings, points[-1]]), np.array([*normals, flat[-1]])


def _patch(form: Form, steps: int) -> Part:
    """Return a label that sticks on glass, a hair above it."""
    wrap = form.wrap
    low = _radius_at(form, wrap.bottom) + 0.002
    rings = np.array([(low, wrap.bottom), (_radius_at(form, wrap.top) + 0.002, wrap.top)])
    normals = np.array([(1.0, 0.0), (1.0, 0.0)])
    across = np.linspace(-0.5, 0.5, max(2, round(steps * wrap.degrees / 360)) + 1)
    band = Band("label", Material.PRINT, Tint.PAPER, ())
    uv = (0.5 + across * wrap.span, np.array([1.0, 0.0]))
    angle = across * math.radians(wrap.degrees)
    return _grid(band, rings, normals, angle, uv, form.metres, labelled=True)


def _liquid(form: Form, steps: int) -> Part:
    """Return what the glass holds: its outline drawn in by the wall, up to the fill height."""
    heights = np.linspace(form.wall * 2.2, form.fill, 40)
    inner = [(max(0.0, _radius_at(form, z) - form.wall), z) for z in heights]
    points = np.array([(0.0, inner[0][1]), *inner, (0.0, inner[-1][1])])
    return _turn(form, Band("liquid", Material.PLASTIC, Tint.LIQUID, ()), points, steps)


def _radius_at(form: Form, height: float) -> float:
    points = form.outline
    level = points[:, 1] > _FOOT
    return float(np.interp(height, points[level, 1], points[level, 0]))


def _box(form: Form, sides: tuple[float, float]) -> list[Part]:
    """Return a box: the front carries the label art, the other sides its ground colour."""
    x, z = sides
    band = form.bands[0]
    half = form.wrap.span / 2
    art = (0.5 - half, 0.5 + half)
    faces = [
        ("label", (0, 0, 1), ((-x, 0, z), (x, 0, z), (x, 1, z), (-x, 1, z)), art),
        ("back", (0, 0, -1), ((x, 0, -z), (-x, 0, -z), (-x, 1, -z), (x, 1, -z)), (0.0, 1.0)),
        ("left", (-1, 0, 0), ((-x, 0, -z), (-x, 0, z), (-x, 1, z), (-x, 1, -z)), (0.0, 1.0)),
        ("right", (1, 0, 0), ((x, 0, z), (x, 0, -z), (x, 1, -z), (x, 1, z)), (0.0, 1.0)),
        ("top", (0, 1, 0), ((-x, 1, z), (x, 1, z), (x, 1, -z), (-x, 1, -z)), (0.0, 1.0)),
        ("bottom", (0, -1, 0), ((-x, 0, -z), (x, 0, -z), (x, 0, z), (-x, 0, z)), (0.0, 1.0)),
    ]
    return [
        Part(
            name,
            band.material,
            band.tint,
            (np.array(corners) * form.metres).astype(np.float32),
            np.tile(np.array(normal, np.float32), (4, 1)),
            np.array([(u0, 1), (u1, 1), (u1, 0), (u0, 0)], np.float32),
            np.array([(0, 1, 2), (0, 2, 3)], np.uint32),
            name == "label",
        )
        for name, normal, corners, (u0, u1) in faces
    ]
