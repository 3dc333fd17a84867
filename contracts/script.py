"""The script: shots with seconds, and what is said and shown in every locale and variant."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ShotKind(StrEnum):
    """The typographic template of a shot."""

    HOOK = "hook"
    STATEMENT = "statement"
    PRODUCT = "product"
    STATS = "stats"
    END = "end"


class Stat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A figure as it is set: `value` already formatted for the locale."""

    value: str
    unit: str = ""
    label: str = ""


class ShotText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one shot shows and says in one locale and variant. Empty where there is nothing."""

    kicker: str = ""
    headline: str = ""
    support: str = ""
    stats: list[Stat] = []
    voice: str = ""


class Shot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One shot. `name` is unique within the script (`hook`, `promise`, `product`, `proof`, `end`).

    `texts` is keyed by `<locale>` and, where variants differ, by `<locale>~<variant>` (the more
    exact key wins). `in_short` says that the shot belongs to the cut-down for short placements.
    """

    name: str
    kind: ShotKind
    seconds: float
    scene: str
    prompt: str
    texts: dict[str, ShotText]
    in_short: bool = False
    short_seconds: float = 0.0

    def text(self, locale: str, variant: str) -> ShotText:
        """Return what the shot says in this locale and variant."""
        return self.texts.get(f"{locale}~{variant}") or self.texts[locale]


class EndCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the end card says in one locale."""

    brand: str
    tagline: str = ""
    offer: str = ""
    call_to_action: str = ""
    url: str = ""
    legal: str = ""


class Script(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="script.v1"
):
    """The whole script. `variants` are the letters of the hooks (`a`, `b`); `bpm` of the music.

    The shots' `seconds` add up to the film's length, and every cut lies on a beat.
    """

    shots: list[Shot]
    end_cards: dict[str, EndCard]
    variants: list[str]
    bpm: float
    mood: str


class PlacementCopy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The words that are typed into an ad manager for one placement."""

    placement: str
    primary_text: str = ""
    headline: str = ""
    description: str = ""
    call_to_action: str = ""
    hashtags: list[str] = []
    alt_text: str = ""


class CopyDeck(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="copy_deck.v1",
):
    """Copy of one locale for every placement, within each platform's limits."""

    locale: str
    placements: list[PlacementCopy]


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One spoken word: milliseconds from the track's start; `begin`:`end` of the line's text."""

    line: int
    begin: int
    end: int
    start_ms: int
    end_ms: int


class SpokenLine(msgspec.Struct, frozen=True, kw_only=True):
    """One spoken line: its text, and when it is heard (milliseconds)."""

    text: str
    start_ms: int
    end_ms: int


class SpeechTimings(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="speech_timings.v1"
):
    """When each line and word of a voice track is heard."""

    locale: str
    lines: list[SpokenLine]
    words: list[Word]
