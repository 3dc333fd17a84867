"""A brief as one locale's copywriter reads it: names, facts, and what may be said of them."""

from __future__ import annotations

import re

import msgspec

from contracts.brief import Brief, Form, localized
from contracts.errors import InvalidRequestError
from contracts.locale import check_locale, language_of
from contracts.script import Stat
from media.script import numbers
from media.script.typography import typeset
from media.script.words import is_banned, shown_address
from services.draft_copy import signals
from services.draft_copy.pack import Pack, load_pack

_READY = frozenset([Form.CAN, Form.BOTTLE, Form.CUP])
_VOLUME = re.compile(r"\b(\d+(?:[.,]\d+)?)[\s\u00a0]?(ml|cl|l|g|kg|oz)\b", re.IGNORECASE)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one locale's lines are made from. `keys` are the facts that lines may `need`; `slots`
    what stands in for `{names}` in them; `stats` and `amounts` the figures, for show and for text.
    """

    locale: str
    pack: Pack
    brand: str
    product: str
    kicker: str
    what: str
    tagline: str
    offer: str
    call: str
    url: str
    legal: str
    worlds: list[str]
    tones: set[str]
    aim: str
    slots: dict[str, str]
    keys: set[str]
    stats: list[Stat]
    amounts: list[str]
    banned: list[str]

    @property
    def language(self) -> str:
        """The language subtag."""
        return language_of(self.locale)


def read(brief: Brief, locale: str) -> Reading:
    """Read the brief for a locale; raise InvalidRequestError for an unknown one."""
    check_locale(locale, "locale")
    language = language_of(locale)
    pack = load_pack(language, locale.partition("-")[2])

    def own(text: str | dict[str, str]) -> str:
        return typeset(localized(text, locale).strip(), language)

    brand, product = own(brief.brand.name), own(brief.product.name)
    if not brand or not product:
        field = "brand.name" if not brand else "product.name"
        raise InvalidRequestError(f"{field} has no text for {locale}", field=field)
    aim = signals.aim(brief, locale)
    banned = [word.casefold() for word in brief.brand.banned_words]
    facts = brief.product.facts
    what = own(brief.product.what) if _speaks(brief.product.what, brief, language) else ""
    slots = {"brand": brand, "product": product} | _slots(brief, locale, pack)
    return Reading(
        locale=locale,
        pack=pack,
        brand=brand,
        product=product,
        kicker=_kicker(brief, brand, product, locale),
        what=""
        if is_banned(what, banned) or what.casefold() in product.casefold()
        else _begun(what),
        tagline=own(brief.brand.tagline),
        offer=own(brief.offer),
        call=own(brief.call_to_action) or _call(pack, aim, brand, banned),
        url=shown_address(brief.product.url),
        legal=own(brief.brand.legal),
        worlds=signals.worlds(brief, locale),
        tones=signals.tones(brief, locale),
        aim=aim,
        slots=slots,
        keys=set(slots) | _keys(brief, locale),
        stats=[numbers.stat(fact, locale) for fact in facts],
        amounts=[
            f"{numbers.amount(f, locale)} {localized(f.label, locale)}".strip() for f in facts
        ],
        banned=banned,
    )


def _call(pack: Pack, aim: str, brand: str, banned: list[str]) -> str:
    """Return the call to action of the aim; another one where a word of it is banned."""
    calls = [pack.calls[aim], *pack.calls.values(), "{brand}"]
    return next(
        c
        for c in (call.replace("{brand}", brand) for call in calls)
        if not is_banned(c, banned) or c == brand
    )


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]


def _slots(brief: Brief, locale: str, pack: Pack) -> dict[str, str]:
    slots: dict[str, str] = {}
    for fact in brief.product.facts:
        if numbers.is_duration(fact):
            said = numbers.duration(fact, locale, pack.durations, pack.numbers)
            slots |= {
                f"{topic}_time": said for topic in signals.topics(localized(fact.label, locale))
            }
    journey = signals.route(brief, locale)
    if journey is not None:
        slots["from"], slots["to"] = journey
    hour = signals.before(brief, locale)
    if hour:
        slots["before"] = hour
    return slots


def _keys(brief: Brief, locale: str) -> set[str]:
    keys = {str(brief.product.form)} | signals.traits(brief, locale)
    if brief.product.form in _READY:
        keys.add("ready")
    for fact in brief.product.facts:
        for topic in signals.topics(localized(fact.label, locale)):
            keys.add(topic)
            keys |= {f"zero_{topic}"} if fact.value == 0 else set()
            keys |= {f"single_{topic}"} if fact.value == 1 else set()
    return keys


def _kicker(brief: Brief, brand: str, product: str, locale: str) -> str:
    """Return the small line above the first headline: what it is, without the brand, and size."""
    rest = re.sub(rf"(^|\s){re.escape(brand)}(?=\s|$)", " ", product).strip(" -–") or product  # noqa: RUF001 - an en dash between brand and product
    size = _VOLUME.search(localized(brief.product.what, locale))
    if size is None or not rest:
        return rest
    value = numbers.number(float(size[1].replace(",", ".")), locale)
    return f"{rest} / {value}{numbers.NO_BREAK}{numbers.unit_sign(size[2], locale)}"


def _speaks(text: str | dict[str, str], brief: Brief, language: str) -> bool:
    """Say whether a text may be shown to readers of the language: it was given for them, or its
    small words are theirs, or nothing speaks against it in a brief of one language.
    """
    if isinstance(text, dict):
        return True
    words = signals.tokens(text)
    languages = {language_of(locale) for locale in brief.locales}
    scores = {
        name: len(words & set(load_pack(name).common)) for name in languages | {"en", language}
    }
    best = max(scores.values())
    if best == 0:
        return languages == {language} if text.isascii() else language != "en"
    return scores[language] == best and (language == "en" or scores["en"] < best)
