"""A GLB as a generative model leaves it, and the official validator's word on one."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from media.gltf import Glb

NODE = Path(__file__).parent / "node"


def png(side: int = 8, *, mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(0)
    bands = len(mode)
    target = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (side, side, bands), np.uint8), mode).save(target, "PNG")
    return target.getvalue()


def sphere(*, normals: bool = True, uv: bool = True, bumps: bool = False, mode: str = "RGB") -> Glb:
    """A sphere of 12 x 9 patches, as a model would have made it: views without a target."""
    around, along = np.meshgrid(np.linspace(0, 1, 13), np.linspace(0.02, 0.98, 10))
    theta, phi = around.ravel() * 2 * np.pi, along.ravel() * np.pi
    points = np.stack([np.sin(phi) * np.cos(theta), np.cos(phi), np.sin(phi) * np.sin(theta)], 1)
    rows = np.arange(9)[:, None] * 13 + np.arange(12)
    faces = np.stack([rows, rows + 1, rows + 13, rows + 1, rows + 14, rows + 13], -1).reshape(-1, 3)
    parts: list[tuple[NDArray[Any], str, int]] = [
        (points.astype("<f4"), "VEC3", 5126),
        (faces.astype("<u4").reshape(-1, 1), "SCALAR", 5125),
    ]
    attributes = {"POSITION": 0}
    if normals:
        attributes["NORMAL"] = len(parts)
        parts.append((points.astype("<f4"), "VEC3", 5126))
    if uv:
        attributes["TEXCOORD_0"] = len(parts)
        parts.append((np.stack([around.ravel(), along.ravel()], 1).astype("<f4"), "VEC2", 5126))
    binary, views, accessors = bytearray(), [], []
    for array, kind, component in parts:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        told = {"componentType": component, "count": len(array), "type": kind}
        accessors.append({"bufferView": len(views) - 1, **told})
        binary += array.tobytes()
    picture = png(mode=mode)
    views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(picture)})
    binary += picture + b"\0" * (-len(picture) % 4)
    material: dict[str, Any] = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    if bumps:
        material["normalTexture"] = {"index": 0}
    if not uv:
        material = {}
    document = {
        "asset": {"version": "2.0", "generator": "somebody else"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 1, "material": 0}]}],
        "materials": [material],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    if uv:
        document |= {
            "images": [{"bufferView": len(views) - 1, "mimeType": "image/png"}],
            "textures": [{"source": 0}],
        }
    return Glb(document, bytes(binary))


def official(data: bytes, tmp_path: Path) -> dict[str, Any]:
    """What the official validator says; skipped, loudly, where it is not installed."""
    if shutil.which("node") is None or not (NODE / "node_modules" / "gltf-validator").exists():
        pytest.skip("NOT CHECKED: the official glTF validator; install node, then: make node")
    file = tmp_path / "made.glb"
    file.write_bytes(data)
    command = [shutil.which("node") or "node", "validate_glb.mjs", str(file)]
    told = subprocess.run(command, cwd=NODE, capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(told.stdout)
    return report
