"""Binary glTF 2.0 that somebody else has written: read, checked for what breaks viewers, written.

What is checked is what files of generative models get wrong: numbers that are none, normals and
tangents of no length, triangles that name vertices which are not there, views beyond their buffer.
Source: the Khronos specification, glTF 2.0.
"""

from __future__ import annotations

import contextlib
import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_MAGIC, _VERSION = 0x46546C67, 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_HEADER, _CHUNK = struct.Struct("<III"), struct.Struct("<II")
_KINDS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
FLOAT = 5126
TRIANGLES = 4
UNIT_TOLERANCE = 0.0005
"""How far from one a normal's length may be: the official validator's."""
_HANDEDNESS = 3  # of a tangent, its fourth number
_INDEX_KINDS = (5121, 5123, 5125)


class GltfError(ValueError):
    """The bytes are no glTF that could be shown, or hold what is not supported."""


class Glb(NamedTuple):
    """A file: its JSON, which may be changed, and its binary part."""

    document: dict[str, Any]
    binary: bytes


class Primitive(NamedTuple):
    """One primitive of a mesh, and what it is called in an error."""

    where: str
    body: dict[str, Any]


def read(data: bytes) -> Glb:
    """Return a GLB's parts. Raises GltfError; what it holds is not yet checked."""
    try:
        magic, version, length = _HEADER.unpack_from(data)
        if (magic, version) != (_MAGIC, _VERSION) or length > len(data):
            raise GltfError("it is no binary glTF 2.0")
        chunks: dict[int, bytes] = {}
        at = _HEADER.size
        while at < length:
            size, kind = _CHUNK.unpack_from(data, at)
            at += _CHUNK.size
            if at + size > length:
                raise GltfError("a chunk goes beyond the end of the file")
            chunks.setdefault(kind, data[at : at + size])
            at += size
        document = json.loads(chunks.get(_JSON_CHUNK, b""))
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise GltfError(f"it is no binary glTF 2.0: {error}") from error
    if not isinstance(document, dict):
        raise GltfError("its JSON is no object")
    return Glb(document, chunks.get(_BINARY_CHUNK, b""))


