"""Identities, subjects, canonical spelling and the errors that bad JSON gets."""

from __future__ import annotations

import math
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import canonical, errors, identity, subjects
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.brief import Brand, Brief, Edit, Form, Product
from contracts.campaign import RunCampaign
from contracts.capability import Capability, capability_of
from contracts.codec import BODY_LIMIT, decode_input, encode
from contracts.colour import contrast
from contracts.errors import AdgenxError, InvalidIdError
from contracts.jobs import Provenance
from contracts.placement import PLACEMENTS, scaled
from contracts.requests import GenerateMesh, GenerateText, GenerateVideo
from contracts.text import check_line, check_url

pytestmark = pytest.mark.unit

MAKER = Provenance(service="draft_video", model="m", revision="1")


def video(**fields: object) -> GenerateVideo:
    return GenerateVideo(
        **({"prompt": "a can", "width": 64, "height": 64, "seconds": 1.0} | fields)  # type: ignore[arg-type]  # a test's shorthand
    )


def label(sha: str, key: str = "") -> ArtifactRef:
    return ArtifactRef(
        key=key or artifact_key("t", sha), sha256=sha, media_type="image/png", size_bytes=1
    )


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.b", "*", ">", "a b", "-a", "_a", "é", "а", "a\n", "x" * 65, "a/b", "a\0"],  # noqa: RUF001 - the Cyrillic a is the point
)
def test_an_id_that_is_not_safe_in_a_subject_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdError) as refused:
        identity.check_id(text, "campaign_id")
    assert refused.value.field == "campaign_id"


@given(st.text(max_size=80))
def test_whatever_passes_as_an_id_is_one_plain_subject_token(text: str) -> None:
    if identity.is_id(text):
        assert text.isascii()
        assert not set(text) & set(".*> \t\r\n/\\\0")


@given(st.text(max_size=200), st.integers(1, 9999))
def test_a_steps_request_id_is_always_an_id(step: str, revision: int) -> None:
    made = identity.step_request_id("campaign", revision, step)
    assert identity.is_id(made)
    assert made == identity.step_request_id("campaign", revision, step)
    assert made != identity.step_request_id("campaign", revision + 1, step)


def test_job_ids_do_not_mix_up_where_one_id_ends() -> None:
    assert identity.job_id_of("a", "bc", "d") != identity.job_id_of("ab", "c", "d")
    assert len(identity.job_id_of("a", "b", "c")) == 26


def test_every_capability_has_its_own_four_spellings() -> None:
    tags = [c.request_type for c in Capability]
    assert len(set(tags)) == len(tags)
    assert all(capability_of(c.request_type) is c for c in Capability)
    assert Capability.VIDEO.result_event == "video_generation_result"
    assert "adgenx.req.*.video.*.*" in subjects.request_patterns()


def test_a_requests_subject_parses_back() -> None:
    subject = subjects.request("acme", "video", "-", "r1")
    parsed = subjects.parse_request(subject)
    assert (parsed.tenant, parsed.token, parsed.campaign_id) == ("acme", "video", "-")
    with pytest.raises(InvalidIdError):
        subjects.parse_request("adgenx.req.acme.video.c.*")


@pytest.mark.parametrize(
    ("body", "error", "field"),
    [
        (b"", errors.MalformedMessageError, ""),
        (b"{", errors.MalformedMessageError, ""),
        (b'{"type":"run_campaign.v1","brief":NaN}', errors.MalformedMessageError, ""),
        (b"\xff\xfe", errors.MalformedMessageError, ""),
        (b'"\\ud800"', errors.MalformedMessageError, ""),
        (b"[" * 100_000, errors.AdgenxError, ""),
        (b'{"type":"run_campaign.v9"}', errors.UnsupportedVersionError, "type"),
        (b"{}", errors.InvalidRequestError, "brief"),
        (b'{"type":"run_campaign.v1"}', errors.InvalidRequestError, "brief"),
        (b'{"type":"run_campaign.v1","brief":7}', errors.InvalidRequestError, "brief"),
        (b'{"type":"run_campaign.v1","breif":{}}', errors.InvalidRequestError, "breif"),
        (
            b'{"type":"run_campaign.v1","brief":{"campaign":"a.b"}}',
            errors.InvalidRequestError,
            "brief.campaign",
        ),
        (
            b'{"type":"run_campaign.v1","brief":{"brand":{"pallete":{}}}}',
            errors.InvalidRequestError,
            "brief.brand.pallete",
        ),
        (b" " * (BODY_LIMIT + 1), errors.TooLargeError, ""),
    ],
)
def test_bad_json_gets_one_typed_error_that_names_the_field(
    body: bytes, error: type[AdgenxError], field: str
) -> None:
    with pytest.raises(error) as refused:
        decode_input(body, RunCampaign)
    if field:
        assert refused.value.field == field
    assert len(refused.value.info().message) <= errors.MESSAGE_LIMIT
    assert not refused.value.retryable


