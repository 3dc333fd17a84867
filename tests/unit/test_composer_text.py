"""Typefaces, shaping and fitting: what is set is what was written, as large as it goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.composer import fit, piece, text, typeface
from services.composer.boxes import Box
from services.composer.fit import TooSmallError
from services.composer.typeface import MissingGlyphError, Role

pytestmark = pytest.mark.unit

WORDS = [
    "Slow",
    "steeped",
    "über",
    "größe",
    "à",
    "l\u2019aube",
    "Ankommen.",
    "we,",
    "go!",
    "250",
    "ml",
]
WIDE = Box(0, 0, 900, 500)


def columns_of(pixels: np.ndarray, blue_green_red: tuple[int, int, int]) -> np.ndarray:
    """Columns in which a colour is painted solidly."""
    return np.flatnonzero(
        (np.abs(pixels[..., :3].astype(int) - blue_green_red) < 12).all(-1).any(0)
    )


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=14),
    role=st.sampled_from(list(Role)),
    width=st.integers(200, 1600),
    height=st.integers(80, 900),
)
def test_a_setting_keeps_every_word_in_order_and_fills_its_box(
    words: list[str], role: Role, width: int, height: int
) -> None:
    box = Box(0, 0, width, height)
    setting = fit.fit(" ".join(words), role, box, largest=1e4, least=0, most_lines=6)
    assert " ".join(setting.lines).split() == " ".join(words).split()
    assert setting.width <= width * 1.001
    assert setting.height <= height * 1.001
    assert max(setting.width / width, setting.height / height) > 0.999


def test_a_short_word_does_not_stand_alone_between_longer_lines() -> None:
    for words in ("The sun sets the table.", "Der Weg ist das Bett."):
        for width in range(400, 1000, 60):
            setting = fit.display(words, Box(0, 0, width, 500), largest=170, least=20)
            assert all(" " in line for line in setting.lines[1:-1]), setting.lines


def test_a_line_never_ends_on_a_number_that_counts_what_follows() -> None:
    box = Box(0, 0, 500, 400)
    setting = fit.fit("Ab 49 Euro bis 28. Februar", Role.NOTE, box, largest=70, least=10)
    assert not any(line.rstrip(".").split()[-1].isdigit() for line in setting.lines[:-1])


def test_an_article_does_not_stand_alone_on_a_line() -> None:
    box = Box(0, 0, 360, 260)
    setting = fit.fit("Le petit-déjeuner, ailleurs.", Role.ACCENT, box, largest=90, least=10)
    assert "Le" not in setting.lines


def test_no_orphan_is_left_on_the_last_line() -> None:
    setting = fit.fit("It is what mornings are made of", Role.TEXT, WIDE, largest=110, least=10)
    assert len(setting.lines) > 1
    assert " " in setting.lines[-1]


def test_the_writers_own_line_breaks_are_kept() -> None:
    setting = fit.fit("Open.\nPour. Go.", Role.DISPLAY, WIDE, largest=300, least=10)
    assert setting.lines == ("Open.", "Pour. Go.")


def test_marks_never_touch_the_descenders_above() -> None:
    setting = fit.fit("Gypsy\nÜberÄ", Role.DISPLAY, WIDE, largest=200, least=10)
    above, below = (text.ink(line, Role.DISPLAY) for line in setting.lines)
    assert setting.leading / setting.size > above.bottom - below.top


def test_long_words_are_set_in_the_narrow_cut() -> None:
    box = Box(0, 0, 600, 800)
    assert fit.display("Übernachtungsverbindung", box, largest=300, least=10).role is Role.NARROW
    assert fit.display("Go.", box, largest=300, least=10).role is Role.DISPLAY


def test_what_cannot_be_set_legibly_is_refused() -> None:
    with pytest.raises(TooSmallError):
        fit.fit("Donaudampfschifffahrt", Role.DISPLAY, Box(0, 0, 90, 50), largest=90, least=24)


@pytest.mark.parametrize("words", ["\u05e9\u05dc\u05d5\u05dd", "朝", "Go 🚀"])
def test_a_missing_glyph_is_a_typed_error_before_anything_is_drawn(words: str) -> None:
    with pytest.raises(MissingGlyphError) as caught:
        text.draw(words, Role.DISPLAY, 40)
    assert set(caught.value.missing) <= set(words)


@pytest.mark.parametrize("role", list(Role))
def test_every_role_spells_the_languages_of_the_product(role: Role) -> None:
    for words in (
        "“Mornings” won\u2019t wait — 20 % off, 49 €…",
        "Größe ÄÖÜ ẞ „so“",
        "L\u2019été, ça œuvre où « là »\u202f?",
        "¿Mañana? ¡Sí! São João às três",
        "Łódź, şğı, Dvořák",
        "مكوّن واحد، لا غير؟ ٤٠٠ مل 400",
    ):
        assert typeface.spelled(words, role)


def test_axes_are_set_on_every_instance() -> None:
    for family in ("display", "narrow", "accent", "note", "text", "strong", "display-ar"):
        wanted = typeface.axes_of(family)
        found = {
            coordinate.axis.to_bytes(4, "big").decode(): coordinate.value
            for coordinate in typeface.face(family).getVariationDesignPosition()
        }
        assert {tag: found[tag] for tag in wanted} == pytest.approx(wanted)


def test_kerning_and_shaping_are_on() -> None:
    apart = text.advance("A", Role.DISPLAY) + text.advance("V", Role.DISPLAY)
    assert text.advance("AV", Role.DISPLAY) < apart
    joined = text.advance("كما", Role.DISPLAY)
    assert joined < sum(text.advance(letter, Role.DISPLAY) for letter in "كما")


def test_a_full_stop_stands_left_of_arabic_and_right_of_latin() -> None:
    for words, left in (("نور", True), ("Noor", False)):
        spans = ((words, "#FF0000"), (".", "#0000FF"))
        drawn = text.draw_spans(spans, Role.STRONG, 60)
        body, stop = columns_of(drawn.pixels, (0, 0, 255)), columns_of(drawn.pixels, (255, 0, 0))
        assert bool(stop.max() < body.min()) is left


def test_colours_inside_a_line_do_not_change_its_shape() -> None:
    plain = text.draw_spans((("حلاوة التمر كما", "#000000"),), Role.STRONG, 60)
    parts = (("حلاوة", "#000000"), (" ", "#000000"), ("التمر كما", "#000000"))
    assert np.array_equal(plain.pixels, text.draw_spans(parts, Role.STRONG, 60).pixels)


def test_drawn_type_is_premultiplied() -> None:
    drawn = text.draw_spans((("Slow steeped", "#F3E7D3"),), Role.STRONG, 18).pixels
    assert (drawn[..., :3].max(-1) <= drawn[..., 3]).all()


def test_ink_touches_the_margin_and_quotes_hang_outside() -> None:
    setting = fit.Setting(("“Ours”",), Role.ACCENT, 120, 120)
    hung = piece.line("“Ours”", setting, 300, 200, "#000000")
    plain = piece.line("Ours", setting, 300, 200, "#000000")
    assert plain.ink.left == pytest.approx(300, abs=1)
    assert hung.ink.left < 285


def test_a_piece_is_drawn_where_its_ink_box_says() -> None:
    setting = fit.Setting(("Hamburg",), Role.DISPLAY, 90, 90)
    for align in piece.Align:
        drawn = piece.line("Hamburg", setting, 400, 300, "#102030", align)
        canvas = np.full((500, 900, 3), 255, np.uint8)
        piece.laid(canvas, [drawn])
        rows, columns = np.nonzero((canvas < 128).any(-1))
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        told = (drawn.ink.left, drawn.ink.top, drawn.ink.right, drawn.ink.bottom)
        assert found == pytest.approx(told, abs=2.0)
