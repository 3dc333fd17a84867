"""Scripts: what is said, for how long, and that it is the brief's own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.brief import Brief, Fact
from contracts.errors import InvalidRequestError
from contracts.script import Script, ShotKind, Stat
from media.script import timing
from media.script.numbers import NARROW, NO_BREAK, amount, stat
from services.draft_copy.pack import load_pack
from services.draft_copy.script_writer import write_script

pytestmark = pytest.mark.unit


def brief(**changes: Any) -> Brief:  # noqa: ANN401 - any part of a brief
    plain = {
        "campaign": "kestrel",
        "brand": {
            "name": "Kestrel",
            "tagline": "Open. Pour. Go.",
            "voice": "dry, confident, a little playful",
            "banned_words": ["revolutionary", "unleash"],
            "legal": "Contains caffeine.",
        },
        "product": {
            "name": "Kestrel Cold Brew",
            "what": "cold-brew coffee in a 250 ml can",
            "form": "can",
            "facts": [
                {"value": 18, "unit": "h", "label": "slow steep"},
                {"value": 0, "unit": "g", "label": "added sugar"},
                {"value": 180, "unit": "mg", "label": "caffeine"},
            ],
            "url": "https://www.kestrelcoffee.example/",
        },
        "audience": "people who leave the house before seven",
        "objective": "first purchase",
        "offer": "20% off your first case",
        "call_to_action": "Get the first case",
        "placements": ["instagram_reel", "display_300x250"],
        "locales": ["en-US"],
        "music": "warm, forward, 100 bpm",
    }
    merged = plain | changes
    return msgspec.convert({k: v for k, v in merged.items() if v is not None}, Brief)


def train(**changes: Any) -> Brief:  # noqa: ANN401 - any part of a brief
    plain: dict[str, Any] = dict(  # noqa: C408 - reads as the call it stands for
        brand={"name": "Linie Nord", "tagline": "Ankommen.", "voice": "calm, precise, warm"},
        product={
            "name": "Linie Nord Schlafwagen",
            "what": "overnight sleeper train, Berlin to Paris",
            "form": "service",
            "facts": [
                {
                    "value": 13,
                    "unit": "h",
                    "label": {"de-DE": "Stunden Ruhe", "fr-FR": "heures de calme"},
                },
                {
                    "value": 49,
                    "unit": "€",
                    "label": {"de-DE": "ab Berlin", "fr-FR": "depuis Paris"},
                },
            ],
        },
        audience="city travellers",
        offer=None,
        call_to_action=None,
        objective="bookings",
        locales=["de-DE", "fr-FR"],
        variants={"hooks": 2},
        length_seconds=20,
        music="quiet, nocturnal, 76 bpm",
    )
    return brief(**plain | changes)


def headlines(script: Script, locale: str, variant: str = "a") -> dict[str, str]:
    return {shot.name: shot.text(locale, variant).headline for shot in script.shots}


def test_the_launch_spot_says_what_its_brief_gives_it_to_say() -> None:
    script = write_script(brief(), 0)
    assert headlines(script, "en-US") == {
        "hook": "Mornings won’t wait.",  # noqa: RUF001 - typographic marks are what is tested
        "promise": "Ours took eighteen hours.",
        "product": "Slow steeped. Ready now.",
        "proof": "Nothing to hide.",
        "end": "Open. Pour. Go.",
    }
    proof = next(shot for shot in script.shots if shot.kind is ShotKind.STATS)
    assert proof.texts["en-US"].stats == [
        Stat(value="18", unit="h", label="slow steep"),
        Stat(value="0", unit="g", label="added sugar"),
        Stat(value="180", unit="mg", label="caffeine"),
    ]
    card = script.end_cards["en-US"]
    assert (card.url, card.call_to_action) == ("kestrelcoffee.example", "Get the first case")


def test_a_line_that_needs_a_fact_is_not_said_without_it() -> None:
    product = {"name": "Kestrel Cold Brew", "what": "coffee in a can", "form": "can"}
    script = write_script(brief(product=product), 0)
    said = " ".join(t.headline + t.voice for s in script.shots for t in s.texts.values())
    assert "hours" not in said
    assert "sugar" not in said
    assert "steeped" not in said
    assert all(shot.kind is not ShotKind.STATS for shot in script.shots)


def test_each_market_travels_from_its_own_end_of_the_line() -> None:
    script = write_script(train(), 0)
    assert headlines(script, "de-DE")["hook"] == "Abends Berlin."
    assert headlines(script, "de-DE")["promise"] == "Morgens Paris."
    assert headlines(script, "fr-FR")["hook"] == "Le soir, Paris."
    assert headlines(script, "fr-FR")["promise"] == "Le matin, Berlin."


def test_variants_open_differently_and_share_the_rest() -> None:
    script = write_script(train(), 0)
    assert script.variants == ["a", "b"]
    for locale in ("de-DE", "fr-FR"):
        one, two = headlines(script, locale, "a"), headlines(script, locale, "b")
        assert one["hook"] != two["hook"]
        assert one["promise"] != two["promise"]
        assert one["product"] == two["product"]


def test_a_headline_set_by_hand_stands_as_it_was_typed() -> None:
    script = write_script(brief(headlines={"proof": 'It\'s all "here"'}), 0)
    proof = next(shot for shot in script.shots if shot.name == "proof")
    assert proof.texts["en-US"].headline == 'It\'s all "here"'
    assert script.shots[-1].name == "end"


def test_a_headline_for_a_shot_that_a_short_film_lacks_brings_the_shot() -> None:
    script = write_script(brief(length_seconds=6, headlines={"promise": "Now."}), 0)
    assert "promise" in [shot.name for shot in script.shots]


def test_a_headline_for_no_shot_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        write_script(brief(headlines={"teaser": "Hm"}), 0)
    assert caught.value.field == "headlines.teaser"


def test_a_banned_word_takes_our_line_out() -> None:
    brand = {"name": "Kestrel", "voice": "dry", "banned_words": ["mornings", "Hide"]}
    script = write_script(brief(brand=brand), 0)
    said = " ".join(
        f"{t.headline} {t.voice}" for s in script.shots for t in s.texts.values()
    ).casefold()
    assert "mornings" not in said
    assert "hide" not in said


@pytest.mark.parametrize(
    ("banned", "field"),
    [("pour", "brand.tagline"), ("20%", "offer"), ("steep", "product.facts[0].label")],
)
def test_a_brief_that_forbids_its_own_words_is_refused_by_name(banned: str, field: str) -> None:
    brand = {"name": "Kestrel", "tagline": "Open. Pour. Go.", "banned_words": [banned]}
    with pytest.raises(InvalidRequestError) as caught:
        write_script(brief(brand=brand), 0)
    assert caught.value.field == field


def test_a_locale_without_a_brand_name_is_refused_by_name() -> None:
    brand = {"name": {"en-US": "Kestrel"}}
    with pytest.raises(InvalidRequestError) as caught:
        write_script(brief(brand=brand, locales=["en-US", "de-DE"]), 0)
    assert caught.value.field == "brand.name"


def test_the_same_seed_writes_the_same_script_and_others_may_differ() -> None:
    whole = train()
    assert write_script(whole, 7) == write_script(whole, 7)
    hooks = {headlines(write_script(whole, seed), "de-DE")["hook"] for seed in range(40)}
    assert len(hooks) > 1


def test_a_text_in_another_language_is_not_shown_to_readers_of_this_one() -> None:
    script = write_script(train(), 0)
    shown = {
        t.support for s in script.shots if s.kind is ShotKind.PRODUCT for t in s.texts.values()
    }
    assert shown == {""}


def test_the_cut_down_is_as_long_as_the_shortest_placement_allows() -> None:
    script = write_script(train(placements=["youtube_bumper", "x_feed"]), 0)
    short = [shot for shot in script.shots if shot.in_short]
    assert sum(shot.short_seconds for shot in short) == pytest.approx(6.0)
    assert {"hook", "end"} <= {shot.name for shot in short}
    assert len(short) < len(script.shots)


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(6, 2, 3), (15, 5, 5), (20, 5, 6), (60, 12, 17)]
)
def test_a_film_has_as_many_shots_as_its_length_wants(seconds: int, least: int, most: int) -> None:
    script = write_script(brief(length_seconds=seconds), 0)
    assert least <= len(script.shots) <= most
    assert max(shot.seconds for shot in script.shots) <= timing.LONGEST + 1e-6


def test_figures_are_written_as_each_locale_writes_them() -> None:
    price = msgspec.convert({"value": 1234.5, "unit": "€", "label": "x"}, type=Fact)
    assert amount(price, "en-GB") == "€1,234.50"
    assert amount(price, "de-DE") == f"1.234,50{NO_BREAK}€"
    assert amount(price, "fr-FR") == f"1{NARROW}234,50{NARROW}€"
    assert amount(price, "nl-NL") == f"€{NO_BREAK}1.234,50"
    assert stat(price, "ar-EG").value == "١٬٢٣٤٫٥٠"  # noqa: RUF001 - Arabic digits
    assert stat(price, "ar-AE").value == "1,234.50"


def test_regions_of_one_language_write_and_say_things_their_own_way() -> None:
    price = msgspec.convert({"value": 1234.5, "unit": "$", "label": "x"}, type=Fact)
    assert amount(price, "es-MX") == f"${NO_BREAK}1,234.50"
    assert amount(price, "de-CH") == f"${NO_BREAK}1’234.50"  # noqa: RUF001 - typographic marks are what is tested
    assert "ß" not in str(load_pack("de", "CH"))
    assert "Só os factos." in str(load_pack("pt", "PT"))
    assert "Só os fatos." in str(load_pack("pt", "BR"))


def test_a_unit_is_not_said_twice() -> None:
    calm = train().product.facts[0]
    assert stat(calm, "de-DE") == Stat(value="13", unit="", label="Stunden Ruhe")


def test_the_tempo_is_read_from_the_music_or_guessed_from_its_mood() -> None:
    assert timing.tempo("warm, forward, 100 bpm") == (100.0, "warm, forward")
    assert timing.tempo("quiet piano") == (76.0, "quiet piano")
    assert timing.tempo("999 BPM gabber")[0] == 220.0


def test_every_shot_has_a_scene_that_the_draft_engines_can_draw_and_a_prompt() -> None:
    drawn = {
        "rings",
        "horizon",
        "train",
        "studio",
        "table",
        "panel",
        "disc",
        "rails",
        "interior",
        "pour",
    }
    for whole in (brief(length_seconds=90), train(length_seconds=90)):
        script = write_script(whole, 0)
        assert {shot.scene for shot in script.shots} <= drawn
        for shot in script.shots:
            assert "{" not in shot.prompt
            assert "no text" in shot.prompt
    scenes = {shot.name: shot.scene for shot in write_script(train(), 0).shots}
    assert scenes["hook"] == "train"
