"""What a film of this length asks of its writer: which shots, and how many words in each.

Time is arithmetic, words are the model's. So the shots stand before anything is written; what comes
back is cut to the beat by the same rules as the draft engine's scripts (media/script).
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from importlib import resources

import msgspec

from contracts.brief import Brief, Variants
from contracts.script import EndCard, Shot, ShotText
from media.script import fitting, timing
from media.script.storyboard import (
    BREATH,
    FIGURE,
    KINDS,
    Board,
    by_hand,
    importance,
    kind_of,
    storyboard,
)
from services.kimi import schema, wording
from services.kimi.reading import Reading
from services.kimi.schema import Schema

LETTERS = "abcd"
HEADLINE_LIMIT = 34
"""Longer lines cannot be set big."""
SUPPORT_LIMIT = 60
CALL_LIMIT = 24
IDEA_LIMIT = 200
_LEAST_HEADLINE, _LEAST_VOICE, _MOST_VOICE = 24, 24, 140
_CHARACTERS_PER_WORD = 7
_READ_PER_SECOND, _SEEN_SECONDS, _BREATH_SECONDS = 15.0, 0.8, 0.45
"""As media/script/timing.py counts: characters read, a first glance, the breath after a line."""
_WORDED = frozenset(KINDS) - {"offer", "end"}
"""Shots that the model writes; the offer and the end card are the brief's own words."""
_OPENINGS = ("hook", "promise")
"""Shots that differ between variants."""


@cache
def scenes() -> dict[str, str]:
    """Return the draft engines' scenes, and what each is good for."""
    text = resources.files(__package__).joinpath("scenes.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=dict[str, str])


class Storyboard:
    """The shots of one brief's film, and what is asked for each."""

    def __init__(self, brief: Brief, readings: list[Reading], prompt_characters: int) -> None:
        self._readings = readings
        self._prompt_characters = prompt_characters
        self._hooks = (brief.variants or Variants()).hooks
        self.bpm, self.mood = timing.tempo(brief.music)
        can = Board(
            figures=len(brief.product.facts),
            has_offer=all(reading.offer for reading in readings),
            by_hand=by_hand(brief),
        )
        self.film = fitting.Film(
            brief.length_seconds,
            self.bpm,
            {r.locale: r.manner.words_per_second for r in readings},
            importance(can),
        )
        self.names = storyboard(timing.shots_for(self.film.seconds, self.bpm), can)

    @property
    def variants(self) -> list[str]:
        """The letters of the hooks."""
        return list(LETTERS[: self._hooks])

    @cached_property
    def _share(self) -> float:
        """How long a shot may last if all last alike; the end card is read longer."""
        shortest = [timing.SHORTEST] * len(self.names)
        planned = timing.schedule(shortest, self.film.seconds, self.bpm)
        return min(planned) if planned else self.film.seconds / len(self.names)

    def headline_limit(self) -> int:
        """Return how many characters can be read in a shot."""
        read = math.floor((self._share - _SEEN_SECONDS) * _READ_PER_SECOND)
        return min(HEADLINE_LIMIT, max(_LEAST_HEADLINE, read))

    def words(self, reading: Reading) -> int:
        """Return how many words can be said in a shot."""
        pace = reading.manner.words_per_second
        return max(2, math.floor((self._share - _BREATH_SECONDS) * pace))

    def voice_limit(self, reading: Reading) -> int:
        """Return how many characters such a line may have."""
        most = self.words(reading) * _CHARACTERS_PER_WORD
        return min(_MOST_VOICE, max(_LEAST_VOICE, most))

    def keys(self, shot: str, reading: Reading) -> list[str]:
        """Return the keys of a shot's texts: the locale, and its variants where they differ."""
        further = LETTERS[1 : self._hooks] if shot in _OPENINGS else ""
        return [reading.locale, *(f"{reading.locale}~{letter}" for letter in further)]

    def schema(self) -> Schema:
        """Return what an answer must look like."""
        shots = {name: self._shot(name) for name in self.names}
        # A model that has said what it is about writes one film; the note itself goes nowhere.
        idea = schema.text(IDEA_LIMIT, wording.direction(), "one English sentence")
        fields = {"idea": idea, "shots": schema.mapping(shots)}
        cards = {r.locale: _card(r) for r in self._readings if not (r.tagline and r.call)}
        if cards:
            fields["end_cards"] = schema.mapping(cards)
        return schema.mapping(fields)

    def _shot(self, name: str) -> Schema:
        picture = schema.text(
            self._prompt_characters, wording.direction(), "English prose, no quotation marks"
        )
        fields = {"scene": schema.choice(sorted(scenes())), "prompt": picture}
        if name in _WORDED:
            texts = {
                key: self._text(name, reading)
                for reading in self._readings
                for key in self.keys(name, reading)
            }
            fields["texts"] = schema.mapping(texts)
        return schema.narrow(Shot, **fields)

    def _text(self, name: str, reading: Reading) -> Schema:
        fields = {
            "headline": line(reading, self.headline_limit()),
            "voice": line(reading, self.voice_limit(reading)),
        }
        if name == "product":
            fields["support"] = line(reading, SUPPORT_LIMIT)
        return schema.narrow(ShotText, **fields)

    def described(self) -> str:
        """Return the storyboard as the prompt tells it."""
        rows = []
        for name in self.names:
            asked = "picture"
            if name in _WORDED:
                asked += ", headline, voice" + (", support" if name == "product" else "")
            if name.startswith(BREATH):
                asked += " (no words: picture and music alone)"
            if name.startswith(FIGURE):
                asked += " (a figure of the brief stands here)"
            rows.append(f"- {name} ({kind_of(name)}): {asked}")
        paces = ", ".join(f"{r.locale} {self.words(r)} words" for r in self._readings)
        rows.append(f"A voice line is heard within its shot: at most {paces}.")
        return "\n".join(rows)


def line(reading: Reading, limit: int) -> Schema:
    """Return one line in a locale's language, with the brief's own figures alone."""
    figures = ", ".join(wording.figures_in(reading.texts)) or "none"
    return schema.text(
        limit,
        wording.line(reading.language, reading.texts),
        f"letters of the language and its punctuation, no symbols, and no figures but: {figures}",
    )


def _card(reading: Reading) -> Schema:
    fields = {}
    if not reading.tagline:
        fields["tagline"] = line(reading, HEADLINE_LIMIT)
    if not reading.call:
        fields["call_to_action"] = line(reading, CALL_LIMIT)
    return schema.narrow(EndCard, **fields)
