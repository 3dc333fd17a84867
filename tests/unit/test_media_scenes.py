"""What scenes show where: the night's end, an empty foot, plain paper, a curtain's length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from media.pixels import Planes
from media.scenes import build
from media.scenes.horizon import Horizon
from media.scenes.stage import Area, Colours, Stage

pytestmark = pytest.mark.unit

NIGHT = Colours("#0B1F3A", "#E8C547", "#0B1F3A", "#F5F2EA", "#C8553D")
TALL = Stage(
    216, 384, 2.0, NIGHT, Area(12, 190, 204, 365), Area(13, 54, 203, 160), 3, None, frozenset()
)


def drawn(stage: Stage, name: str, seconds: float = 1.9) -> np.ndarray:
    target = Planes.blank(stage.width, stage.height)
    build(name, stage).paint(target, seconds)
    return target.to_bgr().astype(int)


@pytest.mark.parametrize("scene", ["horizon", "rails"])
def test_at_dawn_the_night_has_no_moon_and_a_warm_horizon(scene: str) -> None:
    night = drawn(TALL, scene)
    dawn = drawn(replace(TALL, words=frozenset({"dawn"})), scene)
    level = int(Horizon(TALL).level)
    band = slice(int(level - 0.06 * TALL.height), level)
    assert (dawn[band, :20, 2] - dawn[band, :20, 0]).mean() > 0
    assert (night[band, :20, 2] - night[band, :20, 0]).mean() < 0
    assert dawn[:60].mean() < dawn[band].mean()


def test_a_day_palette_knows_no_dawn() -> None:
    day = Colours("#F4511E", "#FFB05C", "#14130F", "#F3E7D3", "#14342B")
    assert not replace(TALL, colours=day, words=frozenset({"dawn"})).dawn


def test_figures_that_leave_the_frames_foot_empty_get_a_quiet_motif_there() -> None:
    figures = replace(TALL, quiet=Area(13, 54, 203, 220))
    filled = replace(TALL, quiet=Area(13, 54, 203, 370))
    with_motif, without = drawn(figures, "panel"), drawn(filled, "panel")
    apart = np.abs(with_motif - without).sum(-1)
    assert (apart[230:] > 12).mean() > 0.15
    # Nothing of it reaches where the headline stands, and little where the last figure does.
    assert (apart[54:120] > 12).mean() < 0.01


def test_an_end_card_without_a_product_is_even_paper_behind_the_type() -> None:
    stage = replace(TALL, focus=Area(0, 340, 216, 384), quiet=Area(13, 54, 203, 250))
    target = Planes.blank(stage.width, stage.height)
    Horizon(stage, plain=True).paint(target, 1.0)
    tone = target.to_bgr().astype(int)[60:180].mean((0, 2))
    assert abs(tone[-12:].mean() - tone[90:120].mean()) < 1.0


def test_the_sun_on_an_end_card_stands_at_the_right_foot() -> None:
    stage = replace(TALL, focus=Area(0, 340, 216, 384), quiet=Area(13, 54, 203, 250))
    scene = Horizon(stage, plain=True)
    target = Planes.blank(stage.width, stage.height)
    scene.paint(target, 1.0)
    row = target.to_bgr().astype(int)[int(scene.level - 0.09 * stage.width)]
    assert (row[:120, 2] - row[:120, 0]).max() + 60 < (row[150:190, 2] - row[150:190, 0]).min()


def test_a_window_is_never_a_slit_and_its_curtain_falls_to_the_ledge() -> None:
    flat = replace(
        TALL, width=400, height=380, focus=Area(20, 250, 380, 345), quiet=Area(20, 20, 380, 230)
    )
    room = drawn(flat, "interior")
    red = (room[..., 2] > room[..., 0] + 25) & (room[..., 2] > room[..., 1] + 25)
    column = np.flatnonzero(red[:, 365])
    assert len(column) > 40
    assert (np.diff(column) == 1).mean() > 0.95
    blue = room[300, :, 0] - room[300, :, 2] > 12
    assert np.flatnonzero(blue).max() - np.flatnonzero(blue).min() < 0.62 * flat.width


def test_a_train_beside_a_column_of_type_runs_above_the_captions() -> None:
    wide = replace(
        TALL,
        width=480,
        height=270,
        focus=Area(270, 14, 456, 216),
        quiet=Area(24, 14, 260, 216),
        words=frozenset({"night", "train", "rails"}),
    )
    target, bare = Planes.blank(480, 270), Planes.blank(480, 270)
    scene = Horizon(wide, train=True)
    scene.paint(target, 1.0)
    scene._train = None  # the same land without it
    scene.paint(bare, 1.0)
    rows = np.flatnonzero((np.abs(target.y.astype(int) - bare.y) > 20).any(1))
    assert len(rows) > 8
    assert rows.max() <= 0.81 * 270
