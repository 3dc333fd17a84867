"""What a brief may ask of production models, and how each mistake is refused."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from contracts.artifacts import artifact_key
from contracts.brief import Brief, named_shots
from contracts.brief_check import check_brief
from contracts.codec import decode_input, encode
from contracts.errors import InvalidInputError

pytestmark = pytest.mark.unit

TODAY = date(2026, 11, 21)
SHA = "ab" * 32


def asset(role: str, name: str, media_type: str, **more: object) -> dict[str, Any]:
    ref = {
        "key": artifact_key("acme", SHA),
        "sha256": SHA,
        "media_type": media_type,
        "size_bytes": 10,
    }
    return {"role": role, "id": name, "ref": ref, **more}


MARA = asset("person", "mara", "image/png")
WAVE = asset("driving", "wave", "video/mp4")
WAVING = {"character": "mara", "driving": "wave", "shot": "life"}


def base(**changes: object) -> dict[str, Any]:
    return {
        "campaign": "k",
        "brand": {"name": "Kestrel"},
        "product": {"name": "Kestrel", "what": "cold brew", "form": "can"},
        "placements": ["instagram_reel"],
        "locales": ["en-US"],
        "tier": "production",
        **changes,
    }


def checked(data: dict[str, Any]) -> Brief:
    brief: Brief = decode_input(encode(data), Brief)
    check_brief(brief, tenant="acme", today=TODAY)
    return brief


def test_everything_that_production_models_do_can_be_asked_for() -> None:
    brief = checked(
        base(
            edits=[{"instruction": "frost on the can"}, {"of": "hook", "instruction": "by night"}],
            restyle={"promise": "paper collage"},
            people=[WAVING],
            assets=[MARA, WAVE],
        )
    )
    assert brief.edits[0].of == "key_visual"
    assert brief.people[0].mode == "animate"
    assert named_shots(brief) == ["hook", "promise", "life"]
    assert named_shots(checked(base(restyle="paper collage"))) == []


REFUSED = [
    ({"edits": [{"of": "hok", "instruction": "x"}]}, "edits[0].of", "did you mean `hook`"),
    ({"edits": [{"of": "hook", "instruction": ""}]}, "edits[0].instruction", ""),
    ({"edits": [{"instruction": "x", "on": "hook"}]}, "edits[0].on", ""),
    (
        {"edits": [{"instruction": "x"}, {"of": "key_visual", "instruction": "y"}]},
        "edits[1].of",
        "twice",
    ),
    ({"restyle": {"hokk": "collage"}}, "restyle.hokk", "did you mean `hook`"),
    ({"people": [WAVING]}, "people[0].character", "person assets: none"),
    (
        {"people": [WAVING | {"character": "mora"}], "assets": [MARA, WAVE]},
        "people[0].character",
        "did you mean `mara`",
    ),
    (
        {"people": [WAVING | {"driving": "mara"}], "assets": [MARA, WAVE]},
        "people[0].driving",
        "is a person",
    ),
    (
        {"people": [WAVING | {"shot": "product"}], "assets": [MARA, WAVE]},
        "people[0].shot",
        "allowed are hook",
    ),
    (
        {"people": [WAVING | {"pose": "wave"}], "assets": [MARA, WAVE]},
        "people[0].face",
        "beside pose",
    ),
    (
        {"people": [WAVING | {"pose": "wave", "face": "none"}], "assets": [MARA, WAVE]},
        "people[0].face",
        "no asset has the id",
    ),
    ({"people": [WAVING, WAVING], "assets": [MARA, WAVE]}, "people[0].shot", "two people"),
    ({"people": [WAVING | {"mode": "dance"}]}, "people[0].mode", ""),
    (
        {
            "people": [WAVING],
            "assets": [MARA, WAVE],
            "edits": [{"of": "life", "instruction": "x"}],
        },
        "edits[0].of",
        "shows a person",
    ),
    ({"assets": [MARA]}, "assets[0].id", "none of `people` names mara"),
    ({"assets": [{k: v for k, v in WAVE.items() if k != "id"}]}, "assets[0].id", "needs one"),
    ({"assets": [MARA | {"id": "A B"}]}, "assets[0].id", ""),
    ({"people": [WAVING], "assets": [MARA, WAVE, WAVE]}, "assets[2].id", "called so already"),
    ({"people": [WAVING], "assets": [MARA, MARA | {"id": "wave"}]}, "people[0].driving", "person"),
    (
        {"people": [WAVING], "assets": [MARA, asset("driving", "wave", "image/png")]},
        "assets[1].ref.media_type",
        "video/",
    ),
    (
        {
            "people": [WAVING],
            "assets": [{**MARA, "rights": {"expires": "2026-01-01"}}, WAVE],
        },
        "assets[0].rights.expires",
        "ended",
    ),
    ({"placements": ["display_300x250"], "restyle": "collage"}, "restyle", "shows a film"),
    (
        {"placements": ["display_300x250"], "people": [WAVING], "assets": [MARA, WAVE]},
        "people",
        "shows a film",
    ),
    (
        {"placements": ["display_300x250"], "edits": [{"of": "hook", "instruction": "x"}]},
        "edits",
        "shows a film",
    ),
]


@pytest.mark.parametrize(("change", "field", "says"), REFUSED)
def test_a_mistake_is_refused_by_its_field(change: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        checked(base(**change))
    assert refused.value.field == field
    assert says in refused.value.message
