"""From words to music: which mood a brief's text means, how fast, and how lively."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from contracts.errors import InvalidRequestError

_BPM = re.compile(r"(\d{1,3}(?:[.,]\d+)?)\s*(?:bpm|BPM|Bpm)\b")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_SLOWEST, _FASTEST = 40.0, 220.0
_THINNEST = 0.45  # below this a band has no beat left
DEFAULT_MOOD = "warm"
UNSTATED_BPM = 100.0
"""What a request says where nobody chose a tempo."""

Level = Annotated[float, msgspec.Meta(ge=-60, le=12)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one player plays; moods.toml explains the patterns."""

    kind: Literal["pad", "arp", "bass", "lead", "phrase", "drum"]
    voice: str
    level: Level
    enters: float
    centre: float = 60.0
    voices: int = 4
    force: float = 0.5
    pan: float = 0.0
    send: Level = -14.0
    ring: float = 4.0
    pump: bool = False
    glow: bool = False
    chordal: bool = False
    patterns: list[str] = []
    phrases: list[str] = []
    closing: str = ""


class Mood(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way a bed can sound."""

    words: list[str]
    bpm: float
    tonic: str
    scale: str
    energy: float
    swing: float
    room_seconds: float
    pump_db: float
    tilt_db: float
    progressions: list[list[str]]
    cadence: list[str]
    home: str
    accent: str
    fill: str
    swell_db: float
    accent_db: float
    riser_db: float
    impact_db: float
    parts: list[Part]
    scale_root: str = "C"
    scales: list[str] = []


class _Book(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    energy: dict[str, float]
    moods: dict[str, Mood]


class Direction(NamedTuple):
    """What the text asked for."""

    name: str
    mood: Mood
    bpm: float
    energy: float
    """0 to 1: how much of the mood's band plays at the height of the film."""


def read_direction(text: str, bpm: float | None = None) -> Direction:
    """Return the direction that a text such as `gentle, oud-like, 84 bpm` gives.

    A tempo that somebody chose (any but `UNSTATED_BPM`) goes before one in the text, that before
    the unstated one, and that before the mood's own, which needs `bpm` to be None. Raises
    InvalidRequestError for a tempo in the text outside 40 to 220.
    """
    words = [_plain(word) for word in _WORD.findall(text)]
    name = max(
        moods(),
        key=lambda mood: (_matches(words, mood), mood == DEFAULT_MOOD),
    )
    mood = moods()[name]
    own = {_plain(word) for word in mood.words}  # a quiet mood is quiet already
    changes = {_plain(word): change for word, change in _book().energy.items()}
    lift = sum(change for word, change in changes.items() if word in words and word not in own)
    energy = min(1.0, max(_THINNEST, mood.energy + lift))
    return Direction(name, mood, _tempo(text, bpm, mood), energy)


def moods() -> dict[str, Mood]:
    """Return every mood by name."""
    return _book().moods


@cache
def _book() -> _Book:
    source = Path(__file__).with_name("moods.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(source, type=_Book)


def _matches(words: list[str], mood: str) -> float:
    """Score a mood: a word said earlier weighs a little more, as people name the main thing first.

    The mood's own name counts as one of its words.
    """
    known = {_plain(word) for word in moods()[mood].words} | {mood}
    return sum(1.0 - 0.01 * place for place, word in enumerate(words) if word in known)


def _tempo(text: str, bpm: float | None, mood: Mood) -> float:
    stated = _BPM.search(text)
    if stated is None or (bpm is not None and bpm != UNSTATED_BPM):
        return mood.bpm if bpm is None else bpm
    value = float(stated[1].replace(",", "."))
    if not _SLOWEST <= value <= _FASTEST:
        raise InvalidRequestError(
            f"mood asks for {value:g} bpm; music can be made at 40 to 220 bpm", field="mood"
        )
    return value


def _plain(word: str) -> str:
    """Return a word in lower case, without accents, so that `élégant` and `elegant` are one."""
    bare = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in bare if not unicodedata.combining(c))
