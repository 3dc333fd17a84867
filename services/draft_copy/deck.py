"""Brief -> copy deck: what is typed into each ad manager, within its limits."""

from __future__ import annotations

import re

import msgspec

from contracts.brief import Brief, localized
from contracts.script import CopyDeck, PlacementCopy
from media.script.limits import cut, limits_of
from media.script.words import is_banned
from services.draft_copy import voices
from services.draft_copy.reading import Reading, read


class _Words(msgspec.Struct, frozen=True):
    """What a locale's deck is put together from."""

    hook: str
    turn: str
    product_line: str
    tagline: str
    facts: str
    offer: str


def write_deck(brief: Brief, locale: str, seed: int) -> CopyDeck:
    """Write one locale's deck; the same brief and seed say what the script says."""
    reading = read(brief, locale)
    voices.check_banned(brief, reading)
    chosen = voices.pick(reading, brief, seed)
    hook = voices.write_shot("hook", reading, brief, chosen, 0).headline
    turn = voices.write_shot("promise", reading, brief, chosen, 0).headline
    product_line = voices.write_shot("product", reading, brief, chosen, 0).headline
    facts = reading.pack.deck["facts"].replace("{facts}", " · ".join(reading.amounts[:3]))
    words = _Words(
        hook=hook,
        turn=turn,
        product_line=product_line,
        tagline=localized(brief.headlines.get("end", ""), locale) or reading.tagline,
        facts=facts if reading.amounts and not is_banned(facts, reading.banned) else "",
        offer=_sentence(reading.offer),
    )
    return CopyDeck(
        locale=locale,
        placements=[_placement(name, words, reading) for name in brief.placements],
    )


def _placement(name: str, words: _Words, reading: Reading) -> PlacementCopy:
    limits = limits_of(name)
    tags = _hashtags(reading)[: limits.tags]
    primary = _joined(words, limits.primary)
    headline = _first([words.tagline, words.hook, reading.product, reading.brand], limits.headline)
    description = _first(
        [
            d
            for d in (reading.offer, reading.what, words.turn, reading.product, reading.brand)
            if d != headline
        ],
        limits.description,
    )
    return PlacementCopy(
        placement=name,
        primary_text=primary,
        headline=headline,
        description=description,
        call_to_action=reading.pack.buttons[reading.aim],
        hashtags=tags,
        alt_text=_alt(words, reading),
    )


def _joined(words: _Words, limit: int) -> str:
    """Return as much as fits, in the order in which it is told; the offer has room before colour.

    The hook always stays, cut if need be.
    """
    told = [words.hook, words.turn, words.product_line, words.facts, words.offer]
    kept = [cut(words.hook, limit)]
    for piece in (words.turn, words.offer, words.product_line, words.facts):
        if piece and piece not in kept and len(" ".join([*kept, piece])) <= limit:
            kept.append(piece)
    return " ".join([kept[0], *(p for p in dict.fromkeys(told[1:]) if p in kept[1:])])


def _first(options: list[str], limit: int) -> str:
    """Return the first text that fits whole, or the last one cut; nothing where no field is."""
    if limit == 0:
        return ""
    whole = (text for text in options if text and len(text) <= limit)
    return next(whole, "") or cut(options[-1], limit)


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?؟…" else f"{text}."


def _hashtags(reading: Reading) -> list[str]:
    """Return brand and product as hashtags: words joined, each with its capital."""
    tags = []
    # A tagline with an elision makes no readable tag.
    tagline = "" if "\N{RIGHT SINGLE QUOTATION MARK}" in reading.tagline else reading.tagline
    for name in (reading.brand, reading.product, tagline):
        parts = [
            re.sub(r"[^\w]", "", part)
            for part in re.split(r"[\s\N{RIGHT SINGLE QUOTATION MARK}'-]+", name)
        ]
        joiner = "_" if reading.language == "ar" else ""
        tag = joiner.join(p[:1].upper() + p[1:] for p in parts if p)
        if tag and not tag.isdigit() and len(tag) <= 30:  # noqa: PLR2004 - longer is not read
            tags.append(f"#{tag}")
    return list(dict.fromkeys(tags))


def _alt(words: _Words, reading: Reading) -> str:
    """Return the picture's alternative text: what it is an ad for, and the words in it."""
    pack = reading.pack
    shown = pack.alt
    for slot, value in {
        "brand": reading.brand,
        "product": reading.product,
        "headline": words.hook,
    }.items():
        shown = shown.replace(f"{{{slot}}}", value)
    return cut(f"{shown} {reading.what}." if reading.what else shown, 300)
