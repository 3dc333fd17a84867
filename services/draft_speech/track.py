"""One voice track as long as the film: every line in its window, polished, at one loudness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from contracts.errors import InvalidRequestError
from contracts.requests import SpeechLine
from contracts.script import SpeechTimings, SpokenLine, Word
from media.audio import at_loudness, master
from media.dynamics import compress
from media.pcm import (
    Samples,
    add_at,
    decibels_of,
    fade,
    fit,
    frames_of,
    gain_of,
    silence,
    to_stereo,
)
from media.room import Room, reverberated
from media.spectrum import bell, equalize, high_pass, low_pass, resample
from services.draft_speech.reading import Reading, read_line
from services.draft_speech.synthesiser import Speech, Synthesiser
from services.draft_speech.timing import WordTime, heard_part, time_words
from services.draft_speech.voice import Voice

TRACK_LUFS = -18.0
TRACK_PEAK_DBTP = -3.0
NATURAL_RATE, BRISK_RATE, FASTEST_RATE = 158, 210, 260
"""Words per minute: unhurried; as fast as it is pleasant; as fast as it can be followed."""

_LINE_LUFS = -20.0
_ROOM = Room(0.22, pre_delay=0.006, bright=0.5, width=0.7, seed=11)
_ROOM_DB = -17.0
_MARGIN = 0.985  # of a window: the rate's effect on length is not quite proportional
_ATTEMPTS = 4
_PAUSE_SECONDS = 0.08  # between two lines at the least


class Window(NamedTuple):
    """How many seconds a line shall last, and how many it can: up to the next line or the end."""

    wanted: float
    most: float


class Spoken(NamedTuple):
    """One line as it will be heard."""

    line: SpeechLine
    speech: Speech
    rate: int
    words: list[WordTime]

    @property
    def seconds(self) -> float:
        """Length of what is heard."""
        heard = heard_part(self.speech)
        return (heard.last - heard.first) / self.speech.hertz


class VoiceTrack(NamedTuple):
    """The finished track and its timings."""

    samples: Samples
    timings: SpeechTimings
    fastest_rate: int
    hurried: int
    """How many lines are spoken faster than is pleasant: their text is too long."""


def windows_of(lines: Sequence[SpeechLine], seconds: float) -> list[Window]:
    """Return how long each line may last.

    Raises InvalidRequestError for lines out of order, after the end, or with nothing to say.
    """
    ends = [*(line.start_seconds for line in lines[1:]), seconds]
    windows = []
    for number, (line, end) in enumerate(zip(lines, ends, strict=True)):
        where = f"lines[{number}]"
        if not any(c.isalnum() for c in line.text):
            raise InvalidRequestError(f"{where}.text has nothing to say", field=f"{where}.text")
        latest = min(end, seconds) - _PAUSE_SECONDS
        if not line.start_seconds < latest:
            raise InvalidRequestError(
                f"{where} starts at {line.start_seconds:g} s, too late before what follows it "
                f"({min(end, seconds):g} s)",
                field=f"{where}.start_seconds",
            )
        most = latest - line.start_seconds
        windows.append(Window(min(line.max_seconds, most), most))
    return windows


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
    track = silence(frames_of(seconds))
    for item in spoken:
        add_at(track, _leveled(item.speech), frames_of(item.line.start_seconds))
    tick(len(lines))
    rates = [item.rate for item in spoken]
    hurried = sum(rate > BRISK_RATE for rate in rates)
    return VoiceTrack(polish(track), _timings(spoken, locale), max(rates), hurried)


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
        spoken = Spoken(line, speech, rate, _words(line, voice, reading, speech))
        fits = spoken.seconds <= window.wanted
        if fits or rate >= FASTEST_RATE:
            break
        quicker = round(rate * spoken.seconds / (_MARGIN * window.wanted))
        rate = min(FASTEST_RATE, max(rate + 4, quicker))
    if spoken.seconds <= window.most:
        return spoken
    raise InvalidRequestError(
        f"lines[{number}] needs {spoken.seconds:.1f} s even when spoken as fast as can be "
        f"followed; there are {window.most:.1f} s",
        field=f"lines[{number}].max_seconds",
    )


def _words(line: SpeechLine, voice: Voice, reading: Reading, speech: Speech) -> list[WordTime]:
    return time_words(line.text, voice.language, reading, speech)


def _leveled(speech: Speech) -> Samples:
    """Return what is heard of a line, 48 kHz stereo, every line equally loud."""
    heard = heard_part(speech)
    sound = to_stereo(resample(speech.samples[heard.first : heard.last], speech.hertz))
    loud = at_loudness(sound, _LINE_LUFS)
    over = decibels_of(float(np.abs(loud).max(initial=0.0)))
    return fade(loud * np.float32(gain_of(min(0.0, -over))), fade_in=0.003, fade_out=0.02)


def _timings(spoken: Sequence[Spoken], locale: str) -> SpeechTimings:
    lines, words = [], []
    for number, item in enumerate(spoken):
        start = round(1000 * item.line.start_seconds)
        end = start + round(1000 * item.seconds)
        lines.append(SpokenLine(text=item.line.text, start_ms=start, end_ms=end))
        words += [
            Word(
                line=number,
                begin=word.begin,
                end=word.end,
                start_ms=start + word.start_ms,
                end_ms=min(end, start + word.end_ms),
            )
            for word in item.words
        ]
    return SpeechTimings(locale=locale, lines=lines, words=words)
