"""An art direction in words: everything it says is said, and nothing that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.artifacts import ArtifactRef
from contracts.brief import Form, Palette
from contracts.errors import InvalidRequestError
from contracts.requests import ArtDirection, Box, Subject
from inference.direction import NO_TEXT, ONLY_LABEL, SCENES, colour_name, place, prompt_of
from media.scenes import SCENES as DRAWN

pytestmark = pytest.mark.unit

LABEL = ArtifactRef(key="k", sha256="0" * 64, media_type="image/png", size_bytes=1)


def test_a_prompt_without_direction_stays_as_it_was_written() -> None:
    assert prompt_of(" a sign that says HELLO ", ArtDirection()) == "a sign that says HELLO"


def test_everything_that_is_directed_is_said() -> None:
    art = ArtDirection(
        scene="studio",
        palette=Palette(primary="#1F4E79", secondary="#C8102E", accent="#F5E6C8", paper="#000000"),
        subject=Subject(form=Form.CAN, name="Kestrel"),
        focus=Box(x=0.55, y=0.5, w=0.4, h=0.45),
        quiet=Box(x=0.05, y=0.05, w=0.9, h=0.3),
        mood="early\nmorning",
    )
    assert prompt_of("Hero shot of a can", art) == (
        "Hero shot of a can. The scene is a seamless studio backdrop. The product is one can, whole"
        " and in focus. The subject is medium-sized and stands in the lower right corner. Calm"
        " plain background of one even tone fills the upper third, without any object or detail."
        " The colours are navy blue and bright red with accents of cream on black. The mood is"
        f" early morning. {NO_TEXT}"
    )


def test_a_label_may_be_read_and_pictures_are_named_in_their_order() -> None:
    art = ArtDirection(subject=Subject(form=Form.JAR, label=LABEL))
    said = prompt_of("A jar.", art, pictures=("the label, laid flat", "the style"))
    assert said.startswith(
        "A jar. Picture 1 shows the label, laid flat. Picture 2 shows the style."
    )
    assert said.endswith(ONLY_LABEL)
    assert NO_TEXT not in said


def test_the_brand_name_is_never_asked_for() -> None:
    art = ArtDirection(subject=Subject(form=Form.BOTTLE, name="Kestrel"))
    assert "Kestrel" not in prompt_of("A bottle", art)


def test_every_scene_of_the_draft_engines_has_words() -> None:
    assert set(SCENES) == set(DRAWN)


def test_an_unknown_scene_is_taken_by_its_own_words() -> None:
    assert "The scene is a pier at dawn." in prompt_of("x", ArtDirection(scene="a pier at dawn"))


@pytest.mark.parametrize("name", ["focus", "quiet"])
def test_a_box_without_room_is_refused_by_name(name: str) -> None:
    art = ArtDirection(**{name: Box(x=0.5, y=0.5, w=0.01, h=0.5)})  # type: ignore[arg-type]  # either box
    with pytest.raises(InvalidRequestError) as caught:
        prompt_of("x", art)
    assert caught.value.field == f"art.{name}"


@pytest.mark.parametrize(
    ("box", "where"),
    [
        ((0.06, 0.12, 0.88, 0.28), "the upper third"),
        ((0.06, 0.1, 0.88, 0.5), "the upper half"),
        ((0.0, 0.0, 1.0, 0.66), "the upper two thirds"),
        ((0.05, 0.62, 0.9, 0.3), "the lower third"),
        ((0.05, 0.4, 0.9, 0.2), "the middle band from left to right"),
        ((0.05, 0.05, 0.4, 0.9), "the left half"),
        ((0.6, 0.05, 0.38, 0.9), "the right third"),
        ((0.0, 0.0, 1.0, 1.0), "the whole frame"),
        ((0.4, 0.4, 0.2, 0.2), "the centre"),
        ((0.7, 0.7, 0.2, 0.2), "the lower right corner"),
        ((0.3, 0.7, 0.4, 0.2), "the lower part, in the middle"),
        ((0.7, 0.4, 0.2, 0.2), "the right half, halfway up"),
    ],
)
def test_a_box_has_a_name_that_people_use(
    box: tuple[float, float, float, float], where: str
) -> None:
    x, y, w, h = box
    assert place(Box(x=x, y=y, w=w, h=h)) == where


_side = st.floats(0, 1)


@given(_side, _side, _side, _side)
def test_a_box_and_its_mirror_image_have_mirrored_names(
    x: float, y: float, w: float, h: float
) -> None:
    # Rounded to what a half of a float can hold, so that a mirror image is exact.
    left, top, wide, high = (round(v * 64) / 64 for v in (x, y, w, h))
    wide, high = min(wide, 1 - left), min(high, 1 - top)
    mirrored = 1 - left - wide
    here = place(Box(x=left, y=top, w=wide, h=high))
    there = place(Box(x=mirrored, y=top, w=wide, h=high))
    swapped = {"left": "right", "right": "left"}
    if mirrored == left or "from left" in here:
        assert here == there
    else:
        assert " ".join(swapped.get(word, word) for word in here.split()) == there


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("#000000", "black"),
        ("#FFFFFF", "white"),
        ("#808080", "grey"),
        ("#F6F3EC", "warm off-white"),
        ("#1F4E79", "navy blue"),
        ("#F2B84B", "bright amber"),
        ("#2F6F62", "deep teal"),
        ("#7B3F00", "brown"),
        ("#FFC0CB", "pale pink"),
        ("#FF0000", "bright red"),
        ("#6A0DAD", "deep violet"),
        ("#98A869", "soft lime green"),
    ],
)
def test_a_colour_is_called_what_people_call_it(colour: str, name: str) -> None:
    assert colour_name(colour) == name


@given(st.integers(0, 0xFFFFFF))
def test_every_colour_has_a_name(value: int) -> None:
    assert colour_name(f"#{value:06X}")
