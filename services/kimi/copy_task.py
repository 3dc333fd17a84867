"""One locale's copy deck: every placement's fields within what its ad manager takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from contracts.brief import Brief
from contracts.errors import InvalidRequestError, ModelFailedError
from contracts.locale import LANGUAGES
from contracts.script import CopyDeck, PlacementCopy
from media.script.limits import limits_of
from services.kimi import prompt, rules, schema, wording
from services.kimi.board import line
from services.kimi.prompt import Message
from services.kimi.reading import Reading, check, read
from services.kimi.schema import Schema

ALT_LIMIT = 200
HASHTAG_LIMIT = 30
"""A longer one is not read."""


class CopyTask:
    """The deck of one of the brief's locales."""

    name = "copy"

    def __init__(self, brief: Brief, locale: str) -> None:
        if locale not in brief.locales:
            raise InvalidRequestError(
                f"locale {locale[:20]!r} is not one of the brief's", field="locale"
            )
        self._brief = brief
        self._reading = read(brief, locale)
        check(brief, self._reading)
        self.schema = schema.mapping(
            {"placements": schema.mapping({p: _fields(p, self._reading) for p in brief.placements})}
        )

    def opening(self) -> list[Message]:
        """Return the conversation so far."""
        reading = self._reading
        return prompt.opening(
            "copy",
            locale=reading.locale,
            language=LANGUAGES[reading.language],
            brief=prompt.brief_text(self._brief, [reading]),
            manners=reading.manner.manner,
            brand=reading.brand,
            product=reading.product,
            outline=msgspec.json.encode(schema.outline(self.schema)).decode(),
        )

    def problems(self, answer: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
        """Yield what is wrong with an answer that has passed the schema."""
        yield from rules.line_problems(answer, self._brief, [self._reading])

    def made(self, answer: Any) -> CopyDeck:  # noqa: ANN401 - any JSON
        """Return the deck. Raises ModelFailedError if the contract does not take it."""
        written = answer["placements"]
        deck = {
            "type": "copy_deck.v1",
            "locale": self._reading.locale,
            "placements": [{"placement": p, **written[p]} for p in self._brief.placements],
        }
        try:
            return msgspec.convert(deck, CopyDeck)
        except msgspec.ValidationError as error:
            raise ModelFailedError(f"the copy deck breaks its contract: {error}") from None


def _fields(placement: str, reading: Reading) -> Schema:
    limits = limits_of(placement)
    fields = {
        "primary_text": line(reading, limits.primary),
        "headline": line(reading, limits.headline),
        "call_to_action": schema.choice(reading.manner.buttons),
        "alt_text": line(reading, ALT_LIMIT),
    }
    if limits.description:
        fields["description"] = line(reading, limits.description)
    if limits.tags:
        tag = schema.text(HASHTAG_LIMIT, wording.hashtag(reading.language), "a # and letters")
        fields["hashtags"] = schema.several(tag, limits.tags)
    return schema.narrow(PlacementCopy, **fields)
