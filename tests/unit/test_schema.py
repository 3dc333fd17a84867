"""The published documents: complete, and valid for the official validator."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import msgspec
import pytest

from contracts import schema, subjects
from contracts.capability import Capability

pytestmark = pytest.mark.unit


def test_the_asyncapi_document_is_valid_for_the_official_parser(
    run_node: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    text = schema.documents()["asyncapi.json"].encode()
    judged = run_node("validate_asyncapi.mjs", stdin=text)
    assert judged.returncode == 0, judged.stdout.decode() + judged.stderr.decode()
    broken = text.replace(b'"operations"', b'"opperations"')
    assert run_node("validate_asyncapi.mjs", stdin=broken).returncode != 0


def test_every_capability_can_be_asked_and_answers() -> None:
    document = schema.asyncapi()
    addresses = {c["address"] for c in document["channels"].values()}
    for capability in Capability:
        subject = subjects.request("{tenant}", capability, "{campaign_id}", "{request_id}")
        assert subject in addresses
        for event in (capability.request_event, capability.result_event):
            ids = ("{tenant}", "{campaign_id}", "{request_id}")
            assert subjects.event(*ids, event) in addresses


def test_every_message_has_a_title_and_a_payload() -> None:
    document = schema.asyncapi()
    for name, message in document["components"]["messages"].items():
        assert message["title"], name
        assert message["payload"]["$ref"].rpartition("/")[2] in document["components"]["schemas"]


def test_the_documents_hold_no_python_regular_expressions() -> None:
    for text in schema.documents().values():
        assert r"\\A" not in text
        assert r"\\Z" not in text
        assert msgspec.json.decode(text)
