"""Logos: as they are, on a ground that they stand off, whatever their colours and the palette's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from composer_frames import CARDS, KESTREL, REF, part

from contracts.brief import Form, Palette
from contracts.colour import contrast
from contracts.requests import LabelWork, Look, StillWork
from contracts.script import EndCard
from media.still import encode_png
from services.composer import inks, label
from services.composer import still as stills
from services.composer.boxes import Box
from services.composer.logo import (
    LOGO_CONTRAST,
    grounded,
    grounds,
    logo_of,
    outline_tones,
    placed_logo,
    stands,
)
from services.composer.motion import Layer, Motion

if TYPE_CHECKING:
    from pathlib import Path

    from services.composer.piece import Piece

pytestmark = pytest.mark.unit

DARK, LIGHT, ORANGE, MIDDLE = (15, 19, 20), (240, 246, 250), (30, 81, 244), (128, 128, 128)
LIGHT_PALETTE = KESTREL
DARK_PALETTE = Palette(
    primary="#0B1F3A", secondary="#E8C547", ink="#0B1F3A", paper="#F5F2EA", accent="#C8553D"
)
ALL_DARK = Palette(
    primary="#101828", secondary="#1C2A3A", ink="#0A0A0C", paper="#20242C", accent="#2A1F2E"
)


def bars(*colours: tuple[int, int, int]) -> np.ndarray:
    """A logo of bars with a notch and gaps, straight BGRA."""
    pixels = np.zeros((40, 40 * len(colours), 4), np.uint8)
    for n, colour in enumerate(colours):
        pixels[4:36, 40 * n + 4 : 40 * n + 36] = (*colour, 255)
        pixels[4:12, 40 * n + 4 : 40 * n + 16] = 0
    return pixels


def logo(tmp_path: Path, *colours: tuple[int, int, int]) -> Piece:
    path = tmp_path / "logo.png"
    path.write_bytes(encode_png(bars(*colours)))
    return logo_of(path)


def label_work(palette: Palette) -> LabelWork:
    return LabelWork(
        form=Form.CAN,
        palette=palette,
        locale="en-US",
        brand="K",
        product="K",
        width=1024,
        height=512,
    )


@pytest.mark.parametrize("palette", [LIGHT_PALETTE, DARK_PALETTE, ALL_DARK])
@pytest.mark.parametrize("colours", [(DARK,), (LIGHT,), (DARK, ORANGE), (LIGHT, ORANGE)])
def test_a_labels_band_shows_the_logo(
    tmp_path: Path, colours: tuple[tuple[int, int, int], ...], palette: Palette
) -> None:
    piece = logo(tmp_path, *colours)
    band = label.colours(label_work(palette), piece).band
    assert stands(piece.tones, band) >= LOGO_CONTRAST
    for blue, green, red in colours:
        shown = contrast(f"#{red:02X}{green:02X}{blue:02X}", band)
        assert shown >= LOGO_CONTRAST, band


def test_a_dark_logo_turns_the_band_light_and_keeps_its_colours(tmp_path: Path) -> None:
    work = label_work(LIGHT_PALETTE)
    assert label.colours(work).band == LIGHT_PALETTE.ink
    piece = logo(tmp_path, DARK)
    assert label.colours(work, piece).band == LIGHT_PALETTE.paper
    art = label.art(work, piece)
    strip = art[int(0.60 * len(art)) : int(0.77 * len(art))]
    assert (np.abs(strip.astype(int) - DARK).max(-1) < 3).sum() > 500


def test_a_palettes_colour_comes_before_white_and_black() -> None:
    dark = outline_tones(bars(DARK))
    assert set(grounds(LIGHT_PALETTE, dark)) <= set(msgspec.structs.astuple(LIGHT_PALETTE))
    assert grounds(ALL_DARK, dark) == ["#FFFFFF"]


def test_only_the_outline_has_to_stand_off_its_ground() -> None:
    badge = bars(DARK)
    badge[14:26, 14:26, :3] = LIGHT
    assert max(outline_tones(badge)) < 0.05
    opaque = np.full((20, 40, 4), 255, np.uint8)
    assert outline_tones(opaque) == ()


@pytest.mark.parametrize(
    ("colours", "grey", "chipped"),
    [
        ((DARK,), 235, False),
        ((DARK,), 25, True),
        ((LIGHT,), 25, False),
        ((LIGHT,), 235, True),
        ((DARK, ORANGE), 235, False),
        ((DARK, ORANGE), 60, True),
        ((MIDDLE,), 128, True),
    ],
)
def test_a_logo_gets_a_chip_where_its_picture_would_swallow_it(
    tmp_path: Path, colours: tuple[tuple[int, int, int], ...], grey: int, *, chipped: bool
) -> None:
    placed = placed_logo(logo(tmp_path, *colours), Box(60, 60, 160, 90))
    ground = inks.backdrop([np.full((240, 400, 3), grey, np.uint8)])
    layers = grounded([Layer(placed, Motion.FADE, 0.2)], ground, KESTREL, ("#FFFFFF", 0.0))
    assert len(layers) == 1 + chipped
    assert (layers[-1].piece.pixels == placed.pixels).all()
    if chipped:
        chip = layers[0].piece
        assert chip.ink.contains(placed.ink)
        assert layers[0].enter == layers[1].enter
        blue, green, red, _ = chip.pixels[chip.pixels.shape[0] // 2, chip.pixels.shape[1] // 2]
        assert stands(placed.tones, f"#{red:02X}{green:02X}{blue:02X}") >= LOGO_CONTRAST


@pytest.mark.parametrize("banner", [True, False])
def test_a_logo_can_be_seen_on_every_still(tmp_path: Path, *, banner: bool) -> None:
    work = StillWork(
        width=600,
        height=500,
        look=Look(palette=KESTREL, locale="en-US", brand="K", safe=part((0.04, 0.04, 0.92, 0.92))),
        picture=REF,
        type_box=part((0.06, 0.06, 0.6, 0.86)),
        headline="Mornings wait.",
        end_card=CARDS["en-US"],
        max_bytes=150_000,
        banner=banner,
    )
    night = np.full((500, 600, 3), 18, np.uint8)
    with_logo = stills.finished(work, night.copy(), logo(tmp_path, DARK))
    paper = tuple(int(KESTREL.paper[n : n + 2], 16) for n in (5, 3, 1))
    around = (np.abs(with_logo.astype(int) - paper).max(-1) < 3)[:160].sum()
    assert around > 300
    assert (np.abs(with_logo.astype(int) - DARK).max(-1) < 3).sum() > 50


def test_a_headline_that_begins_with_the_brand_needs_no_brand_above_it() -> None:
    work = StillWork(
        width=400,
        height=500,
        look=Look(palette=KESTREL, locale="en-US", brand="Pulp", safe=part((0.04, 0.04, 0.9, 0.9))),
        picture=REF,
        type_box=part((0.06, 0.06, 0.86, 0.6)),
        headline="Pulp.",
        end_card=EndCard(brand="Pulp", tagline="", call_to_action="Go"),
        max_bytes=150_000,
    )
    page = np.full((500, 400, 3), 240, np.uint8)
    once = stills.finished(work, page.copy(), None)
    twice = stills.finished(msgspec.structs.replace(work, headline="Mornings."), page.copy(), None)

    def blocks(picture: np.ndarray) -> int:
        rows = (picture.min(-1) < 100)[:, :390].any(1)
        return int((np.diff(rows.astype(int)) == 1).sum())

    assert blocks(once) < blocks(twice)
