"""Weights on the disk: all there, part of them, other ones; and what identifies them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest

from bus import weights
from bus.weights import WeightsError, folder_of, missing, recorded_revision, write_record
from contracts.endpoint import EndpointSection
from contracts.manifest import Manifest, WeightsPart, parse_manifest
from contracts.weights import PULLING_FILE, RECORD_FILE, WeightsFile, WeightsRecord

pytestmark = pytest.mark.unit

SERVICE = """
name = "paint"
version = "1.0.0"
tier = "production"
accepts = ["generate_image.v1"]

[model]
name = "Tiny"
licence = "Apache-2.0"
commercial_use = true
weights = "lab/tiny"

[resources]
memory_gb = 0.1
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def manifest(**model: object) -> Manifest:
    found = parse_manifest(SERVICE, "paint")
    return msgspec.structs.replace(found, model=msgspec.structs.replace(found.model, **model))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that a person has copied here."""
    made = folder_of(tmp_path, "lab/tiny")
    (made / "vae").mkdir(parents=True)
    (made / "model_index.json").write_text("{}")
    (made / "vae" / "model.safetensors").write_bytes(b"weights")
    return made


def recorded(folder: Path, **more: str) -> WeightsRecord:
    record = msgspec.structs.replace(
        weights.describe(folder, "lab/tiny", told=lambda _: None), **more
    )
    write_record(folder, record)
    return record


def test_a_folder_is_named_after_its_repository(tmp_path: Path) -> None:
    assert folder_of(tmp_path, "Wan-AI/Wan2.1_VACE").name == "Wan-AI--Wan2.1_VACE"


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "../x", "a/..", "/a/b", "a/", "-a/b", "a b/c"])
def test_what_is_no_repository_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError):
        folder_of(tmp_path, name)


def test_a_service_without_weights_misses_none(tmp_path: Path) -> None:
    assert missing(manifest(weights=""), tmp_path) == ""
    assert recorded_revision(manifest(weights=""), tmp_path) == ""


def test_the_weights_of_a_server_are_its_own_business(tmp_path: Path) -> None:
    found = msgspec.structs.replace(manifest(), endpoint=EndpointSection(url="http://here"))
    assert weights.parts_of(found) == {}
    assert missing(found, tmp_path) == ""


def test_what_is_not_there_names_the_command_that_brings_it(tmp_path: Path) -> None:
    told = "weights of lab/tiny are not on disk: adgenx models pull paint"
    assert missing(manifest(), tmp_path) == told


def test_a_copy_by_hand_is_as_good(folder: Path) -> None:
    assert missing(manifest(), folder.parent) == ""


def test_a_folder_without_safetensors_is_none(folder: Path) -> None:
    (folder / "vae" / "model.safetensors").rename(folder / "vae" / "model.bin")
    assert "not on disk as safetensors" in missing(manifest(), folder.parent)


def test_every_shard_must_be_there(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "other.safetensors"}}
    (folder / "vae" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "no other.safetensors" in missing(manifest(), folder.parent)
    (folder / "vae" / "other.safetensors").write_bytes(b"more")
    assert missing(manifest(), folder.parent) == ""


def test_what_the_manifest_names_must_be_there(folder: Path) -> None:
    wanted = ["vae/*.safetensors", "text_encoder/*"]
    assert "no text_encoder/*" in missing(manifest(files=wanted), folder.parent)
    recorded(folder)
    assert "no text_encoder/*" in missing(manifest(files=wanted), folder.parent)
    assert missing(manifest(files=wanted[:1]), folder.parent) == ""


def test_every_part_is_looked_for(folder: Path) -> None:
    parts = {"lora": WeightsPart(weights="lab/lora")}
    assert "weights of lab/lora are not on disk" in missing(manifest(parts=parts), folder.parent)


def test_a_pull_that_goes_on_is_no_weights_yet(folder: Path) -> None:
    (folder / PULLING_FILE).touch()
    assert "are being pulled" in missing(manifest(), folder.parent)


def test_a_recorded_file_that_is_gone_or_cut_short_is_seen(folder: Path) -> None:
    recorded(folder)
    (folder / "vae" / "model.safetensors").write_bytes(b"weigh")
    assert "are damaged (vae/model.safetensors)" in missing(manifest(), folder.parent)
    (folder / "vae" / "model.safetensors").unlink()
    assert "are damaged" in missing(manifest(), folder.parent)


def test_the_manifests_revision_is_held_to(folder: Path) -> None:
    recorded(folder, revision=COMMIT, asked="v1")
    assert missing(manifest(revision=COMMIT), folder.parent) == ""
    assert missing(manifest(revision="v1"), folder.parent) == ""
    assert missing(manifest(), folder.parent) == ""
    assert f"are of {COMMIT[:12]}, not v2" in missing(manifest(revision="v2"), folder.parent)


def test_a_damaged_record_is_said_to_be_one(folder: Path) -> None:
    (folder / RECORD_FILE).write_text('{"repo": "lab/tiny", "files": [], "revision": "HEAD"}')
    assert "cannot be read" in missing(manifest(), folder.parent)
    with pytest.raises(WeightsError):
        weights.read_record(folder)


def test_verifying_reads_every_byte(folder: Path) -> None:
    read: list[str] = []
    record = recorded(folder)
    assert weights.verify(folder, record, told=read.append) == []
    assert read == ["model_index.json", "vae/model.safetensors"]
    (folder / "vae" / "model.safetensors").write_bytes(b"weighty")
    (folder / "model_index.json").unlink()
    assert weights.verify(folder, record, told=read.append) == [
        ("model_index.json", "is missing"),
        ("vae/model.safetensors", "is damaged: its hash is not the recorded one"),
    ]


def test_a_record_holds_the_hash_of_every_file_and_not_of_itself(folder: Path) -> None:
    recorded(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "part").write_bytes(b"x")
    record = recorded(folder)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert record.files == [
        WeightsFile(
            path="model_index.json", size_bytes=2, sha256=hashlib.sha256(b"{}").hexdigest()
        ),
        WeightsFile(path="vae/model.safetensors", size_bytes=7, sha256=digest),
    ]


def test_a_commit_identifies_weights_and_so_does_what_is_known_of_others(folder: Path) -> None:
    models = folder.parent
    by_hand = recorded_revision(manifest(), models)
    os.utime(folder / "vae" / "model.safetensors", (1, 1))
    touched = recorded_revision(manifest(), models)
    recorded(folder)
    hashed = recorded_revision(manifest(), models)
    os.utime(folder / "vae" / "model.safetensors", (2, 2))
    assert recorded_revision(manifest(), models) == hashed, "hashes do not follow the clock"
    recorded(folder, revision=COMMIT)
    assert recorded_revision(manifest(), models) == f"={COMMIT}"
    assert len({by_hand, touched, hashed}) == 3


def test_a_part_identifies_itself_by_its_name(folder: Path) -> None:
    recorded(folder, revision=COMMIT)
    lora = manifest(parts={"lora": WeightsPart(weights="lab/tiny")})
    assert recorded_revision(lora, folder.parent) == f"={COMMIT} lora={COMMIT}"
