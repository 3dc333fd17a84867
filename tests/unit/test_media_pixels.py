"""Planes, sprites and colours: what goes in comes out, at any position, without a seam."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.colour import contrast
from media import colour
from media.pixels import OddSizeError, Planes, Sprite, lay, mix, yuv

pytestmark = pytest.mark.unit
HEX = st.from_regex(r"\A#[0-9A-F]{6}\Z")
# A busy machine is no fault of the colours.
patient = settings(deadline=None)


def test_black_white_and_red_have_the_standards_code_values() -> None:
    # ITU-R BT.709, limited range.
    assert yuv((0, 0, 0)) == (16, 128, 128)
    assert yuv((255, 255, 255)) == (235, 128, 128)
    assert yuv((0, 0, 255)) == (63, 102, 240)


def test_a_smooth_picture_survives_the_way_through_planes() -> None:
    small = np.random.default_rng(1).uniform(40, 215, (4, 5, 3)).astype(np.float32)
    picture = cv2.resize(small, (80, 64), interpolation=cv2.INTER_CUBIC)
    back = Planes.from_bgr(picture).to_bgr()
    assert np.abs(back - picture).max() < 5


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(OddSizeError):
        Planes.blank(5, 4)


def disc(size: int = 41) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.zeros((size, size, 4), np.uint8)
    cv2.circle(picture, (size // 2, size // 2), size // 3, (30, 60, 220, 255), -1, cv2.LINE_AA)
    picture[..., :3] = (30, 60, 220)
    return picture


@pytest.mark.parametrize("place", [(20, 30), (21, 31), (20.5, 30.25), (-18.3, 7.7), (60.9, 70.1)])
def test_a_sprite_lies_where_an_exact_blend_puts_it(place: tuple[float, float]) -> None:
    ground = Planes.blank(88, 96, (200, 180, 160))
    lay(ground, Sprite.from_bgra(disc()), *place)
    # The reference: the same blend in BGR, moved by an affine warp.
    move = np.array([[1, 0, place[0]], [0, 1, place[1]]], np.float32)
    picture = disc().astype(np.float32)
    picture[..., :3] *= picture[..., 3:] / 255
    moved = cv2.warpAffine(picture, move, (88, 96), flags=cv2.INTER_LINEAR)
    expected = np.array((200, 180, 160)) * (1 - moved[..., 3:] / 255) + moved[..., :3]
    found = ground.to_bgr().astype(float)
    luma = (0.0722, 0.7152, 0.2126)
    assert np.abs((found - expected) @ luma).max() < 9  # one bit of a 7-bit sixty-fourth shift
    assert np.abs(found - expected).mean() < 1.5


def test_opacity_fades_evenly_and_none_leaves_no_trace() -> None:
    solid = np.full((8, 8, 4), 255, np.uint8)
    levels = []
    for opacity in (0.0, 0.5, 1.0):
        ground = Planes.blank(16, 16)
        lay(ground, Sprite.from_bgra(solid), 4, 4, opacity)
        levels.append(int(ground.y[8, 8]))
    assert levels[0] == 16
    assert levels[1] == pytest.approx((16 + 235) / 2, abs=2)
    assert levels[2] == 235


def test_what_lies_outside_is_cut_off() -> None:
    ground = Planes.blank(16, 16)
    before = ground.copy()
    lay(ground, Sprite.from_bgra(disc()), 200, -300)
    assert (ground.y == before.y).all()


def test_a_mask_mixes_two_pictures_and_keeps_both_ends_exact() -> None:
    one, other = Planes.blank(8, 4, (0, 0, 0)), Planes.blank(8, 4, (255, 255, 255))
    mask = np.zeros((4, 8), np.uint8)
    mask[:, 4:] = 255
    mix(one, other, mask)
    assert one.y[0].tolist() == [16] * 4 + [235] * 4


def test_a_window_is_a_view_and_the_mean_colour_is_read_back() -> None:
    planes = Planes.blank(32, 32, (10, 120, 240))
    planes.window(0, 0, 16, 16).y[...] = 16
    assert planes.y[3, 3] == 16
    mean = planes.mean_bgr((0.5, 0.5, 0.5, 0.5))
    assert np.abs(np.array(mean) - (10, 120, 240)).max() <= 2


@patient
@given(HEX)
def test_oklab_goes_there_and_back(value: str) -> None:
    assert colour.from_oklab(colour.oklab(value)) == value


@patient
@given(HEX, HEX)
def test_mixing_starts_at_one_colour_and_ends_at_the_other(one: str, other: str) -> None:
    assert colour.mixed(one, other, 0) == one
    assert colour.mixed(one, other, 1) == other


@patient
@given(HEX, st.floats(0.2, 0.95))
def test_a_colour_taken_to_a_lightness_has_it(value: str, level: float) -> None:
    assert colour.lightness(colour.at_lightness(value, level)) == pytest.approx(level, abs=0.02)


def test_the_legible_colour_is_the_one_with_most_contrast() -> None:
    chosen = colour.legible("#0B1F3A", ("#F5F2EA", "#C8553D", "#14130F"))
    assert chosen == "#F5F2EA"
    assert contrast("#0B1F3A", chosen) > 7
