"""Every rule of a brief: the right error, the right field, and what is allowed instead."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from contracts.artifacts import artifact_key
from contracts.brief import Brief
from contracts.brief_check import check_brief
from contracts.codec import decode_input, encode
from contracts.errors import InvalidInputError

pytestmark = pytest.mark.unit

TODAY = date(2026, 11, 21)
EXAMPLES = Path(__file__).parents[2] / "examples"
SHA = "ab" * 32
REF = {
    "key": artifact_key("acme", SHA),
    "sha256": SHA,
    "media_type": "image/png",
    "size_bytes": 10,
}


def base() -> dict[str, Any]:
    return {
        "campaign": "kestrel",
        "brand": {
            "name": "Kestrel",
            "palette": {
                "primary": "#F4511E",
                "secondary": "#FFB05C",
                "ink": "#14130F",
                "paper": "#F3E7D3",
                "accent": "#14342B",
            },
            "banned_words": ["unleash", "game-changer"],
        },
        "product": {"name": "Kestrel Cold Brew", "what": "cold brew", "form": "can"},
        "placements": ["instagram_reel", "display_300x250"],
        "locales": ["en-US"],
    }


def changed(path: str, value: object) -> dict[str, Any]:
    """The base brief with one field set."""
    data = base()
    *parents, last = path.split("/")
    node: Any = data
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return data


def refused(data: dict[str, Any], *, on_wire: bool = True, tenant: str = "") -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        check_brief(decode_input(encode(data), Brief), today=TODAY, on_wire=on_wire, tenant=tenant)
    return caught.value


def test_the_base_brief_is_accepted() -> None:
    check_brief(decode_input(encode(base()), Brief), today=TODAY, tenant="acme")


@pytest.mark.parametrize("name", ["kestrel", "nachtzug", "noor"])
def test_the_examples_are_accepted(name: str) -> None:
    data = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    brief = decode_input(encode(data), Brief)
    check_brief(brief, on_wire=False, today=TODAY)
    assert brief.tier == "draft"


def test_the_examples_commented_assets_are_in_the_briefs_shape() -> None:
    text = (EXAMPLES / "kestrel.yaml").read_text(encoding="utf-8")
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    start = lines.index("assets:")
    data = base() | yaml.safe_load("\n".join(lines[start:]))
    brief = decode_input(encode(data), Brief)
    check_brief(brief, on_wire=False, today=TODAY)
    assert [asset.role for asset in brief.assets] == ["logo", "product"]


BAD = [
    ("control", "offer", "20%\x07 off", "INVALID_PARAMS", "offer", "U+0007"),
    ("bidi", "brand/tagline", "a\u202eb", "INVALID_PARAMS", "brand.tagline", "bidirectional"),
    ("newline", "product/what", "one\ntwo", "INVALID_PARAMS", "product.what", "control"),
    ("markup", "offer", "<b>20%</b>", "INVALID_PARAMS", "offer", "plain text"),
    ("blank", "brand/tagline", "   ", "INVALID_PARAMS", "brand.tagline", "blank"),
    ("key", "headlines", {"ho\u202eok": "a"}, "INVALID_PARAMS", "headlines.ho\u202eok", "natural"),
    ("private url", "product/url", "http://10.0.0.1/", "URL_NOT_ALLOWED", "product.url", "public"),
    ("file url", "product/url", "file:///etc/passwd", "URL_NOT_ALLOWED", "product.url", "https"),
    ("user url", "product/url", "https://a:b@x.com", "URL_NOT_ALLOWED", "product.url", "user"),
    ("long label", "product/url", f"https://{'a' * 80}.com", "URL_NOT_ALLOWED", "product.url", ""),
    ("locale", "locales", ["en-US", "xx-XX"], "INVALID_PARAMS", "locales[1]", "de-DE"),
    ("twice", "locales", ["en-US", "en-US"], "INVALID_PARAMS", "locales[1]", "twice"),
    ("near", "placements", ["instagram_reels"], "INVALID_PARAMS", "placements[0]", "ram_reel`"),
    ("far", "placements", ["billboard"], "INVALID_PARAMS", "placements[0]", "allowed are"),
    ("place twice", "placements", ["tiktok", "tiktok"], "INVALID_PARAMS", "placements[1]", "twice"),
    ("no text", "offer", {"de-DE": "x"}, "INVALID_PARAMS", "offer", "no text for en-US"),
    (
        "stray",
        "offer",
        {"en-US": "x", "fr-FR": "y"},
        "INVALID_PARAMS",
        "offer.fr-FR",
        "its locales are en-US",
    ),
    ("shot", "headlines", {"hok": "a"}, "INVALID_PARAMS", "headlines.hok", "did you mean `hook`"),
    ("ink", "brand/palette/ink", "#999999", "INVALID_PARAMS", "brand.palette.ink", "4.5:1"),
    ("banned", "offer", "Unleash 20%", "INVALID_PARAMS", "offer", "unleash"),
    (
        "banned headline",
        "headlines",
        {"hook": "A game-changer."},
        "INVALID_PARAMS",
        "headlines.hook",
        "game-changer",
    ),
    ("length", "length_seconds", 120, "INVALID_PARAMS", "length_seconds", "instagram_reel with 90"),
    ("fact", "product/facts", [{"value": 1e12, "label": "x"}], "INVALID_PARAMS",
     "product.facts[0].value", "1,000,000,000"),
    ("no ref", "assets", [{"role": "logo", "file": "a.png"}], "INVALID_PARAMS", "assets[0].ref",
     "upload"),
    ("both", "assets", [{"role": "logo", "file": "a.png", "ref": REF}], "INVALID_PARAMS",
     "assets[0].file", "one of the two"),
    ("other tenant", "assets", [{"role": "logo", "ref": REF | {"key": "other/sha256/ab/x"}}],
     "INVALID_PARAMS", "assets[0].ref.key", "own"),
    ("stand-in", "assets", [{"role": "logo", "ref": REF | {"key": "$output:script:script"}}],
     "INVALID_PARAMS", "assets[0].ref.key", "own"),
    ("role", "assets", [{"role": "logo", "ref": REF | {"media_type": "audio/wav"}}],
     "INVALID_PARAMS", "assets[0].ref.media_type", "image/"),
    ("unused", "assets", [{"role": "font", "ref": REF}], "INVALID_PARAMS", "assets[0].role",
     "logo, product, reference"),
    ("expired", "assets",
     [{"role": "logo", "ref": REF, "rights": {"expires": "2026-11-20"}}],
     "INVALID_PARAMS", "assets[0].rights.expires", "2026-11-20"),
    ("no date", "assets", [{"role": "logo", "ref": REF, "rights": {"expires": "soon"}}],
     "INVALID_PARAMS", "assets[0].rights.expires", "2027-12-31"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "code", "field", "says"), [row[1:] for row in BAD], ids=[r[0] for r in BAD]
)
def test_each_rule_names_field_and_remedy(
    path: str, value: object, code: str, field: str, says: str
) -> None:
    error = refused(changed(path, value), tenant="acme")
    assert (error.code, error.field) == (code, field)
    assert says in error.message
    assert not error.retryable


def test_a_colour_that_reads_on_neither_ink_nor_paper_is_refused() -> None:
    data = base()
    data["brand"]["palette"] |= {"ink": "#595959", "paper": "#FFFFFF", "accent": "#A6A6A6"}
    error = refused(data)
    assert error.field == "brand.palette.accent"
    assert "3:1" in error.message


def test_a_campaign_that_no_package_could_hold_is_refused_at_once() -> None:
    data = base()
    data |= {
        "locales": ["en-US", "de-DE", "fr-FR", "es-ES", "it-IT", "nl-NL"],
        "placements": ["tiktok", "instagram_feed", "x_feed", "youtube_instream"],
        "variants": {"hooks": 4},
    }
    error = refused(data)
    assert (error.code, error.field) == ("TOO_LARGE", "placements")


def test_an_asset_may_be_a_file_before_it_travels() -> None:
    data = base() | {"assets": [{"role": "logo", "file": "a.png"}]}
    check_brief(decode_input(encode(data), Brief), on_wire=False, today=TODAY)
    data = base() | {"assets": [{"role": "logo"}]}
    assert refused(data, on_wire=False).field == "assets[0]"


def test_banned_words_are_whole_words_of_any_case() -> None:
    brief = decode_input(encode(changed("offer", "Unleashed?")), Brief)
    check_brief(brief, today=TODAY)
    voice = msgspec.structs.replace(brief.brand, voice="never unleash")
    check_brief(msgspec.structs.replace(brief, brand=voice), today=TODAY)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "MALFORMED_JSON", ""),
        (b'{"campaign": NaN}', "MALFORMED_JSON", ""),
        (b'{"campaign": "\xff"}', "MALFORMED_JSON", ""),
        (b'{"campaign": "../x"}', "INVALID_PARAMS", "campaign"),
        (b'{"campaign": "' + b"a" * 65 + b'"}', "INVALID_PARAMS", "campaign"),
        (b'{"campaign": "a\\n"}', "INVALID_PARAMS", "campaign"),
        (b'{"length_seconds": "15"}', "INVALID_PARAMS", "length_seconds"),
        (b'{"length_seconds": 1e999}', "INVALID_PARAMS", "length_seconds"),
        (b'{"length_seconds": 5}', "INVALID_PARAMS", "length_seconds"),
        (b'{"brand": {"palete": {}}}', "INVALID_PARAMS", "brand.palete"),
        (b'{"placements": []}', "INVALID_PARAMS", "placements"),
        (b'{"scale": true}', "INVALID_PARAMS", "scale"),
        (b'{"seed": -1}', "INVALID_PARAMS", "seed"),
        (b'{"tier": "gold"}', "INVALID_PARAMS", "tier"),
        (b'{"brand": {"name": "' + b"a" * 61 + b'"}}', "INVALID_PARAMS", "brand.name"),
    ],
)
def test_shape_errors_name_the_field(body: bytes, code: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode_input(body, Brief)
    assert (caught.value.code, caught.value.field) == (code, field)
