"""What each text request gets to see of the brief: only what its words depend on.

What is left out cannot make a step run again: a new budget, a second picture or another size
changes no word, and a German headline changes no French copy.
"""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.brief import Brief, Edit, Palette, Variants, localized, named_shots

ANY_CAMPAIGN = "campaign"
"""Stands for the id, so that equal briefs of two campaigns share their words."""

DEFAULT_SECONDS = 15.0
_NOT_TOLD = "-"
DEFAULT_MUSIC = ""


def for_script(brief: Brief) -> Brief:
    """Return the brief as the script depends on it: all words, no looks, no files, no money.

    Of edits, restyling and people there is left that the script must have their shots.
    """
    return msgspec.structs.replace(
        brief,
        campaign=ANY_CAMPAIGN,
        brand=msgspec.structs.replace(brief.brand, palette=Palette()),
        budget=None,
        assets=[],
        edits=[Edit(of=shot, instruction=_NOT_TOLD) for shot in named_shots(brief)],
        restyle="",
        people=[],
        scale=1.0,
        seed=0,
    )


def for_copy(brief: Brief, locale: str) -> Brief:
    """Return the brief as one locale's copy deck depends on it: that locale's words alone."""
    plain = for_script(brief)
    return msgspec.structs.replace(
        plain,
        brand=_in_locale(plain.brand, locale, ("name", "tagline", "voice", "legal")),
        product=msgspec.structs.replace(
            _in_locale(plain.product, locale, ("name", "what")),
            facts=[_in_locale(fact, locale, ("label",)) for fact in plain.product.facts],
        ),
        audience=localized(plain.audience, locale),
        objective=localized(plain.objective, locale),
        offer=localized(plain.offer, locale),
        call_to_action=localized(plain.call_to_action, locale),
        locales=[locale],
        headlines={},
        edits=[],
        length_seconds=DEFAULT_SECONDS,
        variants=Variants(),
        music=DEFAULT_MUSIC,
    )


def _in_locale(part: Any, locale: str, fields: tuple[str, ...]) -> Any:  # noqa: ANN401 - any part
    return msgspec.structs.replace(
        part, **{name: localized(getattr(part, name), locale) for name in fields}
    )
