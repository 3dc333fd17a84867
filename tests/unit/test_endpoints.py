"""Where a model's server listens, as a person has said it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus import endpoints
from contracts.manifest import Manifest, parse_manifest

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

[resources]
memory_gb = 0.5

[endpoint]
url = "http://127.0.0.1:8000"
path = "/v1/infer"
"""


@pytest.fixture
def manifest() -> Manifest:
    return parse_manifest(MANIFEST, "lamp")


@pytest.mark.parametrize(
    "said", ["http://[::1", "http://box:99999", "http://box:port", "box:8000", "http://me@box"]
)
def test_what_is_no_address_is_a_reason_and_no_crash(
    manifest: Manifest, said: str, tmp_path: Path
) -> None:
    why = endpoints.unready(manifest, {"ADGENX_LAMP_URL": said}, tmp_path)
    assert why == "ADGENX_LAMP_URL is no address of a server"


@pytest.mark.parametrize("said", ["http://box:9/v1/", "http://box:9/", "http://box:9"])
def test_an_address_may_have_the_beginning_of_the_path(manifest: Manifest, said: str) -> None:
    assert endpoints.url_of(manifest, {"ADGENX_LAMP_URL": said}) == "http://box:9"
