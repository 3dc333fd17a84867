"""A copy deck for people: one page of Markdown."""

from __future__ import annotations

import re

from contracts.brief import Brief, localized
from contracts.locale import LANGUAGES, language_of
from contracts.placement import PLACEMENTS
from contracts.script import CopyDeck

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|])")


def deck_as_markdown(deck: CopyDeck, brief: Brief) -> str:
    """Return the deck as Markdown; whatever a person typed is escaped."""
    brand = localized(brief.brand.name, deck.locale)
    language = LANGUAGES[language_of(deck.locale)]
    lines = [f"# {_plain(brand)}: copy, {language} ({deck.locale})", ""]
    for place in deck.placements:
        known = PLACEMENTS.get(place.placement)
        lines += [f"## {known.title if known else _plain(place.placement)}", ""]
        rows = {
            "Primary text": place.primary_text,
            "Headline": place.headline,
            "Description": place.description,
            "Button": place.call_to_action,
            "Hashtags": " ".join(place.hashtags),
            "Alt text": place.alt_text,
        }
        for name, text in rows.items():
            if text:
                lines.append(f"- **{name}** ({len(text)}): {_plain(text)}")
        lines.append("")
    return "\n".join(lines)


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
