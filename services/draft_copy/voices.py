"""The words of one locale's shots: one text by shot name for every variant."""

from __future__ import annotations

import msgspec

from contracts.brief import Brief, localized
from contracts.errors import InvalidRequestError
from contracts.script import EndCard, ShotText
from media.script.words import is_banned
from services.draft_copy import choose
from services.draft_copy.pack import Line, Story
from services.draft_copy.reading import Reading

LETTERS = "abcd"
MAX_STATS = 3
"""More figures than this cannot be set side by side in a square."""


class Chosen(msgspec.Struct, frozen=True):
    """The lines of one locale: a story for each variant, and one line for each further shot."""

    stories: list[Story]
    lines: dict[str, Line]


_POOLS = (
    ("product", "product"),
    ("proof", "proof"),
    ("life", "life"),
    ("tension", "tension"),
    ("detail", "product"),
    ("moment", "life"),
)


def pick(reading: Reading, brief: Brief, seed: int) -> Chosen:
    """Choose the locale's lines; no line is used twice, and none repeats the tagline."""
    said = {_bare(reading.tagline), ""} | {
        _bare(localized(text, reading.locale)) for text in brief.headlines.values()
    }
    fallback = Story(reading.tagline or reading.product, reading.product)
    ranked = [s for s in choose.stories(reading, seed) if _bare(s.hook) not in said] or [fallback]
    count = brief.variants.hooks
    picked = [ranked[i % len(ranked)] for i in range(count)]
    said |= {_bare(text) for story in picked for text in (story.hook, story.turn)}
    lines: dict[str, Line] = {}
    for shot, pool in _POOLS:
        options = choose.lines(reading, pool, seed)
        fresh = [line for line in options if _bare(line.text) not in said]
        lines[shot] = fresh[0] if fresh else Line(reading.product)
        said.add(_bare(lines[shot].text))
    return Chosen(picked, lines)


def write_shot(name: str, reading: Reading, brief: Brief, chosen: Chosen, variant: int) -> ShotText:
    """Return what a shot shows and says; a headline set by hand stands as it was typed."""
    text = _written(name, reading, chosen, variant)
    by_hand = localized(brief.headlines.get(name, ""), reading.locale)
    if not by_hand:
        return text
    return msgspec.structs.replace(text, headline=by_hand, voice=by_hand)


def _written(name: str, reading: Reading, chosen: Chosen, variant: int) -> ShotText:
    story = chosen.stories[variant]
    text = ShotText()
    match name.rstrip("0123456789"):
        case "hook":
            voice = story.say_hook or story.hook
            text = ShotText(kicker=reading.kicker, headline=story.hook, voice=voice)
        case "promise":
            text = ShotText(headline=story.turn, voice=story.say_turn or story.turn)
        case "offer":
            kicker = reading.pack.offer_shot
            kicker = "" if is_banned(kicker, reading.banned) else kicker
            text = ShotText(kicker=kicker, headline=reading.offer, voice=reading.offer)
        case "end":
            text = _end(reading)
        case "figure":
            text = ShotText(kicker=reading.product, stats=[reading.stats[int(name[6:]) - 1]])
        case shot if shot in chosen.lines:
            text = _plain(name, chosen.lines[name], reading)
    return text


def _plain(name: str, line: Line, reading: Reading) -> ShotText:
    text = ShotText(headline=line.text, voice=line.say or line.text)
    if name == "proof":
        return msgspec.structs.replace(text, stats=reading.stats[:MAX_STATS])
    if name == "product":
        return msgspec.structs.replace(text, kicker=reading.product, support=reading.what)
    return text


def _end(reading: Reading) -> ShotText:
    headline = reading.tagline or reading.product or reading.brand
    spoken = [f"{reading.brand}." if reading.brand[-1:].isalnum() else reading.brand]
    closing = reading.tagline or reading.call
    if _bare(reading.brand) in _bare(closing):
        spoken = []
    spoken.append(closing if closing[-1:] in ".!?؟…" else f"{closing}.")
    return ShotText(
        kicker=reading.brand if headline != reading.brand else "",
        headline=headline,
        support=reading.offer,
        voice=" ".join(spoken),
    )


def end_card(reading: Reading, brief: Brief) -> EndCard:
    """Return what the locale's end card says; a headline for `end` set by hand is its tagline."""
    by_hand = localized(brief.headlines.get("end", ""), reading.locale)
    return EndCard(
        brand=reading.brand,
        tagline=by_hand or reading.tagline,
        offer=reading.offer,
        call_to_action=reading.call,
        url=reading.url,
        legal=reading.legal,
    )


def check_banned(brief: Brief, reading: Reading) -> None:
    """Refuse a brief whose own words are among those that it forbids."""
    own = {
        "brand.name": reading.brand,
        "brand.tagline": reading.tagline,
        "brand.legal": reading.legal,
        "product.name": reading.product,
        "offer": reading.offer,
        "call_to_action": localized(brief.call_to_action, reading.locale),
    }
    own |= {f"headlines.{n}": localized(t, reading.locale) for n, t in brief.headlines.items()}
    own |= {
        f"product.facts[{i}].label": localized(fact.label, reading.locale)
        for i, fact in enumerate(brief.product.facts)
    }
    for field, text in own.items():
        if is_banned(text, reading.banned):
            raise InvalidRequestError(
                f"{field} holds a word that brand.banned_words forbids", field=field
            )


def _bare(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
