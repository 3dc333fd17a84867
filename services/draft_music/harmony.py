"""Pitches: chord names to notes, voicings that move as little as singers would, and scales.

Pitches are MIDI numbers (69 = 440 Hz) and may be fractions: the maqam scales lie between the
keys of a piano.
"""

from __future__ import annotations

import re
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

OCTAVE = 12
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "b": -1}
_QUALITIES = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "5": (0, 7),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9),
    "add9": (0, 4, 7, 14),
    "madd9": (0, 3, 7, 14),
    "7": (0, 4, 7, 10),
    "7sus4": (0, 5, 7, 10),
    "maj7": (0, 4, 7, 11),
    "maj9": (0, 4, 7, 11, 14),
    "m7": (0, 3, 7, 10),
    "m9": (0, 3, 7, 10, 14),
    "m6": (0, 3, 7, 9),
    "m7b5": (0, 3, 6, 10),
}
_NAME = re.compile(r"\A([A-G])([#b]?)([a-z0-9]*)(?:/([A-G])([#b]?))?\Z")

SCALES: dict[str, tuple[float, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "pentatonic": (0, 2, 4, 7, 9),
    "minor_pentatonic": (0, 3, 5, 7, 10),
    # Two maqamat as they are tuned in the Levant: the second degree of Bayati lies between the
    # keys; the augmented second of Hijaz is narrower than the piano's.
    "bayati": (0, 1.5, 3, 5, 7, 8, 10),
    "hijaz": (0, 1.1, 3.85, 5, 7, 8, 10),
}
"""Semitones above the tonic."""


class Chord(NamedTuple):
    """A chord without a register: `tones` are pitch classes, the root first."""

    bass: int
    tones: tuple[int, ...]


def pitch_class(name: str) -> int:
    """Return 0 to 11 of a note name such as `F#`."""
    return (_NATURALS[name[0]] + _ACCIDENTALS[name[1:]]) % OCTAVE


def parse_chord(name: str, shift: int = 0) -> Chord:
    """Return a chord from a name such as `Bm7` or `A/C#`, transposed by `shift` semitones.

    Raises ValueError for a name that is none.
    """
    match = _NAME.match(name)
    if match is None or match[3] not in _QUALITIES:
        raise ValueError(f"no chord is called {name!r}")
    root = pitch_class(match[1] + match[2]) + shift
    bass = pitch_class(match[4] + match[5]) + shift if match[4] else root
    tones = tuple((root + interval) % OCTAVE for interval in _QUALITIES[match[3]])
    return Chord(bass % OCTAVE, tones)


def lead_voices(chords: Sequence[Chord], voices: int, centre: float) -> list[tuple[int, ...]]:
    """Return one voicing per chord, ascending, each near the one before and near `centre`."""
    out: list[tuple[int, ...]] = []
    before: tuple[int, ...] | None = None
    for chord in chords:
        before = min(_voicings(chord, voices, centre), key=lambda v: _strain(v, before, centre))
        out.append(before)
    return out


def nearest(tone: float, near: float) -> float:
    """Return the octave of pitch class `tone` that lies nearest to `near`."""
    return tone + OCTAVE * round((near - tone) / OCTAVE)


def scale_pitch(scale: Sequence[float], tonic: float, degree: int) -> float:
    """Return the pitch of a scale degree; degrees run on above and below the octave."""
    octave, step = divmod(degree, len(scale))
    return tonic + OCTAVE * octave + scale[step]


def frequency(pitch: float) -> float:
    """Return hertz."""
    return float(440.0 * 2.0 ** ((pitch - 69.0) / OCTAVE))


def _voicings(chord: Chord, voices: int, centre: float) -> list[tuple[int, ...]]:
    """Return every voicing within an octave of `centre` that has the chord's colour."""
    essential = _essential(chord.tones, voices)
    choices = [[int(nearest(t, centre + o)) for o in (-9, 0, 9)] for t in essential]
    found = {tuple(sorted(set(pick))) for pick in product(*choices)}
    full = [v for v in found if len(v) == len(essential)]
    return sorted(full)


def _essential(tones: tuple[int, ...], voices: int) -> list[int]:
    """Choose the tones to sound: where there are too many, first the fifth goes, then the root."""
    chosen = list(tones)
    for spare in (2, 0):
        if len(chosen) > voices:
            chosen.pop(spare)
    doubled = [tones[0], tones[min(2, len(tones) - 1)]]
    return chosen[:voices] + doubled[: max(0, voices - len(chosen))]


def _strain(voicing: tuple[int, ...], before: tuple[int, ...] | None, centre: float) -> float:
    """Return how hard a voicing is to sing and to hear: movement, mud, spread, distance."""
    gaps = [high - low for low, high in pairwise(voicing)]
    crowded = sum(6.0 for gap in gaps if gap == 1) + sum(3.0 for g in gaps if g > OCTAVE - 4)
    mud = sum(3.0 for low, gap in zip(voicing, gaps, strict=False) if low < 50 and gap < 5)  # noqa: PLR2004 - thirds below D3 growl
    away = 0.35 * abs(sum(voicing) / len(voicing) - centre)
    moved = 0.0
    if before is not None:
        moved = sum(min(abs(a - b) for b in before) for a in voicing)
        moved += 1.5 * abs(voicing[-1] - before[-1]) ** 0.5
    return crowded + mud + away + moved
