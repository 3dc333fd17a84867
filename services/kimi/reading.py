"""A brief as the writer of one locale reads it; and what is refused before anything is written."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from contracts.brief import Brief, localized
from contracts.errors import InvalidRequestError
from contracts.locale import check_locale, language_of
from contracts.script import Stat
from media.script import numbers
from media.script.storyboard import KINDS
from media.script.typography import typeset
from media.script.words import is_banned, shown_address


class Manner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """languages.toml: how a language is spoken, and what may not be claimed in it."""

    words_per_second: float
    buttons: list[str]
    claims: list[str]
    manner: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the brief says in one locale, in its typography; "" where it says nothing."""

    locale: str
    manner: Manner
    brand: str
    product: str
    what: str
    tagline: str
    offer: str
    call: str
    url: str
    legal: str
    voice: str
    audience: str
    objective: str
    stats: list[Stat]
    amounts: list[str]

    @property
    def language(self) -> str:
        """The language subtag."""
        return language_of(self.locale)

    @property
    def texts(self) -> list[str]:
        """Everything that the brief itself says here: what may be quoted."""
        own = [self.brand, self.product, self.what, self.tagline, self.offer, self.call, self.url]
        own += [self.legal, self.voice, self.audience, self.objective, *self.amounts]
        own += [f"{stat.value} {stat.unit} {stat.label}" for stat in self.stats]
        return [text for text in own if text]


@cache
def manners() -> dict[str, Manner]:
    """Return languages.toml."""
    text = resources.files(__package__).joinpath("languages.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=dict[str, Manner])


def read(brief: Brief, locale: str) -> Reading:
    """Read the brief for a locale; raise InvalidRequestError for an unknown one."""
    check_locale(locale, "locales")
    language = language_of(locale)

    def own(text: str | dict[str, str]) -> str:
        return typeset(localized(text, locale).strip(), language)

    brand, product = own(brief.brand.name), own(brief.product.name)
    if not brand or not product:
        field = "brand.name" if not brand else "product.name"
        raise InvalidRequestError(f"{field} has no text for {locale}", field=field)
    facts = brief.product.facts
    return Reading(
        locale=locale,
        manner=manners()[language],
        brand=brand,
        product=product,
        what=own(brief.product.what),
        tagline=own(brief.brand.tagline),
        offer=own(brief.offer),
        call=own(brief.call_to_action),
        url=shown_address(brief.product.url),
        legal=own(brief.brand.legal),
        voice=own(brief.brand.voice),
        audience=own(brief.audience),
        objective=own(brief.objective),
        stats=[numbers.stat(fact, locale) for fact in facts],
        amounts=[
            f"{numbers.amount(f, locale)} {localized(f.label, locale)}".strip() for f in facts
        ],
    )


def banned_of(brief: Brief) -> list[str]:
    """Return the words that the brand forbids, folded."""
    return [word.strip().casefold() for word in brief.brand.banned_words if word.strip()]


def check(brief: Brief, reading: Reading) -> None:
    """Refuse a brief that no script can be written to, naming the field."""
    unknown = sorted(set(brief.headlines) - set(KINDS))
    if unknown:
        raise InvalidRequestError(
            f"headlines.{unknown[0]} names no shot; shots are {', '.join(KINDS)}",
            field=f"headlines.{unknown[0]}",
        )
    own = {
        "brand.name": reading.brand,
        "brand.tagline": reading.tagline,
        "brand.legal": reading.legal,
        "product.name": reading.product,
        "offer": reading.offer,
        "call_to_action": reading.call,
    }
    own |= {f"headlines.{n}": localized(t, reading.locale) for n, t in brief.headlines.items()}
    for field, text in own.items():
        if is_banned(text, banned_of(brief)):
            raise InvalidRequestError(
                f"{field} holds a word that brand.banned_words forbids", field=field
            )
