"""The build graph: what is made, what depends on what, and what a change makes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from coordinator_double import canned_script
from hypothesis import given
from hypothesis import strategies as st

from contracts.artifacts import ArtifactRef, artifact_key
from contracts.assets import Asset, AssetRole
from contracts.brief import Brand, Brief, Form, Product, Variants
from contracts.campaign import Plan, Step
from contracts.capability import Capability, Tier
from contracts.codec import decode_input, encode
from contracts.errors import InvalidRequestError, TooLargeError
from contracts.locale import LANGUAGES
from contracts.placement import PLACEMENTS, Ratio
from contracts.script import EndCard, Script, Shot, ShotKind, ShotText
from services.coordinator import plan, wiring
from services.coordinator.cuts import cut_to, formats
from services.coordinator.script_check import ScriptError, check_script, read_script
from services.coordinator.step import Kind, StepName, capability_of_step, parse, seed_of

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Brief:
    data = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    brief: Brief = decode_input(encode(data), Brief)
    return brief


def planned(brief: Brief, script: Script | None = None) -> Plan:
    script = script or canned_script(brief)
    check_script(script, brief)
    return plan.production(brief, plan.first_stage(brief), script)


def steps_of(whole: Plan) -> dict[str, Step]:
    return {step.name: step for step in whole.steps}


def made_again(before: Plan, after: Plan) -> set[str]:
    """Kinds of steps whose request, or that of anything they need, has changed."""
    old, new = steps_of(before), steps_of(after)
    dirty: set[str] = set()
    for name, step in new.items():
        if old.get(name) != step or any(need in dirty for need in step.needs):
            dirty.add(name)
    return dirty


def kinds(names: set[str]) -> set[str]:
    return {parse(name).kind.value for name in names}


KESTREL = example("kestrel")
NACHTZUG = example("nachtzug")


def test_the_first_stage_is_what_needs_no_script() -> None:
    assert [s.name for s in plan.first_stage(KESTREL).steps] == [
        "script",
        "copy~en-US",
        "label",
        "mesh",
    ]
    assert [s.name for s in plan.first_stage(NACHTZUG).steps] == [
        "script",
        "copy~de-DE",
        "copy~fr-FR",
    ]
    assert not plan.first_stage(KESTREL).complete


def test_production_makes_each_thing_once() -> None:
    names = set(steps_of(planned(KESTREL)))
    assert {f"video.{shot}~9x16" for shot in ("hook", "product", "end")} <= names
    assert {"film~en-US~9x16", "film~en-US~4x5", "film~en-US~16x9", "film~en-US~1x1"} <= names
    assert {f"still~en-US~{placement}" for placement in KESTREL.placements} <= names
    assert {f"image.product~{placement}" for placement in KESTREL.placements} <= names
    assert {"music", "speech~en-US", "package"} <= names
    assert len([n for n in names if n.startswith("film")]) == 4  # reel and tiktok share one


def test_variants_locales_and_a_short_cut() -> None:
    names = set(steps_of(planned(NACHTZUG)))
    assert "film~de-DE~a~9x16" in names
    assert "film~fr-FR~b~youtube_bumper" in names
    assert "film~fr-FR~b~16x9" not in names  # nothing but the bumper is wide
    assert "music~youtube_bumper" in names
    assert "speech~de-DE~b~youtube_bumper" in names
    assert "video.product~9x16" in names
    assert "video.product~16x9" not in names  # the bumper does without it
    assert len([n for n in names if n.startswith("still")]) == 2 * len(NACHTZUG.placements)
    assert not {n for n in names if n.startswith(("label", "mesh"))}


def test_every_need_comes_before_its_step_and_the_package_needs_every_file() -> None:
    for brief in (KESTREL, NACHTZUG, example("noor")):
        seen: set[str] = set()
        for step in planned(brief).steps:
            assert set(step.needs) <= seen, step.name
            assert step.name not in seen
            seen.add(step.name)
        package = planned(brief).steps[-1]
        assert package.name == "package"
        used = {need for step in planned(brief).steps for need in step.needs}
        assert used == seen - {"package"}


def test_a_cut_is_no_longer_than_its_placement_and_speech_stays_in_its_shot() -> None:
    whole = steps_of(planned(NACHTZUG))
    for name, step in whole.items():
        if step.capability is Capability.SPEECH:
            request = step.request
            for line in request["lines"]:
                end = line["start_seconds"] + line["max_seconds"]
                assert end <= request["seconds"] + 1e-6
            if parse(name).target == "youtube_bumper":
                assert request["seconds"] <= 6
    film = whole["film~de-DE~a~youtube_bumper"].request["work"]
    assert sum(shot["seconds"] for shot in film["shots"]) <= 6
    for shot in film["shots"]:
        plate = whole[shot["plate"][wiring.OUTPUT][0]].request
        assert plate["seconds"] >= shot["seconds"]


def test_the_same_brief_and_script_give_the_same_plan() -> None:
    assert encode(planned(NACHTZUG)) == encode(planned(NACHTZUG))


def test_a_plan_travels_and_comes_back_equal() -> None:
    whole = planned(KESTREL)
    assert decode_input(encode(whole), Plan, limit=10**6) == whole


def test_a_changed_headline_makes_only_words_and_what_shows_them() -> None:
    changed = msgspec.structs.replace(KESTREL, headlines={"hook": "Wake up"})
    dirty = made_again(planned(KESTREL), planned(changed))
    assert kinds(dirty) == {"script", "film", "still", "package"}


def test_a_changed_text_of_one_locale_leaves_the_others_copy_alone() -> None:
    offer = {"de-DE": "Ab 39 Euro", "fr-FR": NACHTZUG.offer["fr-FR"]}  # type: ignore[index]  # the example's is by locale
    changed = msgspec.structs.replace(NACHTZUG, offer=offer)
    dirty = made_again(planned(NACHTZUG), planned(changed))
    assert "copy~de-DE" in dirty
    assert "copy~fr-FR" not in dirty


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"budget": None}, set()),
        ({"campaign": "other"}, {"package"}),
        ({"music": "slow, 60 bpm"}, {"script", "package"}),
        ({"scale": 0.5}, {"image", "video", "film", "still", "package"}),
    ],
)
def test_a_change_makes_again_what_depends_on_it(change: dict[str, Any], again: set[str]) -> None:
    changed = msgspec.structs.replace(KESTREL, **change)
    assert kinds(made_again(planned(KESTREL), planned(changed))) == again


def test_another_palette_changes_no_word() -> None:
    palette = msgspec.structs.replace(KESTREL.brand.palette, primary="#0B3D5C")
    brand = msgspec.structs.replace(KESTREL.brand, palette=palette)
    dirty = made_again(planned(KESTREL), planned(msgspec.structs.replace(KESTREL, brand=brand)))
    assert kinds(dirty) == {"label", "mesh", "image", "video", "film", "still", "package"}


def test_a_placement_more_leaves_the_pictures_of_the_others_alone() -> None:
    more = msgspec.structs.replace(KESTREL, placements=[*KESTREL.placements, "x_feed"])
    dirty = made_again(planned(KESTREL), planned(more))
    assert {n for n in dirty if n.startswith(("image", "video"))} == {"image.product~x_feed"}
    assert {n for n in dirty if n.startswith("film")} == set()  # the square film serves both


def test_seeds_follow_from_brief_and_shot_alone() -> None:
    tall = StepName(Kind.VIDEO, shot="hook", target="9x16")
    wide = StepName(Kind.VIDEO, shot="hook", target="16x9")
    still = StepName(Kind.IMAGE, shot="hook", target="tiktok")
    assert seed_of(1, tall) == seed_of(1, wide) == seed_of(1, still)
    assert seed_of(1, tall) != seed_of(2, tall)
    assert seed_of(1, tall) != seed_of(1, StepName(Kind.VIDEO, shot="end", target="9x16"))


def test_the_users_own_files_go_where_they_are_seen() -> None:
    sha = "cd" * 32
    ref = ArtifactRef(
        key=artifact_key("acme", sha), sha256=sha, media_type="image/png", size_bytes=1
    )
    assets = [Asset(role=AssetRole.LOGO, ref=ref), Asset(role=AssetRole.PRODUCT, ref=ref)]
    whole = steps_of(planned(msgspec.structs.replace(KESTREL, assets=assets)))
    assert whole["label"].request["work"]["logo"]["sha256"] == sha
    assert whole["film~en-US~1x1"].request["work"]["look"]["logo"]["sha256"] == sha
    assert whole["video.end~1x1"].request["art"]["subject"]["picture"]["sha256"] == sha
    assert "label" not in whole["video.end~1x1"].request["art"]["subject"]
    turning = whole["video.product~1x1"].request["art"]["subject"]
    assert "picture" not in turning  # a picture cannot turn, the modelled form does
    assert turning["label"] == {"$output": ["label", "label"]}
    assert "subject" not in whole["video.hook~1x1"].request["art"]
    assert "references" not in whole["video.hook~1x1"].request
    assert whole["script"] == steps_of(planned(KESTREL))["script"]
    service = steps_of(planned(msgspec.structs.replace(NACHTZUG, assets=assets)))
    assert service["video.product~1x1"].request["art"]["subject"]["picture"]["sha256"] == sha
    assert not [name for name in service if name.startswith(("label", "mesh"))]


def test_the_label_says_brand_product_and_quantity_once() -> None:
    work = steps_of(plan.first_stage(KESTREL))["label"].request["work"]
    assert (work["brand"], work["product"], work["detail"]) == ("Kestrel", "Cold Brew", "250 ml")


def test_the_tier_travels_with_every_request() -> None:
    brief = msgspec.structs.replace(KESTREL, tier=Tier.PRODUCTION)
    assert {s.request.get("tier") for s in planned(brief).steps} == {"production"}
    film = steps_of(planned(brief))["film~en-US~1x1"]
    assert film.request["work"]["look"]["draft"] == {"$draft": film.needs}
    draft = steps_of(planned(KESTREL))["film~en-US~1x1"].request["work"]
    assert "draft" not in draft["look"]  # it is one, whatever was made


def test_too_large_a_campaign_is_refused_with_a_remedy() -> None:
    brief = msgspec.structs.replace(
        KESTREL,
        locales=[f"{language}-AE" for language in sorted(LANGUAGES)] * 1,
        placements=list(PLACEMENTS),
        variants=Variants(hooks=4),
    )
    with pytest.raises(TooLargeError, match="fewer"):
        planned(brief)


names = st.builds(
    StepName,
    kind=st.sampled_from(list(Kind)),
    shot=st.sampled_from(["", "hook", "figure1", "b-2"]),
    locale=st.sampled_from(["", "en-US", "ar-AE"]),
    variant=st.sampled_from(["", "a", "d"]),
    target=st.sampled_from(["", *PLACEMENTS, *(r.value for r in Ratio)]),
)


@given(names)
def test_a_steps_name_is_parsed_back_to_its_parts(name: StepName) -> None:
    assert parse(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", "x", "video.", "video.A", "film~~a", "film~a~en-US", "film~9x16~a", "film~a~b~c d"]
)
def test_what_is_no_steps_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse(text)


def test_a_steps_capability_follows_from_its_name() -> None:
    for step in planned(KESTREL).steps:
        assert capability_of_step(step.name) is step.capability


def shot(name: str, seconds: float, *, short: float = 0.0) -> Shot:
    return Shot(
        name=name,
        kind=ShotKind.STATEMENT,
        seconds=seconds,
        scene="",
        prompt="",
        texts={"en-US": ShotText()},
        in_short=short > 0,
        short_seconds=short,
    )


def script_of(*shots: Shot) -> Script:
    card = {"en-US": EndCard(brand="K")}
    return Script(shots=list(shots), end_cards=card, variants=["a"], bpm=100, mood="")


LONG = script_of(
    shot("hook", 3, short=2),
    shot("one", 4),
    shot("two", 5),
    shot("three", 4),
    shot("end", 4, short=4),
)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (60, [("hook", 3), ("one", 4), ("two", 5), ("three", 4), ("end", 4)]),
        (17, [("hook", 3), ("one", 4), ("two", 5), ("end", 4)]),
        (12, [("hook", 3), ("one", 4), ("end", 4)]),
        (7, [("hook", 2), ("end", 4)]),
        (6, [("hook", 2), ("end", 4)]),
    ],
)
def test_a_cut_drops_what_can_be_spared_from_the_end(
    limit: float, expected: list[tuple[str, float]]
) -> None:
    assert [(s.name, seconds) for s, seconds in cut_to(LONG, limit)] == expected


def test_a_cut_that_still_is_too_long_is_squeezed_to_whole_frames() -> None:
    cut = cut_to(LONG, 3)
    total = sum(seconds for _, seconds in cut)
    assert total <= 3
    assert all(abs(seconds * 30 - round(seconds * 30)) < 1e-6 for _, seconds in cut)


@given(
    seconds=st.lists(st.floats(1, 20), min_size=2, max_size=12),
    limit=st.floats(2, 200),
)
def test_any_cut_fits_its_placement(seconds: list[float], limit: float) -> None:
    shots = [shot(f"s{i}", s, short=s / 2 if i % 2 else 0) for i, s in enumerate(seconds)]
    cut = cut_to(script_of(*shots), limit)
    assert cut[0][0].name == "s0"
    assert cut[-1][0].name == f"s{len(seconds) - 1}"
    assert sum(s for _, s in cut) <= limit + 0.021


def test_two_placements_with_one_cut_and_ratio_share_a_film() -> None:
    brief = msgspec.structs.replace(
        KESTREL, length_seconds=75, placements=["tiktok", "instagram_story", "instagram_reel"]
    )
    script = script_of(*(shot(f"s{i}", 15) for i in range(5)))
    found = [(f.target, f.placements) for f in formats(brief, script)]
    assert found == [("tiktok", ("tiktok", "instagram_story")), ("9x16", ("instagram_reel",))]


BROKEN = [
    ({"shots": []}, "1 to 64 shots"),
    ({"variants": []}, "variants"),
    ({"variants": ["A B"]}, "small letter"),
    ({"end_cards": {}}, "end card"),
]


@pytest.mark.parametrize(("change", "says"), BROKEN)
def test_a_script_that_cannot_be_planned_on_says_why(change: dict[str, Any], says: str) -> None:
    script = msgspec.structs.replace(canned_script(KESTREL), **change)
    with pytest.raises(ScriptError, match=says):
        check_script(script, KESTREL)


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[" * 50_000, b'{"type": "script.v2"}'])
def test_bytes_that_are_no_script_are_a_typed_error(body: bytes) -> None:
    with pytest.raises(ScriptError):
        read_script(body, KESTREL)


@pytest.mark.parametrize("seconds", [0, -1, 1e9])
def test_a_shot_without_a_usable_length_is_refused(seconds: float) -> None:
    script = canned_script(KESTREL)
    shots = [msgspec.structs.replace(script.shots[0], seconds=seconds), *script.shots[1:]]
    with pytest.raises(ScriptError, match="length"):
        check_script(msgspec.structs.replace(script, shots=shots), KESTREL)


def test_a_script_longer_than_the_film_is_refused() -> None:
    with pytest.raises(ScriptError, match="shall last"):
        check_script(canned_script(msgspec.structs.replace(KESTREL, length_seconds=30)), KESTREL)


def test_a_campaign_of_banners_alone_makes_no_film_and_no_sound() -> None:
    brief = Brief(
        campaign="b",
        brand=Brand(name="B"),
        product=Product(name="B", what="b", form=Form.BOX),
        placements=["display_728x90"],
        locales=["en-US"],
    )
    found = kinds(set(steps_of(planned(brief))))
    assert found == {"script", "copy", "label", "mesh", "image", "still", "package"}
