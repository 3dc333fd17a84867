"""What a campaign asks of its words beyond their shape: the brand's rules, claims, repetition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from contracts.brief import Brief
from contracts.errors import InvalidInputError
from contracts.text import check_line, strings
from media.script.words import is_banned
from services.kimi.reading import Reading, banned_of

_LOCALE = re.compile(r"(?:\A|[.])([a-z]{2}-[A-Z]{2})(?:~[a-z])?(?=[.]|\Z)")


def line_problems(answer: Any, brief: Brief, readings: list[Reading]) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Yield what is wrong with single lines: unprintable, banned, or a claim that nobody checked.

    A line belongs to the locale that its place names, else to the only reading there is.
    """
    by_locale = {reading.locale: reading for reading in readings}
    banned = banned_of(brief)
    for where, text in strings(answer):
        try:
            check_line(text, f"$.{where}")
        except InvalidInputError as error:
            yield error.message
        if is_banned(text, banned):
            found = sorted(word for word in banned if is_banned(text, [word]))
            yield f"$.{where} holds a word that the brand forbids: {', '.join(found)}"
        named = _LOCALE.search(where)
        reading = by_locale.get(named[1]) if named else readings[0] if len(readings) == 1 else None
        if reading is not None and not where.endswith("prompt"):
            for claim in unproven(text, reading):
                yield f"$.{where} claims something that the brief does not: {claim!r}"


def unproven(text: str, reading: Reading) -> list[str]:
    """Return the claims of a text that the brief itself does not make, as they stand in it."""
    own = " ".join(reading.texts).casefold()
    found = []
    for claim in reading.manner.claims:
        match = _claim(claim, reading.language).search(text.casefold())
        if match is not None and not _claim(claim, reading.language).search(own):
            found.append(match.group())
    return found


def _claim(claim: str, language: str) -> re.Pattern[str]:
    """Return the expression of a claim: the word's beginning, or with `|` the whole word."""
    word = re.escape(claim.removesuffix("|").casefold())
    if language == "ar":  # articles and prepositions are written together with the word
        return re.compile(rf"\w*{word}\w*")
    return re.compile(rf"(?<!\w){word}(?!\w)" if claim.endswith("|") else rf"(?<!\w){word}\w*")


def repetitions(lines: dict[str, str]) -> Iterator[str]:
    """Yield the places whose line, by its place, says what another one has said already."""
    said: dict[str, str] = {}
    for where, text in lines.items():
        bare = "".join(c for c in text.casefold() if c.isalnum())
        if bare in said:
            yield f"{where} repeats {said[bare]} word for word"
        else:
            said[bare] = where
