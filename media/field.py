"""Distance fields of outlines: how far a point is from a lathe form, and what lies nearest.

A form of revolution needs only the half plane (radius, height); a ray is followed through it in
steps as long as the distance, which finds surfaces without any triangles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.form import Form

    Array = NDArray[Any]

_CELLS = 640  # per unit of height
_MARGIN = 0.10
_CREASE = 0.8  # radians; a sharper corner keeps its edge
_FAR = 9.0
_STEPS = 56
_NEAR = 2.5e-4
_CLOSE = 6e-3


@dataclass(frozen=True, slots=True)
class Field:
    """Sampled over radius (columns) and height (rows): signed distance, normal, band number."""

    distance: Array
    normal: Array
    band: Array

    def look(self, table: Array, radius: Array, height: Array, *, sharp: bool = False) -> Array:
        """Sample one of the tables at points of the half plane, interpolated or nearest."""
        across = (radius * _CELLS).astype(np.float32).reshape(-1, 1)
        along = ((height + _MARGIN) * _CELLS).astype(np.float32).reshape(-1, 1)
        rows = _rows(len(across))
        flag = cv2.INTER_NEAREST if sharp else cv2.INTER_LINEAR
        # remap takes at most 32767 rows or columns, so points are laid out as a rectangle.
        found = cv2.remap(
            table,
            _fold(across, rows),
            _fold(along, rows),
            flag,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return found.reshape(-1, *table.shape[2:])[: len(across)]


def _rows(count: int) -> int:
    return max(1, math.isqrt(count))


def _fold(values: Array, rows: int) -> Array:
    columns = -(-len(values) // rows)
    short = rows * columns - len(values)
    return np.pad(values.ravel(), (0, short), mode="edge").reshape(rows, columns)


@lru_cache(maxsize=4)
def field_of(form: Form) -> Field:
    """Measure a lathe form's outline; the result is kept, as several pictures need it."""
    columns = int((form.radius + _MARGIN) * _CELLS)
    rows = int((1 + 2 * _MARGIN) * _CELLS)
    r = (np.arange(columns, dtype=np.float32) / _CELLS)[None, :]
    z = (np.arange(rows, dtype=np.float32) / _CELLS - _MARGIN)[:, None]
    nearest = np.full((rows, columns), _FAR, np.float32)
    inside = np.zeros((rows, columns), bool)
    band = np.zeros((rows, columns), np.uint8)
    normal = np.zeros((rows, columns, 2), np.float32)
    for n, start, end, low, high in _segments(form):
        step = end - start
        share = ((r - start[0]) * step[0] + (z - start[1]) * step[1]) / float(step @ step)
        share = np.clip(share, 0, 1)
        far = (r - start[0] - share * step[0]) ** 2 + (z - start[1] - share * step[1]) ** 2
        closer = far < nearest
        nearest[closer] = far[closer]
        band[closer] = n
        normal[closer] = low + share[closer][:, None] * (high - low)
        if step[1]:
            crossing = start[0] + (z - start[1]) / step[1] * step[0]
            level = ((start[1] <= z) & (z < end[1])) | ((end[1] <= z) & (z < start[1]))
            inside ^= level & (r < crossing)
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    distance = np.sqrt(nearest)
    return Field(np.where(inside, -distance, distance), normal, band)


def _segments(form: Form) -> list[tuple[int, Array, Array, Array, Array]]:
    """Return band number, both ends and the normals at both ends of every piece of outline."""
    found: list[tuple[int, Array, Array]] = []
    for n, band in enumerate(form.bands):
        points = band.points
        found += [(n, a, b) for a, b in pairwise(points) if (a != b).any()]
    flat = np.array([(b - a)[::-1] * (1, -1) for _, a, b in found])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    result = []
    for k, (n, a, b) in enumerate(found):
        before = flat[k - 1] if k else np.array([0.0, -1.0])
        after = flat[k + 1] if k + 1 < len(flat) else np.array([0.0, 1.0])
        low, high = (
            (flat[k] + other) if flat[k] @ other > math.cos(_CREASE) else flat[k]
            for other in (before, after)
        )
        result.append((n, a, b, low / np.linalg.norm(low), high / np.linalg.norm(high)))
    return result


def march(field: Field, origin: Array, ray: Array, start: Array, *, inside: bool = False) -> Array:
    """Follow rays to the surface; return the lengths, infinite where nothing is met.

    `origin` and `ray` are (3,) or (n, 3) with the height as second component, `start` (n,).
    """
    length = start.astype(np.float32).copy()
    live = np.arange(len(length))
    sign = -1.0 if inside else 1.0
    limit = field.distance.shape[1] / _CELLS
    for _ in range(_STEPS):
        o = origin[live] if origin.ndim > 1 else origin
        at = o + ray[live] * length[live, None]
        radius = np.sqrt(at[:, 0] ** 2 + at[:, 2] ** 2)
        step = sign * field.look(field.distance, radius, at[:, 1])
        length[live] += step
        going = ray[live]
        passed = (radius > limit) & (at[:, 0] * going[:, 0] + at[:, 2] * going[:, 2] > 0)
        passed |= (at[:, 1] < -_MARGIN) & (going[:, 1] < 0)
        length[live[passed]] = np.inf
        going_on = (step > _NEAR) & ~passed
        live, left = live[going_on], step[going_on]
        if not len(live):
            return length
    # Rays that graze a surface from outside creep along it for ever: close by counts as there.
    length[live if inside else live[left > _CLOSE]] = np.inf
    return length


def normals_at(field: Field, at: Array) -> tuple[Array, Array]:
    """Return surface normals (n, 3) and band numbers (n,) at points on the surface (n, 3)."""
    radius = np.sqrt(at[:, 0] ** 2 + at[:, 2] ** 2)
    flat = field.look(field.normal, radius, at[:, 1])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    outward = at[:, [0, 2]] / np.maximum(radius, 1e-9)[:, None]
    normal = np.stack([flat[:, 0] * outward[:, 0], flat[:, 1], flat[:, 0] * outward[:, 1]], -1)
    return normal, field.look(field.band, radius, at[:, 1], sharp=True)