def write(glb: Glb) -> bytes:
    """Return the file; equal parts make equal bytes."""
    text = json.dumps(glb.document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = glb.binary + b"\0" * (-len(glb.binary) % 4)
    body = _CHUNK.pack(len(text), _JSON_CHUNK) + text
    if binary:
        body += _CHUNK.pack(len(binary), _BINARY_CHUNK) + binary
    return _HEADER.pack(_MAGIC, _VERSION, _HEADER.size + len(body)) + body


def primitives(glb: Glb) -> Iterator[Primitive]:
    """Yield every primitive of every mesh."""
    for number, mesh in enumerate(glb.document.get("meshes", [])):
        for place, body in enumerate(mesh.get("primitives", [])):
            yield Primitive(f"meshes[{number}].primitives[{place}]", body)


def view_of(glb: Glb, number: int) -> bytes:
    """Return the bytes of a view; raises GltfError."""
    view = _at(glb, "bufferViews", number)
    if view.get("buffer", 0) != 0 or _at(glb, "buffers", 0).get("uri"):
        raise GltfError("it keeps its numbers in another file")
    start, length = view.get("byteOffset", 0), view.get("byteLength", 0)
    if not 0 <= start <= start + length <= len(glb.binary):
        raise GltfError(f"bufferViews[{number}] goes beyond the binary part")
    return glb.binary[start : start + length]


def values(glb: Glb, number: int) -> NDArray[Any]:
    """Return an accessor's numbers, (count, width), as they are stored; raises GltfError."""
    accessor = _at(glb, "accessors", number)
    kind = _KINDS.get(accessor.get("componentType", 0))
    width, count = _WIDTHS.get(accessor.get("type", "")), accessor.get("count", 0)
    if kind is None or width is None or "bufferView" not in accessor or "sparse" in accessor:
        raise GltfError(f"accessors[{number}] is of a kind that is not supported")
    view = view_of(glb, accessor["bufferView"])
    item = np.dtype(kind).itemsize * width
    stride = glb.document["bufferViews"][accessor["bufferView"]].get("byteStride", item)
    start = accessor.get("byteOffset", 0)
    if count < 1 or stride < item or start + stride * (count - 1) + item > len(view):
        raise GltfError(f"accessors[{number}] goes beyond its view")
    rows = np.lib.stride_tricks.as_strided(
        np.frombuffer(view, np.uint8, offset=start)[: stride * (count - 1) + item],
        shape=(count, item),
        strides=(stride, 1),
    )
    return np.ascontiguousarray(rows).view(kind).reshape(count, width)


def corners(glb: Glb, primitive: Primitive) -> NDArray[np.uint32]:
    """Return a primitive's triangles, (n, 3) numbers of vertices; raises GltfError."""
    body = primitive.body
    if body.get("mode", TRIANGLES) != TRIANGLES:
        raise GltfError(f"{primitive.where} is not made of triangles")
    if "indices" in body:
        kind = _at(glb, "accessors", body["indices"]).get("componentType")
        if kind not in _INDEX_KINDS:
            raise GltfError(f"{primitive.where} numbers its vertices in no whole numbers")
        flat = values(glb, body["indices"]).reshape(-1).astype(np.uint32)
    else:
        flat = np.arange(len(attribute(glb, primitive, "POSITION")), dtype=np.uint32)
    if len(flat) % 3:
        raise GltfError(f"{primitive.where} has a triangle of {len(flat) % 3} corners")
    return flat.reshape(-1, 3)


def attribute(glb: Glb, primitive: Primitive, name: str) -> NDArray[np.float32]:
    """Return an attribute's numbers as floats; raises GltfError if it is not there."""
    number = primitive.body.get("attributes", {}).get(name)
    if number is None:
        raise GltfError(f"{primitive.where} has no {name}")
    found = values(glb, number)
    accessor = glb.document["accessors"][number]
    if accessor.get("normalized") and found.dtype.kind in "iu":
        return (found / np.iinfo(found.dtype).max).clip(-1, 1).astype(np.float32)
    return found.astype(np.float32)


def faults(glb: Glb) -> list[str]:
    """Return what is wrong with a file, in words; empty for one that any viewer shows."""
    try:
        with strictly():
            return list(_faults(glb))
    except GltfError as error:
        return [str(error)]


@contextlib.contextmanager
def strictly() -> Iterator[None]:
    """Turn what a damaged file makes of our own steps into a GltfError."""
    try:
        with np.errstate(all="ignore"):  # what overflows is no direction, and is found by that
            yield
    except GltfError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise GltfError(f"it is damaged: {error!r}") from error


def _faults(glb: Glb) -> Iterator[str]:
    if str(glb.document.get("asset", {}).get("version", "")) != "2.0":
        yield "its asset is not of version 2.0"
    if not any(True for _ in primitives(glb)):
        yield "it has no mesh"
    if not any(scene.get("nodes") for scene in glb.document.get("scenes", [])):
        yield "it has no scene that shows anything"
    for image in range(len(glb.document.get("images", []))):
        yield from _image_faults(glb, image)
    for primitive in primitives(glb):
        yield from _primitive_faults(glb, primitive)


def _image_faults(glb: Glb, number: int) -> Iterator[str]:
    image = glb.document["images"][number]
    if "bufferView" not in image:
        yield f"images[{number}] lies in another file"
    elif not view_of(glb, image["bufferView"]):
        yield f"images[{number}] is empty"


def _primitive_faults(glb: Glb, primitive: Primitive) -> Iterator[str]:
    where = primitive.where
    positions = attribute(glb, primitive, "POSITION")
    if not np.isfinite(positions).all():
        yield f"{where} has positions that are no numbers"
    triangles = corners(glb, primitive)
    if len(triangles) == 0 or int(triangles.max()) >= len(positions):
        yield f"{where} has triangles of vertices that are not there"
    given = primitive.body.get("attributes", {})
    for name in given:
        if len(attribute(glb, primitive, name)) != len(positions):
            yield f"{where} has fewer or more {name} than positions"
    if "NORMAL" not in given:
        yield f"{where} has no normals"
    elif not are_units(attribute(glb, primitive, "NORMAL")).all():
        yield f"{where} has normals that are no directions"
    if "TANGENT" in given:
        tangents = attribute(glb, primitive, "TANGENT")
        hands = np.abs(tangents[:, _HANDEDNESS]) == 1
        if not (are_units(tangents[:, :_HANDEDNESS]) & hands).all():
            yield f"{where} has tangents that are no directions"
    elif wants_tangents(glb, primitive):
        yield f"{where} has a normal map and no tangents"


def are_units(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say of each vector whether its length is one."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    found: NDArray[np.bool_] = np.abs(lengths - 1) <= UNIT_TOLERANCE
    return found


def wants_tangents(glb: Glb, primitive: Primitive) -> bool:
    """Say whether a primitive is drawn with a normal map."""
    number = primitive.body.get("material")
    return number is not None and "normalTexture" in _at(glb, "materials", number)


def _at(glb: Glb, what: str, number: Any) -> dict[str, Any]:  # noqa: ANN401 - of a stranger's file
    found = glb.document.get(what, [])
    if not isinstance(number, int) or not 0 <= number < len(found):
        raise GltfError(f"there is no {what}[{number}]")
    item: dict[str, Any] = found[number]
    return item
