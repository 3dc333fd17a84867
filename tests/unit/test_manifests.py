"""Every manifest of this distribution, with all its variants: what it says holds together."""

from __future__ import annotations

import re

import msgspec
import pytest

from bus import weights
from bus.weights import WeightsError, folder_of
from bus.worker.folder import MANIFEST, NOWHERE, SERVICES, ServiceFolder, discover, engine_revision
from contracts.manifest import Manifest, parse_manifests
from services.cli.hub import REFUSED

pytestmark = pytest.mark.unit

FOUND = discover()
COMMIT = re.compile(r"\A[0-9a-f]{40}\Z")
NAME = re.compile(r"\A[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*\Z", re.ASCII)
LIKE_A_COMMIT = re.compile(r"\A[0-9a-f]{7,}\Z")
MOVING = {"main", "master", "HEAD", "latest"}
BY_HAND = {"nvidia/Cosmos-1.0-Guardrail"}
"""Its maker ships a pickle, which its own package reads: a person brings it, no pull does."""


@pytest.fixture(params=FOUND, ids=lambda service: service.name)
def service(request: pytest.FixtureRequest) -> ServiceFolder:
    found: ServiceFolder = request.param
    return found


@pytest.fixture
def manifest(service: ServiceFolder) -> Manifest:
    return service.manifest


def keys_of(table: object, before: str = "") -> set[str]:
    """Return every dotted key of a manifest, those that it leaves at their defaults included."""
    if isinstance(table, msgspec.Struct):
        table = msgspec.structs.asdict(table)
    if not isinstance(table, dict):
        return set()
    own = {before + key for key in table}
    return own.union(*(keys_of(value, f"{before}{key}.") for key, value in table.items()))


def test_every_variant_is_found() -> None:
    texts = [(p.parent.name, p.read_text()) for p in sorted(SERVICES.glob(f"*/{MANIFEST}"))]
    written = {m.name for folder, text in texts for m in parse_manifests(text, folder)}
    assert {service.name for service in FOUND} == written


def test_what_is_estimated_is_in_the_manifest_and_said_once(manifest: Manifest) -> None:
    assert set(manifest.estimated) <= keys_of(manifest)
    assert len(set(manifest.estimated)) == len(manifest.estimated)


def test_a_revision_is_a_commit_or_a_name_that_stays(manifest: Manifest) -> None:
    for part in weights.parts_of(manifest).values():
        revision = part.revision
        assert revision == "" or COMMIT.match(revision) or NAME.match(revision)
        assert COMMIT.match(revision) or not LIKE_A_COMMIT.match(revision), "a commit is whole"
        assert revision not in MOVING, "empty is what is held to once it was pulled"


def test_weights_are_repositories_of_which_only_what_is_safe_is_asked_for(
    manifest: Manifest,
) -> None:
    for name, part in weights.parts_of(manifest).items():
        try:
            folder_of(NOWHERE, part.weights)
        except WeightsError as error:
            pytest.fail(f"{name or 'model'}: {error.message}")
        unsafe = [pattern for pattern in part.files if pattern.endswith(REFUSED)]
        assert not unsafe or part.weights in BY_HAND
        assert part.size_gb > 0 or name, "what the model weighs is not said"


def test_a_model_that_runs_here_needs_the_memory_of_its_weights_or_says_how_it_gets_by(
    manifest: Manifest,
) -> None:
    size = sum(part.size_gb for part in weights.parts_of(manifest).values())
    runtime = manifest.runtime
    gets_by = runtime.quantise or runtime.offload or runtime.drop_text_encoder
    # What lies on the disk in float32 takes half of it in memory.
    assert manifest.resources.memory_gb >= size / 2 or gets_by or manifest.endpoint


def test_a_service_is_an_engine_of_its_own() -> None:
    revisions = {service.name: engine_revision(service) for service in FOUND}
    assert len(set(revisions.values())) == len(revisions)


def test_what_costs_money_or_time_is_not_nothing(manifest: Manifest) -> None:
    assert manifest.cost.expected_seconds > 0
    assert manifest.resources.target_seconds > 0
    assert manifest.model.licence.strip()
