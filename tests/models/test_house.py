"""The tiny distribution that `make demo-tiny` runs: this one, with less work in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tiny import house

from bus.worker.folder import SERVICES, discover
from contracts.manifest import Manifest

pytestmark = pytest.mark.models


def without_work(manifest: Manifest) -> Manifest:
    """Return a manifest without what says how much work and memory a model takes."""
    tiny = next((t for n, t in house.TINY.items() if manifest.name.startswith(n)), None)
    left_out = tiny.parameters if tiny else {}
    kept = {k: v for k, v in manifest.model.parameters.items() if k not in left_out}
    resources = msgspec.structs.replace(manifest.resources, memory_gb=1.0)
    model = msgspec.structs.replace(manifest.model, parameters=kept)
    return msgspec.structs.replace(manifest, model=model, resources=resources, variants={})


def test_the_tiny_distribution_has_every_service_and_differs_in_work_alone(tmp_path: Path) -> None:
    built = discover(root=house.build(tmp_path / "house") / "services")
    here = discover(root=SERVICES)
    assert [s.name for s in built] == [s.name for s in here]
    assert [without_work(s.manifest) for s in built] == [without_work(s.manifest) for s in here]
    steps = {s.name: s.manifest.model.parameters.get("steps") for s in built}
    assert (steps["cosmos"], steps["chronoedit_think"]) == (2, 2)


def test_every_weights_that_a_service_names_are_made_for_it(tmp_path: Path) -> None:
    assert house.furnish(tmp_path) == []
    made = {folder.name for folder in tmp_path.iterdir()}
    for service in discover(root=SERVICES):
        if service.name in house.TINY:
            wanted = [service.manifest.model, *service.manifest.model.parts.values()]
            assert {part.weights.replace("/", "--") for part in wanted} <= made


def test_a_figure_that_no_manifest_has_any_more_is_told() -> None:
    with pytest.raises(ValueError, match=r"model\.parameters\.stride"):
        house._with("[model.parameters]\nsteps = 3\n", "model.parameters", "stride", "1")
