"""The line packs as data: complete in every language, and nothing in them that may not be said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from itertools import product

import msgspec
import pytest

from contracts.locale import LANGUAGES, language_of
from contracts.text import check_line
from media.script.typography import typeset
from media.script.words import is_banned
from services.draft_copy.choose import HEADLINE_LIMIT, shown, texts
from services.draft_copy.pack import Line, Pack, Story, load_pack
from services.draft_copy.signals import keywords

pytestmark = pytest.mark.unit

KINDS = ("tension", "product", "proof", "life")
SLOT = re.compile(r"\{(\w+)\}")
ALWAYS = {"brand", "product"}
HOOKS = 4


def every_line(pack: Pack) -> Iterator[Line | Story]:
    for world in pack.world.values():
        yield from world.stories
        for kind in KINDS:
            yield from getattr(world, kind)


@pytest.fixture(params=[*sorted(LANGUAGES), "de-CH", "es-MX", "pt-PT"])
def locale(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def language(locale: str) -> str:
    return language_of(locale)


@pytest.fixture
def pack(locale: str) -> Pack:
    return load_pack(language_of(locale), locale.partition("-")[2])


def test_every_category_has_its_own_opening_and_product_line(pack: Pack) -> None:
    worlds = [w.name for w in keywords().world] + ["product", "service", "any"]
    assert sorted(pack.world) == sorted(worlds)
    assert all(world.stories for world in pack.world.values())
    assert all(w.product for name, w in pack.world.items() if name != "iftar")


@pytest.mark.parametrize("base", ["product", "service"])
def test_a_brief_of_no_known_category_gets_four_hooks_and_every_kind_of_line(
    pack: Pack, base: str
) -> None:
    hooks = {s.hook for name in (base, "any") for s in pack.world[name].stories if not s.need}
    assert len(hooks) >= HOOKS
    for kind in KINDS:
        assert any(
            not line.need for name in (base, "any") for line in getattr(pack.world[name], kind)
        )


def test_tables_name_the_same_things_in_all_languages(pack: Pack) -> None:
    english = load_pack("en")
    for table in ("calls", "buttons", "deck", "durations"):
        assert getattr(pack, table).keys() == getattr(english, table).keys()


def test_lines_use_only_the_facts_that_they_ask_for(pack: Pack) -> None:
    for line in every_line(pack):
        used = set(SLOT.findall(" ".join(texts(line)))) - ALWAYS
        # A journey's end is known whenever its beginning is.
        assert used - {"to"} <= set(line.need), texts(line)


def test_needs_are_things_that_a_brief_can_satisfy(pack: Pack) -> None:
    topics = keywords().topic
    known = {"from", "to", "before", "ready", *keywords().trait, *topics}
    known |= {"can", "bottle", "jar", "tube", "cup", "box", "service"}
    known |= {f"{a}{b}" for a, b in product(("zero_", "single_"), topics)}
    known |= {f"{topic}_time" for topic in topics}
    for line in every_line(pack):
        assert set(line.need) <= known, texts(line)


def test_tones_are_known(pack: Pack) -> None:
    for line in every_line(pack):
        assert set(line.tone) <= set(keywords().tone), texts(line)


def test_no_line_holds_hype_or_a_claim_that_nobody_can_check(pack: Pack) -> None:
    for line in every_line(pack):
        for text in texts(line):
            assert not is_banned(text, pack.never), text


def test_no_line_names_a_figure(pack: Pack, language: str) -> None:
    # `one` and `a` are the same word in most languages; two and more are claims.
    words = {word for value, word in pack.numbers.items() if float(value) > 1}
    words -= {"sei"} if language == "it" else set()  # `you are`
    for line in every_line(pack):
        for text in texts(line):
            assert not re.search(r"\d", text), text
            assert not words & set(re.findall(r"\w+", text.casefold())), text


def test_lines_are_short_enough_to_be_set_big_and_are_printable(pack: Pack) -> None:
    for line in every_line(pack):
        for text in shown(line):
            # What stands in for a slot adds about as much as the slot's own name.
            assert 0 < len(text) <= HEADLINE_LIMIT, text
        for text in texts(line):
            check_line(text, "line")
            assert text == text.strip()
            assert "  " not in text


def test_lines_are_set_in_the_languages_typography(pack: Pack, language: str) -> None:
    for line in every_line(pack):
        for text in texts(line):
            assert "'" not in text
            assert '"' not in text
            if language == "fr":
                assert not re.search(r"[^\u202f«»][?!;:»]", text), text


def test_french_marks_stand_behind_a_narrow_space() -> None:
    assert typeset('Encore ? C\'est "ça" !', "fr") == (
        "Encore\u202f? C’est «\u202fça\u202f»\u202f!"  # noqa: RUF001 - typographic marks are what is tested
    )


def test_possessives_and_quotes_become_typographic() -> None:
    assert typeset("the runners' guide isn't \"new\"", "en") == "the runners’ guide isn’t “new”"  # noqa: RUF001 - typographic marks are what is tested
    assert typeset('er sagte "ja"', "de") == "er sagte „ja“"


def test_arabic_lines_are_arabic() -> None:
    for line in every_line(load_pack("ar")):
        for text in texts(line):
            bare = SLOT.sub("", text)
            assert not re.search(r"[A-Za-z]", bare), text


@pytest.mark.parametrize("name", ["de", "es", "pt"])
def test_every_regional_wording_replaces_something(name: str) -> None:
    text = resources.files("services.draft_copy.packs").joinpath(f"{name}.toml").read_text("utf-8")
    common, _, _ = text.partition("[regional.")
    for wording in msgspec.toml.decode(text)["regional"].values():
        assert all(usual in common for usual in wording)
