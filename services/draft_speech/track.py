"""One voice track as long as the film: every line in its window, polished, at one loudness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from contracts.requests import SpeechLine
from contracts.script import SpeechTimings
from media.audio import master
from media.dynamics import compress
from media.pcm import Samples, fade, fit, gain_of
from media.room import Room, reverberated
from media.spectrum import bell, equalize, high_pass, low_pass
from media.voiceover import (
    TRACK_LUFS,
    TRACK_PEAK_DBTP,
    Voiced,
    Window,
    check_room,
    heard_part,
    laid_out,
    timings_of,
    windows_of,
)
from services.draft_speech.reading import read_line
from services.draft_speech.synthesiser import Synthesiser
from services.draft_speech.timing import time_words
from services.draft_speech.voice import Voice

NATURAL_RATE, BRISK_RATE, FASTEST_RATE = 158, 210, 260
"""Words per minute: unhurried; as fast as it is pleasant; as fast as it can be followed."""

_ROOM = Room(0.22, pre_delay=0.006, bright=0.5, width=0.7, seed=11)
_ROOM_DB = -17.0
_MARGIN = 0.985  # of a window: the rate's effect on length is not quite proportional
_ATTEMPTS = 4


class Spoken(NamedTuple):
    """One line as it will be heard, and the rate at which it is spoken."""

    voiced: Voiced
    rate: int


class VoiceTrack(NamedTuple):
    """The finished track and its timings."""

    samples: Samples
    timings: SpeechTimings
    fastest_rate: int
    hurried: int
    """How many lines are spoken faster than is pleasant: their text is too long."""


def speak_track(
    lines: Sequence[SpeechLine],
    seconds: float,
    voice: Voice,
    locale: str,
    tick: Callable[[int], None],
) -> VoiceTrack:
    """Return the track; `tick` is called with the number of lines spoken so far."""
    windows = windows_of(lines, seconds)
    spoken = []
    with Synthesiser() as synthesiser:
        for number, (line, window) in enumerate(zip(lines, windows, strict=True)):
            tick(number)
            spoken.append(_speak_within(synthesiser, voice, line, window, number))
    voiced = [item.voiced for item in spoken]
    track = laid_out(voiced, seconds)
    tick(len(lines))
    rates = [item.rate for item in spoken]
    hurried = sum(rate > BRISK_RATE for rate in rates)
    return VoiceTrack(polish(track), timings_of(voiced, locale), max(rates), hurried)


def polish(track: Samples) -> Samples:
    """Return the track as a mixing desk would send it on: filtered, evened, in a small room."""
    shaped = equalize(track, (high_pass(95.0), low_pass(8_200.0), bell(3_000.0, 3.0, 0.9)))
    even = compress(shaped, threshold_db=-26.0, ratio=2.5)
    placed = even + gain_of(_ROOM_DB) * fit(reverberated(even, _ROOM), len(even))
    closed = fade(placed.astype(np.float32), fade_out=0.02)
    return master(closed, lufs=TRACK_LUFS, peak_dbtp=TRACK_PEAK_DBTP)


def _speak_within(
    synthesiser: Synthesiser, voice: Voice, line: SpeechLine, window: Window, number: int
) -> Spoken:
    """Speak a line at the slowest rate, from the natural one up, at which it fits its window.

    A line that does not fit when spoken as fast as can be followed may run on into the pause
    before the next one. Raises InvalidRequestError where that is not enough.
    """
    reading = read_line(line.text, voice.language)
    rate = NATURAL_RATE
    for _ in range(_ATTEMPTS):
        speech = synthesiser.speak(voice.timbre, rate, reading.text)
        heard = heard_part(speech.samples, speech.hertz)
        words = time_words(line.text, voice.language, reading, speech)
        voiced = Voiced(line, speech.samples[heard.first : heard.last], speech.hertz, words)
        if voiced.seconds <= window.wanted or rate >= FASTEST_RATE:
            break
        quicker = round(rate * voiced.seconds / (_MARGIN * window.wanted))
        rate = min(FASTEST_RATE, max(rate + 4, quicker))
    check_room(number, voiced.seconds, window)
    return Spoken(voiced, rate)
