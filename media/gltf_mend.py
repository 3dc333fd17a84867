"""Mends what generative models get wrong in a GLB: normals, tangents, bounds; and makes it smaller.

Nothing visible is changed: vertices stay where they are, in their order; triangles of no area keep
their place too, since a skin or a second set of coordinates may count on it. Weighted normals come
from the faces, tangents from the first texture coordinates, orthogonal to the normals, as a viewer
without any would compute them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from media.gltf import (
    FLOAT,
    Glb,
    GltfError,
    Primitive,
    are_units,
    attribute,
    corners,
    faults,
    primitives,
    read,
    strictly,
    values,
    view_of,
    wants_tangents,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_VERTICES, _INDICES = 34962, 34963
_TINY = 1e-12
JPEG_QUALITY = 92
_KEPT = ("componentType", "type", "normalized", "name", "min", "max")


def mended(data: bytes, *, most_texture_side: int = 0) -> bytes:
    """Return a file that any viewer shows, from one that somebody else has made.

    Normals that lack or are no directions are computed, tangents where a normal map asks for them;
    bounds are set, views name what they hold, and nothing unused is kept. `most_texture_side`
    pixels above 0 reduces textures to that and stores opaque ones as JPEG. Raises GltfError for
    what cannot be mended.
    """
    glb = read(data)
    with strictly():
        new = _Rebuilt(glb, most_texture_side)
        for primitive in primitives(glb):
            _mend(glb, primitive, new)
        made = new.finished()
    wrong = faults(made)
    if wrong:
        raise GltfError("; ".join(wrong[:3]))
    return write(made)


def _mend(glb: Glb, primitive: Primitive, new: _Rebuilt) -> None:
    positions = attribute(glb, primitive, "POSITION")
    if not np.isfinite(positions).all():
        raise GltfError(f"{primitive.where} has positions that are no numbers")
    triangles = corners(glb, primitive)
    if len(triangles) == 0 or int(triangles.max()) >= len(positions):
        raise GltfError(f"{primitive.where} has triangles of vertices that are not there")
    given = primitive.body["attributes"]
    normals = attribute(glb, primitive, "NORMAL") if "NORMAL" in given else None
    if normals is None or not are_units(normals).all():
        normals = _normals(positions, triangles, normals)
        given["NORMAL"] = new.vectors(normals)
    if "TANGENT" in given or wants_tangents(glb, primitive):
        _mend_tangents(glb, primitive, new, positions, normals, triangles)


def _mend_tangents(
    glb: Glb,
    primitive: Primitive,
    new: _Rebuilt,
    positions: NDArray[np.float32],
    normals: NDArray[np.float32],
    triangles: NDArray[np.uint32],
) -> None:
    given = primitive.body["attributes"]
    if "TEXCOORD_0" not in given:  # a map without coordinates is shown by nobody
        given.pop("TANGENT", None)
        return
    if "TANGENT" in given:
        old = attribute(glb, primitive, "TANGENT")
        if (are_units(old[:, :3]) & (np.abs(old[:, 3]) == 1)).all():
            return
    uv = attribute(glb, primitive, "TEXCOORD_0")
    given["TANGENT"] = new.vectors(_tangents(positions, normals, uv, triangles))


def _normals(
    positions: NDArray[np.float32],
    triangles: NDArray[np.uint32],
    old: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Return unit normals (n, 3): the old ones where they are directions, else those of the faces,
    weighted by area.
    """
    points = positions.astype(np.float64)
    a, b, c = (points[triangles[:, n]] for n in range(3))
    faces = np.cross(b - a, c - a)
    summed = np.zeros_like(points)
    for n in range(3):
        np.add.at(summed, triangles[:, n], faces)
    if old is not None:
        usable = np.isfinite(old).all(axis=1) & (np.linalg.norm(old, axis=1) > 0.5)  # noqa: PLR2004 - nearer to one than to none
        summed[usable] = old[usable]
    return _units(summed, np.array([0.0, 1.0, 0.0]))


def _tangents(
    positions: NDArray[np.float32],
    normals: NDArray[np.float32],
    uv: NDArray[np.float32],
    triangles: NDArray[np.uint32],
) -> NDArray[np.float32]:
    """Return tangents (n, 4): where u grows on the surface, and on which side v grows."""
    points, n = positions.astype(np.float64), normals.astype(np.float64)
    a, b, c = (triangles[:, k] for k in range(3))
    e1, e2 = points[b] - points[a], points[c] - points[a]
    d1, d2 = (uv[b] - uv[a]).astype(np.float64), (uv[c] - uv[a]).astype(np.float64)
    area = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
    scale = np.where(np.abs(area) > _TINY, 1 / np.where(np.abs(area) > _TINY, area, 1), 0)[:, None]
    along_u = (e1 * d2[:, 1:2] - e2 * d1[:, 1:2]) * scale
    along_v = (e2 * d1[:, 0:1] - e1 * d2[:, 0:1]) * scale
    t, bi = np.zeros_like(points), np.zeros_like(points)
    for corner in (a, b, c):
        np.add.at(t, corner, along_u)
        np.add.at(bi, corner, along_v)
    # Some direction that is not the normal's own, where the coordinates tell none.
    least = np.eye(3)[np.abs(n).argmin(axis=1)]
    t = t - n * (t * n).sum(axis=1, keepdims=True)
    lost = np.linalg.norm(t, axis=1) <= _TINY
    t[lost] = np.cross(n[lost], least[lost])
    units = _units(t, np.array([1.0, 0.0, 0.0]))
    side = np.where((np.cross(n, units) * bi).sum(axis=1) < 0, -1.0, 1.0)
    return np.concatenate([units, side[:, None]], axis=1).astype(np.float32)


