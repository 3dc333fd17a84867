"""Binary glTF 2.0, written by hand: a hundred lines, no dependency, the same bytes every time."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_MAGIC, _VERSION = 0x46546C67, 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR = 9729, 9987
_REPEAT, _CLAMP = 10497, 33071
_USHORT_LIMIT = 65_535
_INTEGERS = {_USHORT: "<u2", _UINT: "<u4"}


class Image(NamedTuple):
    """A texture: encoded bytes, and whether it goes round (else its edge is stretched)."""

    data: bytes
    media_type: str
    repeats: bool


class Skin(NamedTuple):
    """A PBR material. Colours are linear; `transmission` above 0 makes it glass of `ior`."""

    name: str
    colour: tuple[float, float, float]
    metallic: float
    roughness: float
    textured: bool = False
    transmission: float = 0.0
    ior: float = 1.5


class Solid(NamedTuple):
    """Triangles of one material: (n, 3) metres, (n, 3) unit normals, (m, 3) faces, (n, 2) uv.

    `uv` is None where the skin has no texture; v is 0 at the image's top, as glTF has it.
    """

    name: str
    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.uint32]
    uv: NDArray[np.float32] | None
    skin: Skin


def write_glb(
    name: str, solids: Sequence[Solid], image: Image | None, asset: Mapping[str, object]
) -> bytes:
    """Return a GLB with one node per solid under a root called `name`.

    `asset` adds to the asset object (`generator`, `copyright`, `extras`).
    """
    data = _Buffer()
    skins = list(dict.fromkeys(solid.skin for solid in solids))
    meshes = [_mesh(data, solid, skins.index(solid.skin)) for solid in solids]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", **asset},
        "scene": 0,
        "scenes": [{"name": name, "nodes": [0]}],
        "nodes": [
            {"name": name, "children": list(range(1, len(solids) + 1))},
            *({"name": solid.name, "mesh": n} for n, solid in enumerate(solids)),
        ],
        "meshes": meshes,
        "materials": [_material(skin) for skin in skins],
    }
    if image is not None and any(skin.textured for skin in skins):
        wrap = _REPEAT if image.repeats else _CLAMP
        document["images"] = [
            {"name": "label", "mimeType": image.media_type, "bufferView": data.add(image.data)}
        ]
        filters = {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR}
        document["samplers"] = [{**filters, "wrapS": wrap, "wrapT": _CLAMP}]
        document["textures"] = [{"sampler": 0, "source": 0}]
    used = sorted({e for m in document["materials"] for e in m.get("extensions", {})})
    if used:
        document["extensionsUsed"] = used
    document |= {"accessors": data.accessors, "bufferViews": data.views}
    document["buffers"] = [{"byteLength": len(data.content)}]
    return _container(document, bytes(data.content))


class _Buffer:
    """The binary chunk while it grows, and the views and accessors into it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, object]] = []

    def add(self, data: bytes, target: int = 0) -> int:
        """Append bytes at a multiple of four; return the number of their view."""
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(data)}
        self.views.append({**view, "target": target} if target else view)
        self.content += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def vectors(self, values: NDArray[np.float32], *, bounds: bool = False) -> int:
        """Append (n, 2) or (n, 3) floats; return the number of their accessor."""
        flat = np.ascontiguousarray(values, "<f4")
        accessor: dict[str, object] = {
            "bufferView": self.add(flat.tobytes(), _VERTICES),
            "componentType": _FLOAT,
            "count": len(flat),
            "type": f"VEC{flat.shape[1]}",
        }
        if bounds:
            accessor |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def indices(self, faces: NDArray[np.uint32]) -> int:
        """Append triangles in the narrowest type that holds them."""
        kind = _USHORT if int(faces.max()) < _USHORT_LIMIT else _UINT
        data = faces.astype(_INTEGERS[kind]).tobytes()
        view = self.add(data, _INDICES)
        self.accessors.append(
            {"bufferView": view, "componentType": kind, "count": faces.size, "type": "SCALAR"}
        )
        return len(self.accessors) - 1


def _mesh(data: _Buffer, solid: Solid, material: int) -> dict[str, object]:
    attributes = {
        "POSITION": data.vectors(solid.positions, bounds=True),
        "NORMAL": data.vectors(solid.normals),
    }
    if solid.uv is not None and solid.skin.textured:
        attributes["TEXCOORD_0"] = data.vectors(solid.uv)
    indices = data.indices(solid.faces)
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    return {"name": solid.name, "primitives": [primitive]}


def _material(skin: Skin) -> dict[str, Any]:
    surface: dict[str, object] = {
        "baseColorFactor": [*(round(c, 6) for c in skin.colour), 1.0],
        "metallicFactor": skin.metallic,
        "roughnessFactor": skin.roughness,
    }
    if skin.textured:
        surface["baseColorTexture"] = {"index": 0}
    material: dict[str, Any] = {"name": skin.name, "pbrMetallicRoughness": surface}
    if skin.transmission:
        material["extensions"] = {
            "KHR_materials_ior": {"ior": skin.ior},
            "KHR_materials_transmission": {"transmissionFactor": skin.transmission},
        }
    return material


def _container(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<II", len(text), _JSON_CHUNK)
    body = struct.pack("<II", len(binary), _BINARY_CHUNK)
    chunks = head + text + body + binary
    return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks
