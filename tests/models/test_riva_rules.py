"""Riva's voices without a server: where a text is cut, who speaks it, when each word is heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidRequestError
from media.voiceover import written_words
from services.riva.casting import cast
from services.riva.sentence import pieces
from services.riva.speech import SaidWord, Voice
from services.riva.wording import as_told, reckoned, syllables

pytestmark = pytest.mark.contract

TEXTS = st.text(alphabet="ab c.!?,;。، 12é\n", max_size=120)


@given(TEXTS, st.integers(1, 40))
def test_pieces_hold_the_whole_text_and_keep_to_the_limit(text: str, most: int) -> None:
    found = pieces(text, most)
    assert all(0 < len(piece.text) <= most for piece in found)
    assert all(text[p.begin : p.begin + len(p.text)] == p.text for p in found)
    assert "".join("".join(p.text.split()) for p in found) == "".join(text.split())


def test_a_text_is_cut_where_a_speaker_would_breathe() -> None:
    text = 'He said "Go." Then silence, long silence, and rain.'
    assert [p.text for p in pieces(text, 37)] == [
        'He said "Go."',
        "Then silence, long silence, and rain.",
    ]
    assert [p.text for p in pieces(text, 30)] == [
        'He said "Go."',
        "Then silence, long silence,",
        "and rain.",
    ]
    assert [p.text for p in pieces("今日は。明日も。", 5)] == ["今日は。", "明日も。"]
    assert [p.text for p in pieces("abcdef", 4)] == ["abcd", "ef"]


VOICES = [
    Voice(f"M.{locale.upper()}.{name}", locale)
    for locale in ("en-US", "es-US", "de-DE")
    for name in ("Aria.Angry", "Jason", "Aria")
]
KINDS = {"low": ["Ray", "Jason"], "high": ["Aria"]}


@pytest.mark.parametrize(
    ("locale", "wanted", "name"),
    [
        ("en-US", "", "M.EN-US.Aria"),
        ("en-GB", "", "M.EN-US.Aria"),
        ("de-AT", "low", "M.DE-DE.Jason"),
        ("es-MX", "high", "M.ES-US.Aria"),
        ("en-US", "jason", "M.EN-US.Jason"),
        ("en-US", "Aria.Angry", "M.EN-US.Aria.Angry"),
        ("en-US", "M.EN-US.Aria.Angry", "M.EN-US.Aria.Angry"),
    ],
)
def test_a_locale_has_its_voice(locale: str, wanted: str, name: str) -> None:
    assert cast(reversed(VOICES), locale, wanted, KINDS).name == name


@pytest.mark.parametrize(
    ("locale", "wanted", "field"),
    [("sw-KE", "", "locale"), ("e", "", "locale"), ("en-US", "darth", "voice")],
)
def test_a_voice_that_is_not_there_is_refused_with_those_that_are(
    locale: str, wanted: str, field: str
) -> None:
    with pytest.raises(InvalidRequestError, match="there are: ") as caught:
        cast(VOICES, locale, wanted, KINDS)
    assert caught.value.field == field


def test_spoken_words_are_laid_beside_the_written_ones() -> None:
    """`49 %` is spoken as three words: they share what was heard, their neighbours keep theirs."""
    text = "Only 49 % off - today."
    spoken = ["only", "forty", "nine", "percent", "off", "today"]
    said = [SaidWord(word, 100 * n, 100 * n + 90) for n, word in enumerate(spoken)]
    words = as_told(text, "en", said, 1000.0)
    assert words is not None
    assert [text[w.begin : w.end] for w in words] == text.split()
    found = {text[w.begin : w.end]: (w.start_ms, w.end_ms) for w in words}
    assert (found["Only"], found["off"], found["today."]) == ((0, 90), (400, 490), (500, 590))
    assert found["49"][0] == 100
    assert found["49"][1] == found["%"][0]
    assert found["%"][1] == pytest.approx(390)


@pytest.mark.parametrize(
    "said",
    [
        [],
        [SaidWord("a", 50, 40)],
        [SaidWord("a", 0, 90), SaidWord("b", 80, 100)],
        [SaidWord("a", 0, 5000)],
        [SaidWord("a", -1, 50)],
    ],
)
def test_times_that_make_no_sense_are_not_taken(said: list[SaidWord]) -> None:
    assert as_told("a b", "en", said, 1000.0) is None


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("morning", 2),
        ("a", 1),
        ("été", 2),
        ("-", 0),
        ("49", 4),
        ("€5", 4),
        ("朝日", 2),
        ("안녕", 2),
        ("кофе", 2),
    ],
)
def test_syllables_are_counted_about_right(word: str, count: float) -> None:
    assert syllables(word) == count


@given(st.sampled_from(["en", "ja", "ar"]), st.text(min_size=1, max_size=60))
def test_reckoned_words_fill_the_time_in_order(language: str, text: str) -> None:
    words = reckoned(text, language, 100.0, 900.0)
    assert [(w.begin, w.end) for w in words] == written_words(text, language)
    edges = [t for w in words for t in (w.start_ms, w.end_ms)]
    assert edges == sorted(edges)
    assert all(99.9 <= edge <= 900.1 for edge in edges)
