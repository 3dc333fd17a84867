"""The build graph of a production campaign: edits, people, looks, and what models are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from coordinator_double import canned_script

from contracts.artifacts import ArtifactRef, artifact_key
from contracts.assets import Asset, AssetRole, Rights
from contracts.brief import Brief, Edit, Palette, Person, Variants
from contracts.campaign import Plan, Step
from contracts.capability import Capability, Tier
from contracts.codec import decode_input, encode
from contracts.errors import TooLargeError
from contracts.locale import LANGUAGES
from contracts.placement import PLACEMENTS, Ratio
from services.coordinator import brief_view, plan
from services.coordinator.colour_name import name_of
from services.coordinator.prompting import palette_words
from services.coordinator.script_check import ScriptError, check_script
from services.coordinator.step import capability_of_step, parse
from services.draft_copy.script_writer import write_script

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[2] / "examples"


def ref(letters: str, media_type: str) -> ArtifactRef:
    sha256 = letters * 32
    key = artifact_key("acme", sha256)
    return ArtifactRef(key=key, sha256=sha256, media_type=media_type, size_bytes=1, seconds=4.0)


ASSETS = [
    Asset(role=AssetRole.PRODUCT, ref=ref("aa", "image/png")),
    Asset(
        role=AssetRole.PERSON,
        id="mara",
        ref=ref("bb", "image/png"),
        rights=Rights(holder="Mara Voss", licence="model release", expires="2030-01-01"),
    ),
    Asset(role=AssetRole.DRIVING, id="wave", ref=ref("cc", "video/mp4")),
]


def kestrel(**changes: Any) -> Brief:  # noqa: ANN401 - any field of the brief
    data = yaml.safe_load((EXAMPLES / "kestrel.yaml").read_text(encoding="utf-8"))
    brief: Brief = decode_input(encode(data), Brief)
    plain = msgspec.structs.replace(brief, tier=Tier.PRODUCTION, assets=[])
    return msgspec.structs.replace(plain, **changes)


FULL = kestrel(
    assets=ASSETS,
    edits=[Edit(instruction="frost on the can"), Edit(of="hook", instruction="By night.")],
    restyle={"hook": "paper collage", "life": "pencil drawing"},
    people=[Person(character="mara", driving="wave", shot="life", mode="replace")],
)


def planned(brief: Brief) -> Plan:
    script = canned_script(brief)
    check_script(script, brief)
    return plan.production(brief, plan.first_stage(brief), script)


def steps_of(brief: Brief) -> dict[str, Step]:
    return {step.name: step for step in planned(brief).steps}


def test_everything_asked_for_is_planned_behind_what_it_needs() -> None:
    steps = steps_of(FULL)
    seen: set[str] = set()
    for step in steps.values():
        assert set(step.needs) <= seen, step.name
        assert not step.unless or step.unless in seen
        assert capability_of_step(step.name) is step.capability
        assert step.request["tier"] == "production"
        seen.add(step.name)
    assert planned(FULL).planner == "2"
    assert {parse(n).kind.value for n in steps} >= {"edit", "animate", "restyle"}


def test_a_key_visuals_edit_stands_between_picture_and_still() -> None:
    steps = steps_of(FULL)
    edit = steps["edit.product~instagram_reel"]
    assert edit.request["image"] == {"$output": ["image.product~instagram_reel", "image"]}
    assert edit.request["instruction"].startswith("frost on the can. Keep everything else")
    assert (edit.request["width"], edit.request["height"]) == (1080, 1920)
    assert edit.optional == "drafts"
    still = steps["still~en-US~instagram_reel"]
    assert still.request["work"]["picture"] == {
        "$first": [
            ["edit.product~instagram_reel", "image"],
            ["image.product~instagram_reel", "image"],
        ]
    }
    banner = steps["edit.product~display_728x90"].request
    assert (banner["width"], banner["height"]) == (728, 90)


def test_shots_of_the_product_and_edited_ones_begin_on_their_key_visual() -> None:
    steps = steps_of(FULL)
    product = steps["video.product~9x16"].request
    assert product["first_frame"] == {"$output": ["image.product~9x16", "image"]}
    assert "references" not in product  # the frame shows them already
    assert steps["image.product~9x16"].request["references"][0]["sha256"] == "aa" * 32
    hook = steps["video.hook~16x9"].request
    assert hook["first_frame"]["$first"][0] == ["edit.hook~16x9", "image"]
    assert (steps["image.hook~16x9"].request["width"], hook["width"]) == (1920, 1920)


def test_a_shot_that_shows_nothing_to_keep_is_filmed_from_its_words() -> None:
    steps = steps_of(kestrel())
    assert "first_frame" not in steps["video.hook~9x16"].request
    assert "image.hook~9x16" not in steps
    assert "first_frame" in steps["video.end~9x16"].request


def test_a_person_is_the_shots_plate_and_the_plain_one_is_filmed_only_instead() -> None:
    steps = steps_of(FULL)
    person = steps["animate.life~9x16"]
    assert person.capability is Capability.ANIMATION
    assert person.request["character"]["sha256"] == "bb" * 32
    assert person.request["driving"]["sha256"] == "cc" * 32
    assert (person.request["mode"], person.optional) == ("replace", "drafts")
    assert steps["video.life~9x16"].unless == "animate.life~9x16"
    assert "first_frame" not in steps["video.life~9x16"].request
    restyle = steps["restyle.life~9x16"]
    plates = [["animate.life~9x16", "video"], ["video.life~9x16", "video"]]
    assert restyle.request["video"] == {"$first": plates}
    [shown] = [
        shot["plate"]
        for shot in steps["film~en-US~9x16"].request["work"]["shots"]
        if shot["name"] == "life"
    ]
    assert shown == {"$first": [["restyle.life~9x16", "video"], *plates]}


def test_what_a_tracker_made_goes_with_its_video() -> None:
    tracked = ("pose", "face", "background", "mask")
    videos = [
        Asset(role=AssetRole.DRIVING, id=name, ref=ref(f"{number}{number}", "video/mp4"))
        for number, name in enumerate(tracked)
    ]
    person = msgspec.structs.replace(FULL.people[0], **{name: name for name in tracked})
    brief = msgspec.structs.replace(FULL, people=[person], assets=[*ASSETS, *videos])
    request = steps_of(brief)["animate.life~9x16"].request
    assert [request[name]["sha256"][0] for name in tracked] == ["0", "1", "2", "3"]
    assert "pose" not in steps_of(FULL)["animate.life~9x16"].request


def test_one_look_is_laid_over_every_shot() -> None:
    steps = steps_of(kestrel(restyle="paper collage"))
    looks = [s for s in steps.values() if s.capability is Capability.VIDEO_EDIT]
    plates = [s for s in steps.values() if s.capability is Capability.VIDEO]
    assert len(looks) == len(plates) > 0
    assert all("paper collage" in look.request["instruction"] for look in looks)


def test_a_draft_asks_for_none_of_it_and_says_so_file_by_file() -> None:
    draft = msgspec.structs.replace(FULL, tier=Tier.DRAFT)
    steps = steps_of(draft)
    assert {parse(n).kind.value for n in steps}.isdisjoint({"edit", "animate", "restyle"})
    assert not [s for s in steps.values() if s.optional or s.unless]
    told = {i["path"]: i.get("left_out", []) for i in steps["package"].request["items"]}
    films = [why for path, why in told.items() if path.endswith("9x16-en-US.mp4")]
    why = "draft engines do not do it"
    assert films == [
        [
            f"animate.life~9x16: {why}",
            f"edit.hook~9x16: {why}",
            f"restyle.hook~9x16: {why}",
            f"restyle.life~9x16: {why}",
        ]
    ]
    reel = "stills/instagram_reel-en-US.media"
    assert told[reel] == [f"edit.product~instagram_reel: {why}"]


def test_a_draft_without_wishes_is_asked_for_in_the_words_of_before() -> None:
    plain = steps_of(kestrel(tier=Tier.DRAFT))
    video = plain["video.product~9x16"].request
    assert video["prompt"] == "a product"
    assert video["negative_prompt"] == "text, letters, numbers, watermark, logo"
    assert "sources" not in plain["package"].request


def test_what_was_brought_is_told_with_its_rights() -> None:
    told = steps_of(FULL)["package"].request["sources"]
    assert {
        "step": "asset.person",
        "outputs": ["bb" * 32],
        "licence": "model release",
        "holder": "Mara Voss",
        "expires": "2030-01-01",
    } in told


def test_models_are_told_subject_action_camera_room_for_type_and_the_palette_by_name() -> None:
    steps = steps_of(FULL)
    prompt = steps["video.product~9x16"].request["prompt"]
    for said in (
        "a product.",
        "Action: ",
        "Camera: ",
        "one continuous take",
        "Subject: Kestrel Cold Brew, cold-brew coffee in a 250 ml can, in an aluminium can.",
        "Light: ",
        "Composition: calm, even area in the upper part of the frame",
        "Colour palette: vivid orange, ",
        "vertical 9:16",
        "No text, no letters",
    ):
        assert said in prompt, said
    still = steps["image.product~display_728x90"].request["prompt"]
    assert "very wide banner" in still
    assert "Camera" not in still
    assert "flicker" in steps["video.product~9x16"].request["negative_prompt"]
    assert "flicker" not in steps["image.product~9x16"].request["negative_prompt"]
    assert "collage" not in steps["restyle.hook~9x16"].request["negative_prompt"]


@pytest.mark.parametrize("ratio", list(Ratio))
def test_a_prompt_says_its_own_ratio_and_is_of_its_size(ratio: Ratio) -> None:
    request = steps_of(FULL)[f"video.hook~{ratio.value}"].request
    assert ratio.value.replace("x", ":") in request["prompt"]
    assert (request["width"], request["height"]) == ratio.size


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("#F4511E", "vivid orange"),
        ("#14130F", "near-black"),
        ("#F3E7D3", "cream"),
        ("#14342B", "dark teal"),
        ("#FFFFFF", "white"),
        ("#888888", "grey"),
        ("#0B3D5C", "deep blue"),
        ("#7A4B21", "deep brown"),
        ("#C2263A", "red"),
        ("#F0A6A0", "pale pink"),
    ],
)
def test_colours_are_called_what_people_call_them(colour: str, name: str) -> None:
    assert name_of(colour) == name


def test_a_palette_names_no_colour_twice() -> None:
    words = palette_words(Palette(primary="#14342B", secondary="#14352C")).split(", ")
    assert len(words) == len(set(words))


def test_another_instruction_writes_no_word_and_films_no_other_shot_again() -> None:
    changed = msgspec.structs.replace(
        FULL, edits=[FULL.edits[0], Edit(of="hook", instruction="By day.")]
    )
    assert brief_view.for_script(FULL) == brief_view.for_script(changed)
    before, after = steps_of(FULL), steps_of(changed)
    again = {name for name, step in after.items() if before[name] != step}
    assert {parse(n).kind.value for n in again} == {"edit"}
    assert {parse(n).shot for n in again} == {"hook"}


def test_the_writer_gives_the_shots_that_the_brief_names() -> None:
    brief = msgspec.structs.replace(FULL, length_seconds=15.0)
    script = write_script(brief_view.for_script(brief), 0)
    check_script(script, brief)
    assert {"hook", "life"} <= {shot.name for shot in script.shots}


def test_a_package_that_one_message_cannot_name_is_refused_before_anything_is_made() -> None:
    locales = [f"{language}-AE" for language in sorted(LANGUAGES)][:6]
    brief = msgspec.structs.replace(
        FULL, locales=locales, variants=Variants(hooks=2), placements=list(PLACEMENTS)
    )
    draft = msgspec.structs.replace(brief, tier=Tier.DRAFT)
    assert planned(draft).complete
    with pytest.raises(TooLargeError, match="fewer"):
        planned(brief)


def test_a_script_without_a_named_shot_is_refused_by_the_field_that_names_it() -> None:
    script = canned_script(kestrel())
    with pytest.raises(ScriptError, match="shot life") as refused:
        check_script(script, FULL)
    assert refused.value.field == "people[0].shot"
