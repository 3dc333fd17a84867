"""A package is unpacked inside its folder, and takes its own older files away."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import pytest

from contracts.errors import MediaRejectedError
from services.cli import delivery

pytestmark = pytest.mark.unit


def pack(path: Path, files: dict[str, bytes]) -> Path:
    manifest = {"files": [{"path": name} for name in files]}
    with zipfile.ZipFile(path, "w") as package:
        for name, body in files.items():
            package.writestr(name, body)
        package.writestr("manifest.json", msgspec.json.encode(manifest))
    return path


def test_a_newer_package_replaces_an_older_one_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    delivery.unpack(pack(tmp_path / "1.zip", {"films/a.mp4": b"1", "films/b.mp4": b"1"}), folder)
    (folder / "notes.txt").write_text("mine")
    delivery.unpack(pack(tmp_path / "2.zip", {"films/a.mp4": b"2"}), folder)
    assert (folder / "films/a.mp4").read_bytes() == b"2"
    assert not (folder / "films/b.mp4").exists()
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaRejectedError):
        delivery.unpack(pack(tmp_path / "x.zip", {name: b"x"}), tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_folders_forged_manifest_removes_nothing_outside(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "precious").write_text("x")
    (folder / "manifest.json").write_text('{"files": [{"path": "../precious"}]}')
    with pytest.raises(MediaRejectedError):
        delivery.unpack(pack(tmp_path / "1.zip", {"a": b"1"}), folder)
    assert (tmp_path / "precious").exists()
