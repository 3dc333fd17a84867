"""One plain sentence becomes the brief that a person would have written for it."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.brief import Brief, Form
from contracts.brief_check import check_brief
from contracts.codec import decode_input, encode
from contracts.errors import InvalidInputError, InvalidRequestError
from services.coordinator.palettes import PALETTES, palette_for
from services.coordinator.sentence import brief_from_sentence

pytestmark = pytest.mark.unit

TODAY = date(2026, 11, 21)
KESTREL = (
    "A 15-second launch spot for Kestrel, a canned cold brew for people who leave before seven. "
    "20% off the first case."
)


def test_the_kestrel_sentence() -> None:
    brief = brief_from_sentence(KESTREL, "kestrel")
    assert brief.campaign == "kestrel"
    assert brief.brand.name == "Kestrel"
    assert brief.product.name == "Kestrel Cold Brew"
    assert brief.product.what == "canned cold brew"
    assert brief.product.form is Form.CAN
    assert brief.audience == "people who leave before seven"
    assert brief.offer == "20% off the first case"
    assert brief.call_to_action == "Get the first case"
    assert brief.length_seconds == 15
    assert brief.locales == ["en-US"]
    assert brief.placements == [
        "instagram_reel",
        "instagram_feed",
        "youtube_instream",
        "linkedin_feed",
        "display_300x250",
    ]


CASES = [
    ("Kestrel is a canned cold brew.", "Kestrel", Form.CAN, "en-US", 15),
    ('Launch "Blue Harbor", a bottled iced tea, 10% off.', "Blue Harbor", Form.BOTTLE, "en-US", 15),
    ("Promote Luma: a meditation app for busy parents.", "Luma", Form.SERVICE, "en-US", 15),
    ("Spot for Oatly & Sons, the honey that spreads cold.", "Oatly & Sons", Form.JAR, "en-US", 15),
    ("A 30s reel for Pico, a toothpaste for travellers.", "Pico", Form.TUBE, "en-US", 30),
    ("Ein 20-Sekunden-Film für Linie Nord, ein Nachtzug.", "Linie Nord", Form.SERVICE, "de-DE", 20),
    ("Une vidéo de 12 secondes pour Maison Lune, un parfum.", "Maison Lune", Form.BOTTLE, "fr-FR",
     12),
    ("Un anuncio de 10 segundos para Sol, una cerveza.", "Sol", Form.CAN, "es-ES", 10),
    ("إعلان مدته 15 ثانية عن نور", "نور", Form.SERVICE, "ar-AE", 15),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "name", "form", "locale", "seconds"), CASES)
def test_name_form_language_and_length(
    sentence: str, name: str, form: Form, locale: str, seconds: float
) -> None:
    brief = brief_from_sentence(sentence, "c")
    assert brief.brand.name == name
    assert brief.product.form is form
    assert brief.locales == [locale]
    assert brief.length_seconds == seconds
    check_brief(brief, today=TODAY)


def test_an_address_in_the_sentence_is_the_products() -> None:
    brief = brief_from_sentence("Promote Luma, an app. Try it free at luma.example", "c")
    assert brief.product.url == "https://luma.example"
    assert brief.offer.startswith("Try it free")


@pytest.mark.parametrize(
    "sentence", ["make a video for our bakery please", "15 second spot", "???"]
)
def test_a_sentence_that_names_nothing_is_refused_with_an_example(sentence: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        brief_from_sentence(sentence, "c")
    assert caught.value.field == "brief"
    assert "Kestrel" in caught.value.message


def test_an_impossible_length_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="6 to 300 seconds"):
        brief_from_sentence("A 3-second spot for Kestrel, a cold brew.", "c")


@pytest.mark.parametrize("palette", PALETTES)
def test_every_palette_is_one_that_a_brief_may_have(palette: object) -> None:
    brief = brief_from_sentence(KESTREL, "c")
    data = decode_input(encode(brief), dict)
    data["brand"]["palette"] = decode_input(encode(palette), dict)
    check_brief(decode_input(encode(data), Brief), today=TODAY)


def test_a_name_always_gets_the_same_colours_whatever_its_case() -> None:
    assert palette_for("Kestrel") == palette_for("KESTREL")
    assert len({palette_for(name).primary for name in map(str, range(60))}) == len(PALETTES)


@given(st.text(min_size=8, max_size=300))
def test_any_text_becomes_a_sound_brief_or_a_typed_error(sentence: str) -> None:
    try:
        brief = brief_from_sentence(sentence, "c")
    except InvalidInputError:
        return
    # It travels like any other brief, and the same rules judge it.
    again = decode_input(encode(brief), Brief)
    assert again == brief == brief_from_sentence(sentence, "c")
