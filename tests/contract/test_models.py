"""Every discovered service keeps the contract; one that is added is tested without an edit.

What needs weights or a server to run has a suite of its own, on tiny weights or a server of the
test's: tests/models/test_<folder>.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from model_suite import ModelSuite

from bus import weights
from bus.settings import load
from bus.worker.folder import MANIFEST, MODEL, SERVICES, ServiceFolder, discover, open_folder
from contracts.capability import capability_of

pytestmark = pytest.mark.contract

REVISION = re.compile(r"[0-9A-Za-z][\w./-]*")
SUITES = Path(__file__).parents[1] / "models"
ROOTS = (SERVICES, *load().service_folders)
MANIFESTS = [path for root in ROOTS for path in sorted(root.glob(f"*/{MANIFEST}"))]


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.parent.name)
def service(request: pytest.FixtureRequest) -> ServiceFolder:
    path: Path = request.param
    return open_folder(path.parent)


def test_there_are_services() -> None:
    assert len({service.path for service in discover(ROOTS[1:])}) == len(MANIFESTS) >= 8


def test_the_manifest_says_what_everybody_needs(service: ServiceFolder) -> None:
    manifest = service.manifest
    assert manifest.name == service.path.name
    assert all(capability_of(tag) for tag in manifest.accepts)
    assert manifest.model.licence
    if not manifest.model.weights:
        assert not manifest.model.revision, "an engine's revision is computed"
    elif manifest.model.revision:
        assert REVISION.fullmatch(manifest.model.revision), "a commit, a tag or a branch"


def test_the_model_is_one_class_and_light_to_look_at(service: ServiceFolder) -> None:
    tree = ast.parse((service.path / MODEL).read_text(encoding="utf-8"))
    models = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Model"]
    assert len(models) == 1
    methods = {n.name for n in models[0].body if isinstance(n, ast.FunctionDef)}
    assert {"__init__", "load", "run"} <= methods


def stands_alone(path: Path) -> bool:
    """Say whether a service runs as it is, without weights and without a server."""
    manifest = open_folder(path.parent).manifest
    return manifest.endpoint is None and not weights.parts_of(manifest)


@pytest.mark.parametrize(
    "path", [p for p in MANIFESTS if not stands_alone(p)], ids=lambda path: path.parent.name
)
def test_what_needs_weights_or_a_server_has_a_suite_of_its_own(path: Path) -> None:
    suite = SUITES / f"test_{path.parent.name}.py"
    assert suite.is_file() or path.parent.parent != SERVICES


class TestEveryModel(ModelSuite):
    """The suite, once for every folder whose service runs as it is."""

    @pytest.fixture(params=[p for p in MANIFESTS if stands_alone(p)], ids=lambda p: p.parent.name)
    def service(self, request: pytest.FixtureRequest) -> ServiceFolder:
        path: Path = request.param
        return open_folder(path.parent)
