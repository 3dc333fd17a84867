"""Who needs a lease, and how much memory is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus import weights
from bus.worker.folder import discover
from bus.worker.lease import LEASED_FROM_GB, is_leased
from contracts.capability import Tier
from contracts.manifest import parse_manifest

pytestmark = pytest.mark.unit

MANIFEST = """
name = "lamp"
version = "1.0.0"
tier = "production"
accepts = ["generate_image.v1"]

[model]
name = "Lamp"
licence = "Apache-2.0"
commercial_use = true
{model}

[resources]
memory_gb = {memory_gb}
"""
WEIGHTS = """
weights = "acme/lamp"
size_gb = 0.002
parts = { more = { weights = "acme/more", size_gb = 0.002 } }
"""


def test_engines_and_servers_need_none_and_weights_do() -> None:
    leased = {s.name: is_leased(s.manifest) for s in discover()}
    assert not any(leased[s.name] for s in discover() if s.manifest.tier is Tier.DRAFT)
    assert not leased["composer"]
    assert not leased["kimi"], "its model is in a server's memory"
    assert leased["flux"]


def test_a_large_engine_needs_one_too() -> None:
    for memory_gb, wanted in ((LEASED_FROM_GB - 0.1, False), (LEASED_FROM_GB, True)):
        text = MANIFEST.format(model="", memory_gb=memory_gb)
        assert is_leased(parse_manifest(text, "lamp")) is wanted


def test_smaller_files_than_the_manifest_was_written_for_take_less(tmp_path: Path) -> None:
    manifest = parse_manifest(MANIFEST.format(model=WEIGHTS, memory_gb=8.0), "lamp")
    assert weights.memory_gb(manifest, tmp_path) == 8.0, "nothing lies here: nothing is known"
    for repo in ("acme--lamp", "acme--more"):
        (tmp_path / repo).mkdir()
    (tmp_path / "acme--lamp" / "model.safetensors").write_bytes(bytes(1_000_000))
    assert weights.memory_gb(manifest, tmp_path) == pytest.approx(2.0)
    (tmp_path / "acme--more" / "model.safetensors").write_bytes(bytes(1_000_000))
    assert weights.memory_gb(manifest, tmp_path) == pytest.approx(4.0)
    (tmp_path / "acme--more" / "other.safetensors").write_bytes(bytes(9_000_000))
    assert weights.memory_gb(manifest, tmp_path) == 8.0, "never more than it says"


def test_a_model_without_a_stated_size_takes_what_its_manifest_says(tmp_path: Path) -> None:
    text = MANIFEST.format(model='weights = "acme/lamp"', memory_gb=8.0)
    (tmp_path / "acme--lamp").mkdir()
    (tmp_path / "acme--lamp" / "model.safetensors").write_bytes(bytes(1000))
    assert weights.memory_gb(parse_manifest(text, "lamp"), tmp_path) == 8.0
