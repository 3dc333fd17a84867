"""A stranger's GLB: what is wrong with it is told, or mended, and nothing else moves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stranger_glb import official, sphere

from media.gltf import (
    Glb,
    GltfError,
    Primitive,
    are_units,
    attribute,
    faults,
    primitives,
    read,
    write,
)
from media.gltf_mend import mended

pytestmark = pytest.mark.unit


def only(glb: Glb) -> Primitive:
    [found] = primitives(glb)
    return found


def spoilt(glb: Glb, name: str, change: Callable[[NDArray[np.float32]], None]) -> bytes:
    """Change an attribute's numbers in place."""
    view = glb.document["bufferViews"][only(glb).body["attributes"][name]]
    binary = bytearray(glb.binary)
    part = np.frombuffer(
        binary, "<f4", count=view["byteLength"] // 4, offset=view["byteOffset"]
    ).reshape(-1, 3 if name != "TEXCOORD_0" else 2)
    change(part)
    return write(Glb(glb.document, bytes(binary)))


def test_a_whole_one_is_read_and_written_as_it_is() -> None:
    glb = sphere()
    assert faults(glb) == []
    again = read(write(glb))
    assert (again.document, again.binary) == (glb.document, glb.binary)


@pytest.mark.parametrize("bumps", [False, True])
@pytest.mark.parametrize("normals", [False, True])
def test_what_lacks_is_made_and_the_official_validator_is_content(
    tmp_path: Path, *, normals: bool, bumps: bool
) -> None:
    made = mended(write(sphere(normals=normals, bumps=bumps)))
    glb = read(made)
    assert faults(glb) == []
    given_ = only(glb).body["attributes"]
    assert ("TANGENT" in given_) is bumps
    # On a sphere around the origin a normal is the position itself.
    dots = (attribute(glb, only(glb), "NORMAL") * attribute(glb, only(glb), "POSITION")).sum(1)
    assert dots.min() > 0.95
    if bumps:
        tangents = attribute(glb, only(glb), "TANGENT")
        assert abs((tangents[:, :3] * attribute(glb, only(glb), "NORMAL")).sum(1)).max() < 1e-4
    issues = official(made, tmp_path)["issues"]
    assert (issues["numErrors"], issues["numWarnings"], issues["numHints"]) == (0, 0, 0)


def test_tangents_point_to_where_u_grows() -> None:
    glb = read(mended(write(sphere(bumps=True))))
    points, tangents = (attribute(glb, only(glb), n) for n in ("POSITION", "TANGENT"))
    east = np.stack([-points[:, 2], np.zeros(len(points)), points[:, 0]], 1)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    assert (tangents[:, :3] * east).sum(1).min() > 0.9


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf, 3.0])
def test_normals_that_are_no_directions_are_mended_and_the_others_stay(wrong: float) -> None:
    def spoil(normals: NDArray[np.float32]) -> None:
        normals[5] = wrong

    before = sphere()
    data = spoilt(before, "NORMAL", spoil)
    assert faults(read(data)) == ["meshes[0].primitives[0] has normals that are no directions"]
    after = read(mended(data))
    found = attribute(after, only(after), "NORMAL")
    assert are_units(found).all()
    kept = np.delete(found, 5, 0)
    assert np.allclose(kept, np.delete(attribute(before, only(before), "NORMAL"), 5, 0), atol=1e-6)
    assert np.array_equal(
        attribute(after, only(after), "POSITION"), attribute(before, only(before), "POSITION")
    )


def test_positions_that_are_no_numbers_cannot_be_mended() -> None:
    def spoil(points: NDArray[np.float32]) -> None:
        points[0, 0] = np.nan

    with pytest.raises(GltfError, match="positions that are no numbers"):
        mended(spoilt(sphere(), "POSITION", spoil))


def _beyond(document: dict[str, Any]) -> None:
    document["accessors"][0]["count"] = 10**6


def _elsewhere(document: dict[str, Any]) -> None:
    document["buffers"][0]["uri"] = "http://example.com/mesh.bin"


def _unnamed(document: dict[str, Any]) -> None:
    document["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = 99


def _empty(document: dict[str, Any]) -> None:
    document["meshes"] = []


def _lines(document: dict[str, Any]) -> None:
    document["meshes"][0]["primitives"][0]["mode"] = 1


def _few(document: dict[str, Any]) -> None:
    document["accessors"][0]["count"] = 3


@pytest.mark.parametrize("change", [_beyond, _elsewhere, _unnamed, _empty, _lines, _few])
def test_what_no_viewer_could_show_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    glb = sphere()
    change(glb.document)
    assert faults(glb)
    with pytest.raises(GltfError):
        mended(write(glb))


@given(st.integers(0, 20_000), st.integers(0, 255))
def test_a_damaged_byte_is_an_error_of_ours_or_none(place: int, value: int) -> None:
    data = bytearray(WHOLE)
    data[place % len(data)] = value
    with contextlib.suppress(GltfError):
        assert faults(read(mended(bytes(data)))) == []


WHOLE = write(sphere(bumps=True))


@pytest.mark.parametrize(("mode", "media_type"), [("RGB", "image/jpeg"), ("RGBA", "image/png")])
def test_textures_become_smaller_if_asked(mode: str, media_type: str, tmp_path: Path) -> None:
    data = mended(write(sphere(mode=mode)), most_texture_side=4)
    glb = read(data)
    assert glb.document["images"][0]["mimeType"] == media_type
    assert official(data, tmp_path)["issues"]["numErrors"] == 0
