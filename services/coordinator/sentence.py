"""One plain sentence becomes a brief: who, what, for whom, how long, what is offered. Pure.

Nothing is invented: what the sentence does not say stays out, and only the settings that every
campaign needs (placements, colours, a button) are chosen, always the same for the same words.
"""

from __future__ import annotations

import re
from itertools import takewhile

import msgspec

from contracts.brief import (
    MAX_SECONDS,
    MIN_SECONDS,
    Brand,
    Brief,
    Form,
    Product,
)
from contracts.errors import InvalidRequestError
from contracts.text import check_line
from services.coordinator import wording
from services.coordinator.palettes import palette_for

PLACEMENTS = (
    "instagram_reel",
    "instagram_feed",
    "youtube_instream",
    "linkedin_feed",
    "display_300x250",
)
MUSIC = "warm, forward, 100 bpm"
_SHORT, _LINE = 60, 120

_SECONDS = re.compile(
    r"\b(\d{1,4}(?:[.,]\d+)?)[\s-]*"
    r"(?:seconds?|secs?|s|sekunden|sekündiger?|secondes?|segundos?|secondi|seconden|ثانية|ثوان)\b",
    re.IGNORECASE,
)
_NAME_WORD = (
    r"[^\W\d_a-z][\w'\u2019&.-]*"  # begins with a capital, or with a letter that has no case
)
_NAME = rf"{_NAME_WORD}(?:\s+(?:{_NAME_WORD}|&|\d+))*"
_QUOTED = re.compile(r"[\"“„«]([^\"”“»]{1,60})[\"”“»]")
_AFTER_FOR = re.compile(rf"(?:\b(?i:{wording.FOR})|,|:)\s+(?:(?i:{wording.ARTICLES})\s+)?({_NAME})")
_LEADING = re.compile(rf"^\s*({_NAME})\s*(?:[,:]|\s[\u2013\u2014-]\s|\s(?i:is|ist|est|es|è)\s)")
_WHAT = re.compile(
    rf"^\s*(?:[,:\u2013\u2014-]|(?i:is|ist|est|es|è|are))\s*(?:(?i:{wording.ARTICLES})\s+)?"
    rf"(.+?)(?=\s+(?i:{wording.FOR}|{wording.WHO})\s|[,;:!?]|\.(?:\s|$)|$)"
)
_AUDIENCE = re.compile(
    r"\b(?:for|für|pour|para|per|voor)\s+((?!\d)[^\W\d_].+?)(?=[,;:!?]|\.(?:\s|$)|$)",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_OFFER = re.compile(wording.OFFER, re.IGNORECASE)
_OFF_WHAT = re.compile(r"\boff\s+(?:the|your)\s+(.+)", re.IGNORECASE)
_DOMAIN = re.compile(r"\b(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,24})(/[^\s,;]*)?\b", re.IGNORECASE)
_WORDS = re.compile(r"[\w-]+")
_ARABIC = re.compile(r"[\u0600-\u06ff]")


class _Named(msgspec.Struct, frozen=True):
    """The name, and the text behind it."""

    name: str
    rest: str


def brief_from_sentence(sentence: str, campaign: str) -> Brief:
    """Return the brief that a sentence describes; raise InvalidRequestError if it names nothing."""
    text = " ".join(sentence.split())
    check_line(text, "brief")
    language = language_of(text)
    named = _named(text)
    what = _what(named)
    noun = _noun(what)
    name = f"{named.name} {noun}" if noun else named.name
    offer = _offer(text, named.name)
    return Brief(
        campaign=campaign,
        brand=Brand(name=named.name, palette=palette_for(named.name)),
        product=Product(
            name=name[:_SHORT], what=what or named.name, form=form_of(text), url=_url(text)
        ),
        placements=list(PLACEMENTS),
        locales=[wording.LOCALES[language]],
        audience=_audience(named, what),
        offer=offer,
        call_to_action=_call(offer, language),
        length_seconds=_seconds(text),
        music=MUSIC,
    )


def language_of(text: str) -> str:
    """Guess the language by its small words; English if nothing speaks for another."""
    if _ARABIC.search(text):
        return "ar"
    words = [w.lower() for w in _WORDS.findall(text)]
    scores = {
        language: sum(word in known for word in words)
        for language, known in wording.FUNCTION_WORDS.items()
    }
    best = max(scores, key=lambda language: (scores[language], language == "en"))
    return best if scores[best] else "en"


def form_of(text: str) -> Form:
    """Return the product's form: the one that is named, else the one such products come in."""
    words = {w.lower() for w in _WORDS.findall(text)}
    for table in (wording.MADE_OF, wording.KEPT_IN):
        for form, known in table.items():
            if words & known:
                return form
    return Form.SERVICE


def _named(text: str) -> _Named:
    quoted = _QUOTED.search(text)
    if quoted:
        return _Named(quoted[1].strip(), text[quoted.end() :])
    for found in (_LEADING.match(text), *_AFTER_FOR.finditer(text)):
        if found is None:
            continue
        name = _without_verbs(found[1])
        if name:
            return _Named(name[:_SHORT], text[found.end(1) :])
    raise InvalidRequestError(
        "brief: no brand or product name found; name it with a capital letter, as in "
        "'A 15-second spot for Kestrel, a canned cold brew'",
        field="brief",
    )


def _without_verbs(found: str) -> str:
    """Return the name without words such as `Promote` that stand capitalised before it."""
    words = found.strip(" .'\u2019-").split()
    while words and words[0].lower().strip(".") in wording.TRADE_WORDS:
        words.pop(0)
    return " ".join(words)


def _what(named: _Named) -> str:
    found = _WHAT.match(named.rest)
    words = found[1].strip(" .").split() if found else []
    while words and words[-1].lower() in wording.BEFORE_A_PLACE:
        words.pop()
    return " ".join(words)[:_LINE]


def _noun(what: str) -> str:
    """Return what the product is called for short: `canned cold brew` -> `Cold Brew`."""
    named = takewhile(lambda w: w.lower() not in wording.BEFORE_A_PLACE, what.split())
    words = [w for w in named if w.lower() not in wording.PACKED]
    if not words or len(words) > 3 or not all(w.replace("-", "").isalpha() for w in words):  # noqa: PLR2004 - longer is a description, no name
        return ""
    return " ".join(w[:1].upper() + w[1:] for w in words)


def _audience(named: _Named, what: str) -> str:
    rest = named.rest
    if what:
        rest = rest.partition(what)[2]
    found = _AUDIENCE.search(rest)
    if found is None or _OFFER.search(found[1]):
        return ""
    return found[1].strip()[:_LINE]


def _offer(text: str, name: str) -> str:
    """Return the last sentence, else the last clause, that offers something."""
    sentences = [p for p in _SENTENCES.split(text) if name not in p]
    clauses = re.split(r"[,;]", text)[1:]
    for part in [*sentences[::-1], *clauses[::-1]]:
        if _OFFER.search(part) and not _SECONDS.search(part):
            return part.strip(" .!")[:_LINE]
    return ""


def _call(offer: str, language: str) -> str:
    found = _OFF_WHAT.search(offer)
    if language == "en" and found:
        call = f"Get the {found[1].strip(' .!')}"
        if len(call) <= 28:  # noqa: PLR2004 - what a button holds on one line
            return call
    return wording.OFFER_CALLS[language] if offer else wording.CALLS[language]


def _seconds(text: str) -> float:
    found = _SECONDS.search(text)
    if found is None:
        return 15.0
    seconds = float(found[1].replace(",", "."))
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise InvalidRequestError(
            f"brief: {found[0]} is no length for a film; allowed are {MIN_SECONDS} to "
            f"{MAX_SECONDS} seconds",
            field="brief",
        )
    return seconds


def _url(text: str) -> str:
    found = _DOMAIN.search(text)
    return f"https://{found[1].lower()}{found[2] or ''}" if found else ""
