from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import subjects
from contracts.artifacts import (
    ArtifactRef,
    artifact_key,
    parse_trash,
    receipt_key,
    staging_key,
    trash_key,
    trash_prefix,
)
from contracts.codec import encode
from contracts.events import DELETE_RESULT
from contracts.identity import ID_PATTERN
from services.retention.names import Names
from services.retention.purge import is_answer

pytestmark = pytest.mark.unit

tenants = st.from_regex(ID_PATTERN)
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)


def ref(tenant: str, sha256: str) -> ArtifactRef:
    key = artifact_key(tenant, sha256)
    return ArtifactRef(key=key, sha256=sha256, media_type="image/png", size_bytes=1)


@given(tenant=tenants, sha256=hashes, other=hashes)
def test_whatever_names_a_key_anywhere_is_found(tenant: str, sha256: str, other: str) -> None:
    names = Names()
    deep = {"a": [{"unknown": {"to": ["us", ref(tenant, sha256)]}}], "b": sha256}
    names.add_from(encode(deep))
    assert artifact_key(tenant, sha256) in names
    assert len(names) == 1
    if other[:32] != sha256[:32]:
        assert artifact_key(tenant, other) not in names


def test_a_name_of_one_tenant_holds_no_object_of_another() -> None:
    names = Names()
    names.add_from(encode(ref("ann", "a" * 64)))
    assert artifact_key("ann", "a" * 64) in names
    assert artifact_key("bob", "a" * 64) not in names


def test_a_bare_hash_is_no_name() -> None:
    names = Names()
    names.add_from(encode({"cache_key": "a" * 64}))
    assert len(names) == 0


@pytest.mark.parametrize("key", ["ann/sha256/ab/short", "ann/other", "sha256/", ""])
def test_what_is_not_an_artifact_is_never_taken_away(key: str) -> None:
    assert key in Names()


@given(tenant=tenants, sha256=hashes, at=st.floats(0, 4e9))
def test_a_copy_in_the_trash_tells_its_original_and_when(
    tenant: str, sha256: str, at: float
) -> None:
    key = artifact_key(tenant, sha256)
    copy = trash_key(key, at, "t0")
    assert copy.startswith(trash_prefix(key))
    found = parse_trash(copy)
    assert found is not None
    assert found.original == key
    assert at - 0.001 <= found.taken_at <= at


@pytest.mark.parametrize("key", [receipt_key("a", "s", "j"), staging_key("a", "u"), "a/b"])
def test_only_artifacts_have_a_place_in_the_trash(key: str) -> None:
    assert trash_prefix(key) == ""
    assert parse_trash(key) is None


@pytest.mark.parametrize(
    ("request_id", "name", "stays"),
    [
        ("c", DELETE_RESULT, True),
        ("c", "rerun_result.1", True),
        ("c", "conflict.0123456789abcdef", True),
        ("c", "cancel_result", True),
        ("c", "campaign_result.1", False),
        ("c", "campaign_plan.1.script", False),
        ("u1", "asset_result", True),
        ("r1", "cancel_result", False),
        ("r1", "image_generation_result", False),
    ],
)
def test_only_answers_outlive_their_campaign(request_id: str, name: str, *, stays: bool) -> None:
    assert is_answer(subjects.event("acme", "c", request_id, name)) is stays