def test_a_misspelt_field_is_told_the_nearest_known_name() -> None:
    with pytest.raises(errors.InvalidRequestError, match="did you mean `palette`"):
        decode_input(
            b'{"type":"run_campaign.v1","brief":{"brand":{"name":"K","pallete":{}}}}', RunCampaign
        )


@given(st.binary(max_size=400))
def test_any_bytes_give_a_message_or_a_typed_error(body: bytes) -> None:
    with suppress(errors.InvalidInputError):
        decode_input(body, RunCampaign)


def test_the_envelope_and_an_artifacts_key_do_not_change_the_cache_key() -> None:
    one, other = "a" * 64, "b" * 64
    mesh = GenerateMesh(prompt="p", form=Form.CAN, label=label(one))
    same = msgspec.structs.replace(
        mesh, request_id="r", campaign_id="c", priority=9, label=label(one, key="elsewhere")
    )
    assert canonical.cache_key(mesh, MAKER) == canonical.cache_key(same, MAKER)
    changed = msgspec.structs.replace(mesh, label=label(other))
    assert canonical.cache_key(mesh, MAKER) != canonical.cache_key(changed, MAKER)
    newer = msgspec.structs.replace(MAKER, revision="2")
    assert canonical.cache_key(mesh, MAKER) != canonical.cache_key(mesh, newer)


def test_every_parameter_changes_the_cache_key() -> None:
    base = canonical.cache_key(video(), MAKER)
    for change in ({"prompt": "b"}, {"seed": 1}, {"width": 32}, {"seconds": 2.0}, {"fps": 25}):
        assert canonical.cache_key(video(**change), MAKER) != base, change


def test_a_field_that_came_later_counts_only_where_it_says_something() -> None:
    brief = Brief(
        campaign="k",
        brand=Brand(name="K"),
        product=Product(name="K", what="k"),
        placements=["tiktok"],
        locales=["en-US"],
    )
    plain = canonical.parameters(GenerateText(task="script", brief=brief))["brief"]
    assert not {"edits", "restyle", "people"} & plain.keys()
    for wish in ({"restyle": "collage"}, {"edits": [Edit(instruction="frost")]}):
        asked = GenerateText(task="script", brief=msgspec.structs.replace(brief, **wish))
        assert set(canonical.parameters(asked)["brief"]) - plain.keys() == set(wish)


def test_a_fingerprint_says_which_parameter_changed() -> None:
    old = canonical.fingerprint(video(), MAKER)
    assert canonical.changed(old, canonical.fingerprint(video(prompt="b"), MAKER)) == ["prompt"]
    newer = msgspec.structs.replace(MAKER, revision="2")
    assert canonical.changed(old, canonical.fingerprint(video(), newer)) == ["engine"]


def test_inputs_are_found_wherever_they_stand() -> None:
    request = video(references=[label("c" * 64)], art={})
    assert [r.sha256 for r in canonical.inputs(request)] == ["c" * 64]


def test_equal_values_encode_to_equal_bytes() -> None:
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})


@pytest.mark.parametrize(
    "text", ["a\0b", "\x1b[31m", "a\u202eb", "<b>", "</script>", "a\ud800", "\u2028", "\uf000"]
)
def test_text_that_cannot_be_set_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequestError) as refused:
        check_line(text, "brand.tagline")
    assert refused.value.field == "brand.tagline"
    assert text not in refused.value.message


@pytest.mark.parametrize(
    "text", ["3 < 4 > 2", "Café ☕️ 20 %", "نور", "日本", '{"a": 1}', "a\u202fb"]
)
def test_text_that_people_write_is_accepted(text: str) -> None:
    check_line(text, "x")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://a.example",
        "data:text/html,x",
        "https://user@a.example",
        "https://a.example:22",
        "https://a.example\\@b",
        "http://127.1",
        "http://0x7f.1",
        "http://2130706433",
        "http://[::1]",
        "http://[::ffff:169.254.1.1]",
        "http://10.0.0.8",
        "http://169.254.169.254/latest",
        "http://localhost",
        "http://box.local",
        "http://intranet",
        "https://a.example/\r\nx",
        "https://",
        "http://[bad",
    ],
)
def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidInputError):
        check_url(url, "product.url")


@pytest.mark.parametrize("url", ["https://kestrelcoffee.example", "http://a-b.co.uk:80/x?y=1#z"])
def test_a_public_address_is_accepted(url: str) -> None:
    check_url(url, "product.url")


def test_contrast_is_wcags() -> None:
    assert math.isclose(contrast("#000000", "#FFFFFF"), 21, rel_tol=1e-6)
    assert math.isclose(contrast("#777777", "#FFFFFF"), 4.48, abs_tol=0.01)


def test_scaled_sizes_are_even_for_every_placement() -> None:
    for placement in PLACEMENTS.values():
        for side in scaled((placement.width, placement.height), 0.37):
            assert side % 2 == 0
            assert side > 0


def test_every_error_class_stands_in_the_drawn_tree() -> None:
    tree = errors.__doc__ or ""
    stack = [AdgenxError]
    while stack:
        kind = stack.pop()
        stack += [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
        assert kind.__name__ in tree
        if kind.code != "INTERNAL":
            assert kind.code in tree
