"""Boxes of every film and still: inside the safe area, apart from one another, usable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.placement import PLACEMENTS, Insets, Ratio
from contracts.requests import Box
from contracts.script import ShotKind
from services.coordinator.layout import caption_box, film_boxes, safe_box, still_boxes

pytestmark = pytest.mark.unit

FILMS = {
    ratio: [name for name, place in PLACEMENTS.items() if place.film is ratio] for ratio in Ratio
}
EPS = 1e-9


def union(names: list[str]) -> Insets:
    insets = Insets()
    for name in names:
        insets = insets.union(PLACEMENTS[name].safe)
    return insets


chosen = st.sampled_from(list(Ratio)).flatmap(
    lambda ratio: st.tuples(
        st.just(ratio), st.lists(st.sampled_from(FILMS[ratio]), min_size=1, unique=True)
    )
)


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.w - EPS
        and other.x < one.x + one.w - EPS
        and one.y < other.y + other.h - EPS
        and other.y < one.y + one.h - EPS
    )


def inside(box: Box, frame: Box) -> bool:
    return (
        box.x >= frame.x - EPS
        and box.y >= frame.y - EPS
        and box.x + box.w <= frame.x + frame.w + EPS
        and box.y + box.h <= frame.y + frame.h + EPS
    )


def rounded(box: Box) -> bool:
    return all(round(v, 4) == v for v in (box.x, box.y, box.w, box.h))


@given(where=chosen, kind=st.sampled_from(list(ShotKind)), subject=st.booleans())
def test_type_never_meets_subject_or_captions_nor_leaves_the_safe_area(
    where: tuple[Ratio, list[str]],
    kind: ShotKind,
    subject: bool,  # noqa: FBT001 - drawn by name
) -> None:
    ratio, names = where
    insets = union(names)
    safe = safe_box(insets)
    boxes = film_boxes(kind, ratio, insets, subject=subject)
    captions = caption_box(ratio, insets)
    assert inside(boxes.type_box, safe)
    assert inside(captions, safe)
    assert not overlap(boxes.type_box, captions)
    assert rounded(boxes.type_box)
    assert boxes.type_box.w * boxes.type_box.h > 0.06
    assert boxes.quiet == boxes.type_box
    if boxes.focus is not None:
        assert not overlap(boxes.type_box, boxes.focus)
        assert inside(boxes.focus, Box(x=0, y=0, w=1, h=1))
        assert boxes.focus.w * boxes.focus.h > 0.06
        if ratio is not Ratio.TALL:  # there the picture may run on below the captions
            assert inside(boxes.focus, safe)
            assert not overlap(boxes.focus, captions)


@given(
    name=st.sampled_from(sorted(PLACEMENTS)),
    subject=st.booleans(),
)
def test_stills_of_every_placement_keep_type_and_picture_apart(
    name: str,
    subject: bool,  # noqa: FBT001 - drawn by name
) -> None:
    place = PLACEMENTS[name]
    boxes = still_boxes(place.width, place.height, place.safe, subject=subject)
    assert boxes.focus is not None
    safe = safe_box(place.safe)
    assert inside(boxes.type_box, safe)
    phone = place.film is Ratio.TALL  # there the picture runs on to the frame's foot
    assert inside(boxes.focus, Box(x=0, y=0, w=1, h=1) if phone else safe)
    assert not overlap(boxes.type_box, boxes.focus)
    if not phone:
        assert boxes.type_box.w * boxes.type_box.h > boxes.focus.w * boxes.focus.h


def test_reels_keep_words_above_their_interface() -> None:
    insets = PLACEMENTS["instagram_reel"].safe
    captions = caption_box(Ratio.TALL, insets)
    end = film_boxes(ShotKind.END, Ratio.TALL, insets, subject=True)
    assert captions.y + captions.h <= 0.65 + EPS
    assert end.type_box.y + end.type_box.h <= 0.65 + EPS
    assert end.type_box.y >= 0.14


def test_tall_stacks_and_wide_splits() -> None:
    tall = film_boxes(ShotKind.PRODUCT, Ratio.TALL, union(["tiktok"]), subject=True)
    wide = film_boxes(ShotKind.PRODUCT, Ratio.WIDE, union(["youtube_instream"]), subject=True)
    assert tall.focus is not None
    assert wide.focus is not None
    assert tall.focus.y > tall.type_box.y + tall.type_box.h
    assert wide.focus.x > wide.type_box.x + wide.type_box.w


def test_figures_and_a_services_end_card_take_the_whole_frame() -> None:
    insets = union(["x_feed"])
    assert film_boxes(ShotKind.STATS, Ratio.SQUARE, insets, subject=False).focus is None
    assert film_boxes(ShotKind.END, Ratio.SQUARE, insets, subject=False).focus is None


@pytest.mark.parametrize("name", ["display_728x90", "display_320x50", "display_970x250"])
def test_strips_run_their_type_beside_a_picture_that_is_about_square(name: str) -> None:
    place = PLACEMENTS[name]
    boxes = still_boxes(place.width, place.height, place.safe, subject=True)
    assert boxes.focus is not None
    assert boxes.type_box.w > 0.6
    aspect = boxes.focus.w * place.width / (boxes.focus.h * place.height)
    assert 0.7 < aspect < 1.8
