"""How long shots last: read, spoken, cut on the beat."""

from __future__ import annotations

import itertools
import math
import re

from contracts.script import ShotText

SHORTEST = 1.8
LONGEST = 4.5
MAX_SHOTS = 24
"""More are not planned; a film of more than 100 seconds has longer shots instead."""
_BPM = re.compile(r"(\d{2,3}(?:\.\d+)?)\s*bpm", re.IGNORECASE)
_MIN_BPM, _MAX_BPM = 40.0, 220.0
_TEMPI = (
    (("quiet", "nocturnal", "calm", "slow", "gentle", "ambient", "ruhig", "calme"), 76.0),
    (("upbeat", "energetic", "driving", "fast", "techno", "punchy", "fröhlich"), 120.0),
    (("luxe", "luxury", "elegant", "cinematic"), 84.0),
)
_USUAL = 100.0


def tempo(music: str) -> tuple[float, str]:
    """Return beats per minute and mood of a music line such as `warm, forward, 100 bpm`."""
    match = _BPM.search(music)
    mood = _BPM.sub("", music).strip(" ,;")
    if match is not None:
        return min(_MAX_BPM, max(_MIN_BPM, float(match[1]))), mood or "warm"
    folded = mood.casefold()
    by_mood = (bpm for words, bpm in _TEMPI if any(word in folded for word in words))
    return next(by_mood, _USUAL), mood or "warm"


def spoken_seconds(line: str, words_per_second: float) -> float:
    """Return how long a line takes to say, with a breath after it."""
    return len(line.split()) / words_per_second + 0.45 if line else 0.0


def needed_seconds(text: ShotText, words_per_second: float) -> float:
    """Return how long a shot must last to be read and heard."""
    figures = sum(len(f"{s.value}{s.unit}{s.label}") for s in text.stats)
    # Support and figures are taken in at a glance, beside the headline rather than after it.
    read = (len(text.headline) + 0.35 * len(text.support) + 0.5 * figures) / 15 + 0.8
    return max(SHORTEST, read, spoken_seconds(text.voice, words_per_second))


def schedule(needs: list[float], seconds: float, bpm: float) -> list[float] | None:
    """Return each shot's seconds: cuts on beats, sum exact, or None if it cannot be read in time.

    What is over goes, beat by beat, to the shot that is tightest. The last shot takes the rest of
    a beat, if the film's length is not a whole number of them.
    """
    beat = 60.0 / bpm
    whole = math.floor(seconds / beat + 1e-6)
    rest = seconds - whole * beat
    rests = [0.0] * (len(needs) - 1) + [rest]
    beats = [
        max(1, math.ceil((need - r) / beat - 1e-6)) for need, r in zip(needs, rests, strict=True)
    ]
    if sum(beats) > whole:
        return None
    for _ in range(whole - sum(beats)):
        lengths = [count * beat + r for count, r in zip(beats, rests, strict=True)]
        roomy = [i for i, length in enumerate(lengths) if length + beat <= LONGEST + 1e-6]
        least = min(roomy or range(len(beats)), key=lambda i: lengths[i] / needs[i])
        beats[least] += 1
    cuts = [0.0]
    for count in beats:
        cuts.append(round(cuts[-1] + count * beat, 6))
    cuts = [round(c, 3) for c in cuts[:-1]] + [seconds]
    return [round(b - a, 3) for a, b in itertools.pairwise(cuts)]


def shots_for(seconds: float, bpm: float) -> int:
    """Return how many shots a film of this length wants."""
    for limit, count in ((8.0, 3), (11.0, 4), (17.0, 5), (22.5, 6)):
        if seconds < limit:
            return count
    beat = 60.0 / bpm
    longest = max(1, math.floor(LONGEST / beat + 1e-6)) * beat
    return min(MAX_SHOTS, max(math.ceil(seconds / longest), round(seconds / 3.7)))
