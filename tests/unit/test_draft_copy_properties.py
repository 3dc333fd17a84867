"""Whatever the brief: timing that adds up, nothing invented, nothing banned, no limit passed."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.brief import Brief
from contracts.locale import LANGUAGES
from contracts.placement import PLACEMENTS
from contracts.script import CopyDeck, PlacementCopy, Script
from contracts.text import check_line, strings
from media.script import timing
from media.script.fitting import BUMPER_SHOTS, HASTE
from media.script.limits import limits_of
from media.script.markdown import deck_as_markdown
from media.script.words import is_banned
from services.draft_copy.deck import write_deck
from services.draft_copy.pack import load_pack
from services.draft_copy.script_writer import write_script

pytestmark = pytest.mark.unit

REGION = {
    "en": "GB",
    "de": "DE",
    "fr": "FR",
    "es": "ES",
    "it": "IT",
    "nl": "NL",
    "pt": "BR",
    "ar": "EG",
}
LOCALES = [f"{language}-{REGION[language]}" for language in sorted(LANGUAGES)]
WHATS = [
    "cold-brew coffee in a 250 ml can",
    "overnight sleeper train, Milan to Vienna",
    "hand cream in a tube",
    "a bluffing board game",
    "rosemary honey",
    "tax advice for freelancers",
    "running app",
    "reading lamp",
    "something quite different",
    "dates for iftar",
]
LABELS = ["slow steep", "added sugar", "hours of calm", "ingredient", "a month", "players"]
BANNED = ["wait", "hide", "Tag", "nuit", "ready", "هذا", "tudo", "mano"]
names = st.sampled_from(["Kestrel", "Linie Nord", "نور", "O’Hara & Søn", "L'Été", "Q9"])  # noqa: RUF001 - names are typed so
facts = st.fixed_dictionaries(
    {
        "value": st.one_of(st.integers(0, 999), st.sampled_from([1.5, 8.25, 0.3])),
        "unit": st.sampled_from(["", "h", "min", "g", "ml", "€", "$", "%", "mg"]),
        "label": st.sampled_from(LABELS),
    }
)


@st.composite
def briefs(draw: st.DrawFn) -> Brief:
    name = draw(names)
    plain: dict[str, Any] = {
        "campaign": "any",
        "brand": {
            "name": name,
            "voice": draw(st.sampled_from(["", "dry", "warm, calm", "playful", "precise, bold"])),
            "banned_words": draw(st.lists(st.sampled_from(BANNED), max_size=2)),
        },
        "product": {
            "name": draw(st.sampled_from([name, f"{name} Original", "Nachtgold"])),
            "what": draw(st.sampled_from(WHATS)),
            "form": draw(
                st.sampled_from(["can", "bottle", "jar", "tube", "cup", "box", "service"])
            ),
            "facts": draw(st.lists(facts, max_size=5)),
            "url": draw(st.sampled_from(["", "https://www.long-and-winding-shop.example/start"])),
        },
        "objective": draw(
            st.sampled_from(["awareness", "first purchase", "bookings", "downloads"])
        ),
        "placements": draw(st.lists(st.sampled_from(sorted(PLACEMENTS)), min_size=1, max_size=5)),
        "locales": draw(st.lists(st.sampled_from(LOCALES), min_size=1, max_size=3, unique=True)),
        "length_seconds": draw(st.sampled_from([6, 7.5, 10, 12, 15, 20, 30, 47, 60, 120, 300])),
        "variants": {"hooks": draw(st.integers(1, 4))},
        "music": draw(st.sampled_from(["", "warm, 100 bpm", "quiet, 76 bpm", "40 bpm", "174 bpm"])),
    }
    if draw(st.booleans()):
        plain["brand"]["tagline"] = "Here, and there."
        plain["offer"] = "20% off until 3 May"
    if draw(st.booleans()):
        plain["headlines"] = {draw(st.sampled_from(["hook", "proof", "life", "end"])): "By hand."}
    return msgspec.convert(plain, Brief)


def own_words(brief: Brief) -> str:
    return " ".join(text for _, text in strings(msgspec.to_builtins(brief)))


def shown(script: Script, locale: str) -> list[str]:
    texts = [t for s in script.shots for key, t in s.texts.items() if key.startswith(locale)]
    card = script.end_cards[locale]
    return [text for part in [*texts, card] for _, text in values(part)]


def values(part: msgspec.Struct) -> list[tuple[str, str]]:
    found = strings(msgspec.to_builtins(part))
    return [(path, text) for path, text in found if not path.endswith(text)]


def figures(text: str) -> set[str]:
    return set(re.findall(r"\d+", text.translate(str.maketrans("٠١٢٣٤٥٦٧٨٩", "0123456789"))))


def allowed_figures(brief: Brief) -> set[str]:
    found = figures(own_words(brief))
    for fact in brief.product.facts:
        found |= figures(f"{fact.value:.10g} {fact.value:.2f}")
    return found


@settings(max_examples=150, deadline=None)
@given(briefs(), st.sampled_from([0, 1, 99]))
def test_scripts_add_up_and_are_cut_on_the_beat(brief: Brief, seed: int) -> None:
    script = write_script(brief, seed)
    assert sum(s.seconds for s in script.shots) == pytest.approx(brief.length_seconds, abs=0.002)
    assert len({s.name for s in script.shots}) == len(script.shots) <= timing.MAX_SHOTS
    assert script.shots[-1].name == "end"
    assert all(s.seconds > 0 for s in script.shots)
    beat, cut = 60 / script.bpm, 0.0
    if len(script.shots) > 2:
        for shot in script.shots[:-1]:
            cut += shot.seconds
            assert cut / beat == pytest.approx(round(cut / beat), abs=0.01)
        needs = [
            timing.needed_seconds(text, load_pack(key[:2]).words_per_second)
            for shot in script.shots
            for key, text in shot.texts.items()
        ]
        lengths = [shot.seconds for shot in script.shots for _ in shot.texts]
        fits = all(a >= n * HASTE - 0.002 for a, n in zip(lengths, needs, strict=True))
        # A bumper is cut as fast as a bumper is.
        assert fits or len(script.shots) == BUMPER_SHOTS
    if brief.length_seconds <= 100 and beat < 1:
        assert max(s.seconds for s in script.shots) <= timing.LONGEST + beat + 1e-6


@settings(max_examples=150, deadline=None)
@given(briefs(), st.integers(0, 5))
def test_every_locale_and_variant_has_its_words_and_none_is_invented(
    brief: Brief, seed: int
) -> None:
    script = write_script(brief, seed)
    allowed = allowed_figures(brief)
    for locale in brief.locales:
        numbers = load_pack(locale[:2]).numbers
        given_words = {numbers.get(f"{f.value:g}", "") for f in brief.product.facts}
        claims = {w for value, w in numbers.items() if float(value) > 1} - given_words - {"sei"}
        for shot in script.shots:
            assert locale in shot.texts
        for text in shown(script, locale):
            check_line(text, "text")
            assert figures(text) <= allowed, text
            assert not claims & set(text.casefold().split()), text
            assert "{" not in text


@settings(max_examples=100, deadline=None)
@given(briefs())
def test_a_banned_word_is_never_said(brief: Brief) -> None:
    banned = [word.casefold() for word in brief.brand.banned_words]
    script = write_script(brief, 0)
    for locale in brief.locales:
        for shot in script.shots:
            for letter in script.variants:
                text = shot.text(locale, letter)
                assert not is_banned(f"{text.headline} {text.voice}", banned)


@settings(max_examples=150, deadline=None)
@given(briefs(), st.integers(0, 5))
def test_copy_stays_within_every_platforms_limits(brief: Brief, seed: int) -> None:
    allowed = allowed_figures(brief)
    for locale in brief.locales:
        deck = write_deck(brief, locale, seed)
        assert [p.placement for p in deck.placements] == brief.placements
        for place in deck.placements:
            assert_within(place)
            for _, text in values(place):
                check_line(text, "copy")
                assert figures(text) <= allowed | figures(place.placement), text


def assert_within(place: PlacementCopy) -> None:
    limits = limits_of(place.placement)
    assert 0 < len(place.primary_text) <= limits.primary
    assert 0 < len(place.headline) <= limits.headline
    assert len(place.description) <= limits.description
    assert len(place.hashtags) <= limits.tags
    assert all(re.fullmatch(r"#\w+", tag) for tag in place.hashtags)
    assert place.call_to_action
    assert place.alt_text


@settings(max_examples=60, deadline=None)
@given(briefs())
def test_the_deck_opens_as_the_film_does(brief: Brief) -> None:
    script = write_script(brief, 3)
    for locale in brief.locales:
        deck: CopyDeck = write_deck(brief, locale, 3)
        hook = script.shots[0].text(locale, "a").headline
        assert deck.placements[0].primary_text.startswith(hook[:20])
        assert deck_as_markdown(deck, brief).startswith("# ")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(1.8, 4.0), min_size=1, max_size=10),
    st.floats(6, 120),
    st.floats(40, 220),
)
def test_a_schedule_is_exact_or_refused(needs: list[float], seconds: float, bpm: float) -> None:
    lengths = timing.schedule(needs, seconds, bpm)
    if lengths is None:
        beat = 60 / bpm
        assert sum(needs) + len(needs) * beat > seconds
        return
    assert sum(lengths) == pytest.approx(seconds, abs=0.002)
    assert all(a >= n - 0.002 for a, n in zip(lengths, needs, strict=True))
