"""Banners and labels: exact sizes, byte limits, seams."""

from __future__ import annotations

import numpy as np
import pytest
from composer_frames import (
    CARDS,
    HEADLINES,
    KESTREL,
    REF,
    part,
)

from contracts.brief import Form
from contracts.colour import contrast
from contracts.requests import LabelWork, Look, StillWork
from media.still import Stamp
from services.composer import label
from services.composer import still as stills

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((300, 250), (0.04, 0.04, 0.5, 0.92)),
        ((336, 280), (0.04, 0.04, 0.5, 0.92)),
        ((728, 90), (0.04, 0.04, 0.77, 0.92)),
        ((970, 250), (0.04, 0.04, 0.68, 0.92)),
        ((160, 600), (0.04, 0.04, 0.92, 0.55)),
        ((320, 50), (0.04, 0.04, 0.72, 0.92)),
    ],
)
@pytest.mark.parametrize("locale", list(CARDS))
def test_banners_have_their_exact_size_and_keep_the_byte_limit(
    size: tuple[int, int], box: tuple[float, float, float, float], locale: str
) -> None:
    work = StillWork(
        width=size[0],
        height=size[1],
        look=Look(palette=KESTREL, locale=locale, brand="K", safe=part((0.02, 0.02, 0.96, 0.96))),
        picture=REF,
        type_box=part(box),
        headline=HEADLINES[locale][0],
        end_card=CARDS[locale],
        max_bytes=150_000,
        banner=True,
    )
    noise = np.random.default_rng(3).integers(214, 246, (size[1], size[0], 3)).astype(np.uint8)
    picture = stills.finished(work, noise.copy(), None)
    assert picture.shape == (size[1], size[0], 3)
    data, _, _ = stills.encoded(picture, work.max_bytes, Stamp(comment="Draft"), small=True)
    assert len(data) <= 150_000
    assert b"Draft" in data
    assert (picture != noise).any(-1).mean() > 0.03


def test_a_leaderboards_brand_and_headline_stand_in_its_middle() -> None:
    work = StillWork(
        width=728,
        height=90,
        look=Look(palette=KESTREL, locale="en-US", brand="K", safe=part((0.0, 0.0, 1.0, 1.0))),
        picture=REF,
        type_box=part((0.04, 0.04, 0.77, 0.92)),
        headline="Mornings won\u2019t wait.",
        end_card=CARDS["en-US"],
        max_bytes=150_000,
        banner=True,
    )
    picture = stills.finished(work, np.full((90, 728, 3), 235, np.uint8), None)
    rows = np.flatnonzero((picture[:, :330].max(-1) < 90).any(1))
    assert abs(int(rows[0]) - (89 - int(rows[-1]))) <= 3


def label_of(locale: str, brand: str, product: str, detail: str = "250 ml") -> LabelWork:
    return LabelWork(
        form=Form.CAN,
        palette=KESTREL,
        locale=locale,
        brand=brand,
        product=product,
        detail=detail,
        width=1024,
        height=512,
    )


@pytest.mark.parametrize(
    ("locale", "brand", "product"),
    [("en-US", "Kestrel", "Kestrel Cold Brew"), ("ar-AE", "نور", "دبس التمر نور")],
)
def test_a_label_is_seamless_and_reads_from_the_front(
    locale: str, brand: str, product: str
) -> None:
    work = LabelWork(
        form=Form.CAN,
        palette=KESTREL,
        locale=locale,
        brand=brand,
        product=product,
        detail="250 ml",
        width=1024,
        height=512,
    )
    art = label.art(work).astype(int)
    seam = np.abs(art[:, 0] - art[:, -1]).mean()
    inside = np.abs(np.diff(art, axis=1)).mean(axis=(0, 2))
    assert seam <= inside.max()
    bare = LabelWork(
        form=Form.CAN,
        palette=KESTREL,
        locale=locale,
        brand=".",
        product=".",
        width=1024,
        height=512,
    )
    changed = np.flatnonzero((np.abs(art - label.art(bare)).sum(-1) > 60).any(0))
    middle = (changed.min() + changed.max()) / 2 / 1024
    assert middle == pytest.approx(label.FRONT_U, abs=0.02)
    assert changed.max() - changed.min() <= (label.READ_U + 0.01) * 1024
    colours = label.colours(work)
    assert contrast(colours.brand, colours.band) >= 4.5


def test_a_labels_product_line_does_not_repeat_the_brand() -> None:
    for brand, product, line in (
        ("Kestrel", "Kestrel Cold Brew", "Cold Brew"),
        ("نور", "دبس التمر نور", "دبس التمر"),
        ("Linie Nord", "Linie Nord Schlafwagen", "Schlafwagen"),
    ):
        work = LabelWork(
            form=Form.BOX, palette=KESTREL, locale="en-US", brand=brand, product=product
        )
        assert label.product_line(work) == line