def _units(vectors: NDArray[np.float64], instead: NDArray[np.float64]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = np.where(lengths > _TINY, vectors, instead)
    again = np.linalg.norm(whole, axis=1, keepdims=True)
    found: NDArray[np.float32] = (whole / again).astype(np.float32)
    return found


class _Rebuilt:
    """A file's numbers laid out anew: every accessor and every image with a view of its own."""

    def __init__(self, glb: Glb, most_texture_side: int) -> None:
        self._glb = glb
        self._side = most_texture_side
        self._fresh: dict[int, NDArray[np.float32]] = {}
        self._next = len(glb.document.get("accessors", []))
        self._views: list[dict[str, int]] = []
        self._binary = bytearray()

    def vectors(self, made: NDArray[np.float32]) -> int:
        """Take new floats (n, width); return the number of their accessor."""
        self._fresh[self._next] = made
        self._next += 1
        return self._next - 1

    def finished(self) -> Glb:
        """Return the file. Accessors that nothing names any more are gone."""
        document = self._glb.document
        every = list(primitives(self._glb))
        faces = {p.body["indices"] for p in every if "indices" in p.body}
        bounded = {p.body["attributes"].get("POSITION") for p in every}
        drawn = {n for p in every for part in _drawn(p.body) for n in part.values()}
        kept: dict[int, int] = {}
        accessors: list[dict[str, Any]] = []
        for holder, key in _named(document):
            old = holder[key]
            if old not in kept:
                target = _INDICES if old in faces else _VERTICES if old in drawn else 0
                accessors.append(self._accessor(old, target, bounded=old in bounded))
                kept[old] = len(accessors) - 1
            holder[key] = kept[old]
        for number, image in enumerate(document.get("images", [])):
            if "bufferView" not in image:
                raise GltfError(f"images[{number}] lies in another file")
            body = view_of(self._glb, image["bufferView"])
            if self._side:
                body, image["mimeType"] = _smaller(body, self._side)
            image["bufferView"] = self._add(body)
        document |= {"accessors": accessors, "bufferViews": self._views}
        document["buffers"] = [{"byteLength": len(self._binary)}]
        return Glb(document, bytes(self._binary))

    def _accessor(self, number: int, target: int, *, bounded: bool) -> dict[str, Any]:
        found: NDArray[Any]
        if number in self._fresh:
            found = np.ascontiguousarray(self._fresh[number], "<f4")
            told: dict[str, Any] = {"componentType": FLOAT, "type": f"VEC{found.shape[1]}"}
        else:
            found = values(self._glb, number)
            before = self._glb.document["accessors"][number]
            told = {key: before[key] for key in _KEPT if key in before}
        rows = found.view(np.uint8).reshape(len(found), -1)
        stride = 0
        if target == _VERTICES and rows.shape[1] % 4:  # every vertex begins at a multiple of four
            rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
            stride = rows.shape[1]
        told |= {"bufferView": self._add(rows.tobytes(), target, stride), "count": len(found)}
        if bounded:
            told |= {"min": found.min(axis=0).tolist(), "max": found.max(axis=0).tolist()}
        return told

    def _add(self, data: bytes, target: int = 0, stride: int = 0) -> int:
        view = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        view |= {"target": target} if target else {}
        view |= {"byteStride": stride} if stride else {}
        self._views.append(view)
        self._binary += data + b"\0" * (-len(data) % 4)
        return len(self._views) - 1


def _drawn(body: dict[str, Any]) -> list[dict[str, int]]:
    """Return the attributes of a primitive, and those of its morph targets."""
    return [body["attributes"], *body.get("targets", [])]


def _named(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every place that names an accessor, as a table and the key in it."""
    for mesh in document.get("meshes", []):
        for body in mesh.get("primitives", []):
            for part in _drawn(body):
                yield from ((part, name) for name in part)
            if "indices" in body:
                yield body, "indices"
    for animation in document.get("animations", []):
        for sampler in animation.get("samplers", []):
            yield from ((sampler, key) for key in ("input", "output"))
    for skin in document.get("skins", []):
        if "inverseBindMatrices" in skin:
            yield skin, "inverseBindMatrices"


def _smaller(data: bytes, most_side: int) -> tuple[bytes, str]:
    """Return a texture of at most so many pixels a side, and its media type: JPEG if opaque."""
    from PIL import Image  # noqa: PLC0415 - only where textures are touched

    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            found = picture.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise GltfError(f"a texture is no picture: {error}") from error
    opaque = "A" not in found.getbands() or found.getchannel("A").getextrema() == (255, 255)
    found = found.convert("RGB" if opaque else "RGBA")
    found.thumbnail((most_side, most_side), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    if opaque:
        found.save(target, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return target.getvalue(), "image/jpeg"
    found.save(target, "PNG")
    return target.getvalue(), "image/png"
