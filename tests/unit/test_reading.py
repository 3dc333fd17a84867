"""A release reads what the next one wrote: after a rollback its records are still there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect
from test_golden_payloads import GOLDEN, RECORDS, kind_of

from contracts import events, requests, schema
from contracts.codec import decode_input
from contracts.errors import InvalidRequestError
from contracts.jobs import Buried, Job
from contracts.manifest import ServiceRecord, parse_manifest
from contracts.reading import Reader

pytestmark = pytest.mark.unit

NEWER = "of_the_next_release"
WITH_A_REQUEST = (Job, Buried)
"""They carry a request, which stays strict: it is nobody's to pass over what was asked for."""
KEPT = sorted(
    path
    for path in GOLDEN.glob("*.json")
    if path.stem.startswith("record.") and kind_of(path) not in WITH_A_REQUEST
)
TOLD = sorted(p for p in GOLDEN.glob("*.json") if issubclass(kind_of(p), events.Event))
ASKED = sorted(
    p
    for p in GOLDEN.glob("*.json")
    if kind_of(p) in requests.Request.__args__  # type: ignore[attr-defined] - a union's members
)


def grown(value: Any, node: inspect.Type) -> Any:  # noqa: ANN401 - any JSON
    """Put an unknown field into every object that is a Struct."""
    if isinstance(node, inspect.UnionType):
        fitting = [m for m in node.types if _fits(value, m)]
        return grown(value, fitting[0]) if fitting else value
    if isinstance(node, inspect.ListType):
        return [grown(item, node.item_type) for item in value]
    if isinstance(node, inspect.DictType):
        return {key: grown(item, node.value_type) for key, item in value.items()}
    if isinstance(node, inspect.StructType):
        types = {f.encode_name: f.type for f in node.fields}
        told = {k: grown(v, types[k]) if k in types else v for k, v in value.items()}
        return told | {NEWER: {"a": [1, "b"]}}
    return value


def _fits(value: Any, member: inspect.Type) -> bool:  # noqa: ANN401 - any JSON
    if isinstance(member, inspect.StructType):
        tagged = member.tag_field is None or value.get(member.tag_field) == member.tag
        return isinstance(value, dict) and tagged
    return isinstance(value, list) and isinstance(member, inspect.ListType)


def count(body: bytes) -> int:
    return body.count(NEWER.encode())


@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_a_record_with_unknown_fields_at_every_depth_reads_as_without_them(path: Path) -> None:
    kind = kind_of(path)
    plain = msgspec.json.decode(path.read_bytes())
    newer = msgspec.json.encode(grown(plain, inspect.type_info(kind)))
    assert count(newer) > 0
    assert Reader(kind).decode(newer) == msgspec.json.decode(path.read_bytes(), type=kind)


@pytest.mark.parametrize("path", TOLD, ids=lambda p: p.stem)
def test_an_event_with_unknown_fields_at_every_depth_decodes(path: Path) -> None:
    kind = kind_of(path)
    plain = msgspec.json.decode(path.read_bytes())
    newer = msgspec.json.encode(grown(plain, inspect.type_info(kind)))
    assert count(newer) > 0
    assert msgspec.json.decode(newer, type=kind) == msgspec.convert(plain, kind)


@pytest.mark.parametrize("path", ASKED, ids=lambda p: p.stem)
def test_a_request_with_an_unknown_field_is_refused_by_name(path: Path) -> None:
    newer = msgspec.json.decode(path.read_bytes()) | {NEWER: 1}
    with pytest.raises(InvalidRequestError) as caught:
        decode_input(msgspec.json.encode(newer), requests.Request)
    assert caught.value.field == NEWER


@pytest.mark.parametrize("name", ["record.job", "record.buried"])
def test_a_work_message_forgives_its_own_fields_and_not_its_requests(name: str) -> None:
    plain = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
    assert msgspec.convert(plain | {NEWER: 1}, RECORDS[name])
    job = plain["job"] if name == "record.buried" else plain
    job["request"][NEWER] = 1
    with pytest.raises(msgspec.ValidationError, match=NEWER):
        msgspec.convert(plain, RECORDS[name])


def test_every_kind_of_event_is_tried() -> None:
    tried = {kind_of(path) for path in TOLD}
    assert tried == {k for k in schema.messages() if issubclass(k, events.Event)}


def test_a_record_that_is_wrong_in_another_way_is_still_refused() -> None:
    plain = msgspec.json.decode((GOLDEN / "record.service_record.json").read_bytes())
    plain["manifest"][NEWER] = 1
    plain["manifest"]["tier"] = "no such tier"
    with pytest.raises(msgspec.ValidationError, match="tier"):
        Reader(ServiceRecord).decode(msgspec.json.encode(plain))
    with pytest.raises(msgspec.DecodeError):
        Reader(ServiceRecord).decode(b"{")


def test_a_manifest_on_the_disk_stays_strict() -> None:
    text = f"""name = "kind"
version = "1.0.0"
tier = "draft"
accepts = ["generate_text.v1"]
{NEWER} = 1
[model]
name = "m"
licence = "Apache-2.0"
commercial_use = true
[resources]
memory_gb = 1.0
"""
    with pytest.raises(InvalidRequestError, match=NEWER):
        parse_manifest(text, "kind")


def test_a_record_without_unknown_fields_is_read_at_full_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The slow way is for what the fast one refuses, and for nothing else."""
    monkeypatch.setattr("contracts.reading.without_unknown", None)
    for path in KEPT:
        assert Reader(kind_of(path)).decode(path.read_bytes())
