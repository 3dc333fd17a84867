"""What a brief's words tell: its category, its tone, its aim, the topics of its facts."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib import resources

import msgspec

from contracts.brief import Brief, Form, localized

_SEPARATORS = re.compile(r"[\s.,;:!?/()\"«»„“”'’|+&]+")  # noqa: RUF001 - people type curly apostrophes


class WorldWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A category, the words that tell of it, and where its further lines come from."""

    name: str
    leans: list[str]
    words: list[str]


class Keywords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """keywords.toml."""

    world: list[WorldWords]
    tone: dict[str, list[str]]
    aim: dict[str, list[str]]
    topic: dict[str, list[str]]
    trait: dict[str, list[str]]


@cache
def keywords() -> Keywords:
    """Return the keyword table."""
    text = resources.files(__package__).joinpath("keywords.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=Keywords)


def tokens(*texts: str) -> set[str]:
    """Return the words of the texts, folded; compounds and their parts."""
    found: set[str] = set()
    for text in texts:
        for word in _SEPARATORS.split(_folded(text)):
            found.update([word, *re.split(r"[-–]", word)])  # noqa: RUF001 - people join words with an en dash
    return found - {""}


def _words(locale: str, *texts: str | dict[str, str]) -> set[str]:
    return tokens(*(localized(text, locale) for text in texts))


def hits(words: set[str], patterns: list[str]) -> int:
    """Return how many of the words match a pattern (`*` at the end: any ending)."""
    exact = {_folded(p) for p in patterns if not p.endswith("*")}
    stems = tuple(_folded(p[:-1]) for p in patterns if p.endswith("*"))
    return sum(1 for w in words if w in exact or (stems and w.startswith(stems)))


def worlds(brief: Brief, locale: str) -> list[str]:
    """Return the categories to take lines from, the most telling first.

    Only the locale's own words count, here and below: a deck is written from nothing else, and
    must come to the same lines as the script.
    """
    product = _words(locale, brief.product.what, brief.product.name)
    everybody = product | _words(locale, brief.audience, brief.objective)
    found = []
    for order, world in enumerate(keywords().world):
        # A season is told by whom it is for; everything else by what is sold.
        count = hits(everybody if world.name == "iftar" else product, world.words)
        if count:
            found.append((world.name != "iftar", -count, order, world))
    matches = [entry[-1] for entry in sorted(found, key=lambda e: e[:3])]
    chain = [world.name for world in matches[:3]]
    for world in matches[:1]:
        chain.extend(world.leans)
    chain.append("service" if brief.product.form is Form.SERVICE else "product")
    chain.append("any")
    # What cannot be touched is never sold with the lines of things, nor the other way round.
    unfit = "product" if brief.product.form is Form.SERVICE else "service"
    return [name for name in dict.fromkeys(chain) if name != unfit]


def tones(brief: Brief, locale: str) -> set[str]:
    """Return the tones that the brand's voice asks for."""
    words = _words(locale, brief.brand.voice)
    return {tone for tone, patterns in keywords().tone.items() if hits(words, patterns)}


def aim(brief: Brief, locale: str) -> str:
    """Return what the campaign wants people to do: shop, book, signup, talk, download, learn."""
    words = _words(locale, brief.objective)
    return next((a for a, patterns in keywords().aim.items() if hits(words, patterns)), "learn")


def topics(label: str) -> set[str]:
    """Return what a fact is about."""
    words = tokens(label)
    return {topic for topic, patterns in keywords().topic.items() if hits(words, patterns)}


def traits(brief: Brief, locale: str) -> set[str]:
    """Return what the product is, where lines depend on it: for hands, an app."""
    words = _words(locale, brief.product.what, brief.product.name)
    return {trait for trait, patterns in keywords().trait.items() if hits(words, patterns)}


_ROUTE = re.compile(
    r"\b([A-ZÀ-Þ][\w.’'-]+)\s*(?:to|nach|à|a|naar|para|til|→|–|-)\s*([A-ZÀ-Þ][\w.’'-]+)"  # noqa: RUF001 - people write routes with an en dash
)
_BEFORE = re.compile(r"\bbefore ([a-z]+|\d{1,2}(?::\d\d)?)\b")
_HOURS = frozenset(["four", "five", "six", "seven", "eight", "nine", "ten"])


@cache
def _places() -> dict[str, dict[str, str]]:
    text = resources.files(__package__).joinpath("places.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=dict[str, dict[str, str]])


def route(brief: Brief, locale: str) -> tuple[str, str] | None:
    """Return where a journey begins and ends, as people of the locale see and call it.

    A fact's label that names only the far end turns it round: `from Paris` is for Parisians.
    """
    match = _ROUTE.search(localized(brief.product.what, locale)) or _ROUTE.search(
        localized(brief.product.name, locale)
    )
    if match is None:
        return None
    language = locale.partition("-")[0]
    start, end = (_places().get(c, {}).get(language, c) for c in match.groups())
    if language == "ar" and any(c.isascii() for c in start + end):
        return None
    labels = " ".join(localized(fact.label, locale) for fact in brief.product.facts)
    if end in labels and start not in labels:
        start, end = end, start
    return start, end


def before(brief: Brief, locale: str) -> str:
    """Return the hour of `before seven` in an English brief's audience, or nothing."""
    match = _BEFORE.search(localized(brief.audience, locale))
    if match is None or not locale.startswith("en"):
        return ""
    return match[1] if match[1] in _HOURS or match[1][0].isdigit() else ""


def _folded(text: str) -> str:
    """Fold case, and drop Arabic vowel marks, which some write and some do not."""
    plain = unicodedata.normalize("NFC", text.casefold())
    return "".join(c for c in plain if not "\u064b" <= c <= "\u0652")
