"""Every discovered service keeps the contract; one that is added is tested without an edit."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from model_suite import ModelSuite

from bus.settings import load
from bus.worker.folder import MANIFEST, MODEL, SERVICES, ServiceFolder, discover, open_folder
from contracts.capability import capability_of

pytestmark = pytest.mark.contract

COMMIT = re.compile(r"[0-9a-f]{40}")
ROOTS = (SERVICES, *load().service_folders)
MANIFESTS = [path for root in ROOTS for path in sorted(root.glob(f"*/{MANIFEST}"))]


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.parent.name)
def service(request: pytest.FixtureRequest) -> ServiceFolder:
    path: Path = request.param
    return open_folder(path.parent)


def test_there_are_services() -> None:
    assert len(discover(ROOTS[1:])) == len(MANIFESTS) >= 8


def test_the_manifest_says_what_everybody_needs(service: ServiceFolder) -> None:
    manifest = service.manifest
    assert manifest.name == service.path.name
    assert all(capability_of(tag) for tag in manifest.accepts)
    assert manifest.model.licence
    if manifest.model.weights:
        assert COMMIT.fullmatch(manifest.model.revision), "weights are pinned by commit"
    else:
        assert not manifest.model.revision, "an engine's revision is computed"


def test_the_model_is_one_class_and_light_to_look_at(service: ServiceFolder) -> None:
    tree = ast.parse((service.path / MODEL).read_text(encoding="utf-8"))
    models = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Model"]
    assert len(models) == 1
    methods = {n.name for n in models[0].body if isinstance(n, ast.FunctionDef)}
    assert {"__init__", "load", "run"} <= methods


class TestEveryModel(ModelSuite):
    """The suite, once for every folder."""
