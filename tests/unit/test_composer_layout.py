"""Layouts: legible on what is really behind them, apart from one another, inside the safe area."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from composer_frames import (
    CARDS,
    FRAMES,
    KESTREL,
    REF,
    composed,
    flat,
    part,
    work_of,
)

from contracts.brief import Palette
from contracts.requests import FilmShot, FilmWork, Look
from contracts.script import EndCard, ShotKind
from services.composer import (
    collision,
    film,
    inks,
    motion,
    piece,
    veil,
)
from services.composer.boxes import Box
from services.composer.collision import CollisionError
from services.composer.fit import Setting
from services.composer.inks import IllegibleError
from services.composer.page import Page
from services.composer.typeface import Role
from services.composer.typeset import Ground, LayoutError, typeset

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("ratio", list(FRAMES))
@pytest.mark.parametrize("locale", list(CARDS))
def test_all_type_stands_in_the_safe_area_and_apart_in_every_ratio(ratio: str, locale: str) -> None:
    work = work_of(ratio, locale)
    laid_out = composed(work)
    safe = film.page_of(work, work.shots[0], caps=False).safe
    for cut in laid_out.cuts:
        pieces = [layer.piece for layer in cut.stage.layers]
        collision.check(pieces, safe, cut.shot.name)
        assert any(p.words for p in pieces)
        if cut.shot.focus is not None:
            focus = Box(0.6 * work.width, 0.1 * work.height, 0.95 * work.width, 0.8 * work.height)
            assert not any(p.ink.overlaps(focus) for p in pieces if p.words)


@pytest.mark.parametrize("locale", list(CARDS))
def test_a_reel_says_everything_above_its_covered_foot(locale: str) -> None:
    work = work_of("9x16", locale)
    end = composed(work).cuts[-1]
    words = {p.words for p in (layer.piece for layer in end.stage.layers) if p.words}
    assert CARDS[locale].call_to_action in words
    assert all(layer.piece.ink.bottom <= 0.65 * work.height for layer in end.stage.layers)
    assert CARDS[locale].url.split("/")[2].removeprefix("www.") in words


def test_arabic_begins_at_the_right_edge_and_latin_at_the_left() -> None:
    for locale, right in (("ar-AE", True), ("en-US", False)):
        cut = composed(work_of("9x16", locale)).cuts[0]
        lines = [layer.piece.ink for layer in cut.stage.layers if layer.piece.words]
        edges = {round(box.right if right else box.left) for box in lines}
        assert max(edges) - min(edges) <= 1
        assert abs(next(iter(edges)) - (0.94 if right else 0.06) * 270) <= 2


def test_ink_or_paper_is_chosen_by_what_is_behind() -> None:
    setting = Setting(("Word",), Role.DISPLAY, 80, 80)

    def draw(colours: inks.Inks) -> list[piece.Piece]:
        return piece.block(setting, 40, 40, colours.text)

    for grey, expected in ((240, KESTREL.ink), (16, KESTREL.paper)):
        ground = inks.backdrop([np.full((400, 400, 3), grey, np.uint8)])
        verdict = inks.legible(draw, ground, KESTREL)
        assert (verdict.inks.text, verdict.veiled) == (expected, ())


def test_a_small_line_on_another_tone_changes_ink_alone() -> None:
    picture = np.full((400, 400, 3), 240, np.uint8)
    picture[300:] = 16

    def draw(colours: inks.Inks) -> list[piece.Piece]:
        large = piece.block(Setting(("Word",), Role.DISPLAY, 80, 80), 40, 40, colours.text)
        small = piece.block(Setting(("legal",), Role.TEXT, 20, 20), 40, 340, colours.text)
        return [*large, *small]

    verdict = inks.legible(draw, inks.backdrop([picture]), KESTREL)
    colours = [p.colour for p in verdict.applied(draw(verdict.inks))]
    assert colours == [KESTREL.ink, KESTREL.paper]
    assert verdict.veiled == ()


def test_a_line_across_an_edge_moves_before_it_needs_a_scrim() -> None:
    picture = np.full((400, 400, 3), 240, np.uint8)
    picture[330:] = 60
    page = Page(400, 400, Box(20, 20, 380, 345), Box(10, 10, 390, 390))

    def draw(on: Page, colours: inks.Inks) -> list[motion.Layer]:
        setting = Setting(("legal",), Role.TEXT, 20, 20)
        return [
            motion.Layer(p, motion.Motion.CUT, 0)
            for p in piece.block(setting, 40, on.box.bottom - setting.height, colours.text)
        ]

    layers = typeset(page, draw, Ground(inks.backdrop([picture]), KESTREL, 30), "here")
    assert [layer.piece.words for layer in layers] == ["legal"]
    assert layers[0].piece.ink.bottom <= 332


def test_a_restless_picture_gets_a_scrim_and_type_is_legible_on_it() -> None:
    checks = np.kron(np.indices((10, 10)).sum(0) % 2, np.ones((40, 40))) * 255
    picture = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    setting = Setting(("Legible words",), Role.STRONG, 24, 24)

    def draw(colours: inks.Inks) -> list[piece.Piece]:
        return piece.block(setting, 60, 60, colours.text)

    verdict = inks.legible(draw, inks.backdrop([picture]), KESTREL, large=30)
    assert verdict.inks.scrim > 0
    piece.laid(picture, veil.veil(verdict, 400, 400))
    box = draw(verdict.inks)[0].ink
    behind = picture[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
    pixels = behind.reshape(-1, 3).astype(np.float32)
    assert inks.worst_contrast(verdict.inks.text, pixels) >= 4.4


def test_a_palette_that_cannot_be_read_is_refused() -> None:
    grey = replace_palette(ink="#808080", paper="#8A8A8A")
    work = work_of("1x1", "en-US")
    look = Look(palette=grey, locale="en-US", brand="Kestrel", safe=work.look.safe)
    broken = FilmWork(
        width=work.width,
        height=work.height,
        look=look,
        shots=work.shots,
        end_card=work.end_card,
        caption_box=work.caption_box,
    )
    with pytest.raises(IllegibleError):
        film.compose(broken, [None] * 4, [flat(work, 132)] * 4, [], None)  # type: ignore[list-item]  # no plate is opened


def replace_palette(**colours: str) -> Palette:
    plain = {n: getattr(KESTREL, n) for n in ("primary", "secondary", "ink", "paper", "accent")}
    return Palette(**{**plain, **colours})


def test_a_headline_that_fits_nowhere_is_refused_by_its_shots_name() -> None:
    work = work_of("1x1", "de-DE")
    long = FilmShot(
        name="hook",
        kind=ShotKind.HOOK,
        seconds=2,
        plate=REF,
        type_box=part((0.05, 0.05, 0.3, 0.06)),
        headline="Donaudampfschifffahrtsgesellschaftskapitän " * 3,
    )
    page = film.page_of(work, long, caps=False)
    with pytest.raises(LayoutError, match="hook"):
        film.set_shot(work, long, page, flat(work), None, enter=0)


def test_overlapping_type_is_found() -> None:
    setting = Setting(("Word",), Role.DISPLAY, 80, 80)
    one, other = (piece.block(setting, x, 100, "#000000")[0] for x in (100, 140))
    with pytest.raises(CollisionError):
        collision.check([one, other], None, "here")
    collision.check([one, other.moved(300, 0)], None, "here")
    with pytest.raises(CollisionError, match="safe"):
        collision.check([one], Box(0, 0, 120, 400), "here")


@pytest.mark.parametrize("ratio", list(FRAMES))
def test_the_longest_texts_that_the_contract_allows_can_be_set(ratio: str) -> None:
    words = "Übernachtungsmöglichkeiten zwischen Berlin und Paris für Vielreisende " * 9
    plain = work_of(ratio, "de-DE")
    card = EndCard(
        brand=words[:60],
        tagline=words[:120],
        offer=words[:120],
        call_to_action=words[:40],
        url="https://www.example.com/" + "a" * 150,
        legal=words[:600],
    )
    shots = [
        msgspec.structs.replace(shot, headline=words[:60], kicker=words[:60], support=words[:120])
        for shot in plain.shots
    ]
    laid_out = composed(msgspec.structs.replace(plain, shots=shots, end_card=card))
    end = [layer.piece.words for layer in laid_out.cuts[-1].stage.layers if layer.piece.words]
    assert " ".join(end).endswith(words[:600].rsplit(maxsplit=1)[-1])
