"""From a film's mood, tempo and cuts to the words that Stable Audio was trained on. Pure.

It has learnt from the descriptions of a music library: tags, then style, instruments and mood, the
tempo. There is no control for a cut: where the music turns, it can only be told in words.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from contracts.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.requests import GenerateMusic

UNSTATED_BPM = 100.0
"""What a request says where nobody chose a tempo; one in the mood's own words goes before it."""

TAGS = "TrackType: Music, VocalType: Instrumental"
"""How the library marks music without a voice: one would stand in the way of the voice-over."""

NEGATIVE = "vocals, singing, speech, low quality, distortion, noise, abrupt ending"
"""Only heard by models that are guided; the distilled ones are not."""

_SLOWEST, _FASTEST = 40.0, 220.0
_BPM = re.compile(r"(\d{1,3}(?:[.,]\d+)?)\s*bpm\b[\s,;]*", re.IGNORECASE)
_GAPS = re.compile(r"[\s\x00-\x1f]+")
_DEFAULT_MOOD = "warm, confident"
_GROOVES = (
    (70.0, "slow and spacious"),
    (92.0, "relaxed groove"),
    (116.0, "steady mid-tempo groove"),
    (140.0, "driving beat"),
    (_FASTEST, "fast, energetic beat"),
)
_PACES = (
    (1.2, "quick, punchy accents"),
    (2.6, "clear accents at every change of scene"),
    (float("inf"), "long, evolving phrases"),
)


class Prompt(NamedTuple):
    """What the model is told, and what it is kept away from; `bpm` beats a minute."""

    text: str
    negative: str
    bpm: float


def prompt_of(request: GenerateMusic, *, tagged: bool) -> Prompt:
    """Return the prompt for a request, of at most a few dozen words.

    `tagged` puts the library's tags before it, which Stable Audio 3 knows. Raises
    InvalidRequestError for a tempo in the mood's words that is none.
    """
    mood, bpm = _tempo(_GAPS.sub(" ", request.mood).strip(" ,;."), request.bpm)
    parts = [
        TAGS if tagged else "Instrumental music",
        mood or _DEFAULT_MOOD,
        f"{bpm:g} BPM",  # early: what comes last is cut off where a mood takes all the room
        "advertising underscore with a simple, memorable motif",
        next(groove for limit, groove in _GROOVES if bpm <= limit),
        *_form(request.cuts, request.seconds),
        "polished studio production, clean mix, room for a voice-over",
    ]
    return Prompt(", ".join(parts), NEGATIVE, bpm)


def _tempo(mood: str, asked: float) -> tuple[str, float]:
    """Return the mood without a tempo in it, and the tempo that counts."""
    stated = _BPM.search(mood)
    if stated is None:
        return mood, asked
    bare = _BPM.sub("", mood).strip(" ,;.")
    if asked != UNSTATED_BPM:
        return bare, asked
    value = float(stated[1].replace(",", "."))
    if not _SLOWEST <= value <= _FASTEST:
        raise InvalidRequestError(
            f"mood asks for {value:g} bpm; music is made at 40 to 220 bpm", field="mood"
        )
    return bare, value


def _form(cuts: Sequence[float], seconds: float) -> list[str]:
    """Return how the piece goes: its build, its accents, and where it resolves."""
    if not cuts:
        return ["one continuous build", "clear ending"]
    *changes, last = cuts
    edges = [0.0, *cuts]
    pace = sum(b - a for a, b in pairwise(edges)) / len(cuts)
    form = [f"builds through {len(changes) + 1} sections"] if changes else ["one rising section"]
    form.append(next(words for limit, words in _PACES if pace <= limit))
    form.append(f"resolves on a final accent {_moment(last)} in, {_tail(seconds - last)}")
    return form


def _moment(seconds: float) -> str:
    """Return a time as people write it: `12 seconds`, `1:04`."""
    whole = round(seconds)
    return f"{whole} seconds" if whole < 60 else f"{whole // 60}:{whole % 60:02d}"  # noqa: PLR2004 - seconds of a minute


def _tail(seconds: float) -> str:
    return "then rings out" if seconds >= 1 else "then stops"
