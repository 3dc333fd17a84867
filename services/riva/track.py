"""One voice track as long as the film: every line asked for, fitted into its window, timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.errors import ModelFailedError
from contracts.requests import SpeechLine
from contracts.script import SpeechTimings
from media.audio import master
from media.dynamics import compress
from media.pcm import Samples, fade
from media.spectrum import equalize, high_pass
from media.tempo import at_tempo
from media.voiceover import (
    TRACK_LUFS,
    TRACK_PEAK_DBTP,
    Voiced,
    Window,
    WordTime,
    check_room,
    heard_part,
    laid_out,
    timings_of,
    windows_of,
)
from services.riva.sentence import pieces
from services.riva.speech import Speech, Voice
from services.riva.wording import TimedWord, as_told, reckoned

BRISK_TEMPO, FASTEST_TEMPO = 1.33, 1.6
"""How much faster than it was spoken: as it still is pleasant; as it can still be followed."""
TOLD, RECKONED, MIXED = "server", "syllables", "server and syllables"
"""Where the times of words come from."""

_MARGIN = 0.985  # of a window: the tempo's effect on length is not quite exact


class Said(NamedTuple):
    """One line as the server spoke it: (n,) mono samples, and the words of the written line."""

    samples: NDArray[np.float32]
    hertz: int
    words: list[TimedWord]
    source: str


class VoiceTrack(NamedTuple):
    """The finished track, its timings, and what was done for them."""

    samples: Samples
    timings: SpeechTimings
    tempo: float
    hurried: int
    """How many lines are spoken faster than is pleasant: their text is too long."""
    source: str


def speak_track(
    speech: Speech,
    voice: Voice,
    lines: Sequence[SpeechLine],
    seconds: float,
    most_characters: int,
    tick: Callable[[int], None],
) -> VoiceTrack:
    """Return the track; `tick` is called, often, with the number of lines spoken so far."""
    windows = windows_of(lines, seconds)
    voiced, tempos, sources = [], [], []
    for number, (line, window) in enumerate(zip(lines, windows, strict=True)):

        def still(done: int = number) -> None:
            tick(done)

        said = say(speech, voice, line.text, most_characters, still)
        fitted, tempo = fit_window(line, said, window, number)
        voiced.append(fitted)
        tempos.append(tempo)
        sources.append(said.source)
    track = polish(laid_out(voiced, seconds))
    tick(len(lines))
    hurried = sum(tempo > BRISK_TEMPO for tempo in tempos)
    timings = timings_of(voiced, voice.locale)
    return VoiceTrack(track, timings, max(tempos), hurried, _together(sources))


def say(
    speech: Speech, voice: Voice, text: str, most_characters: int, still: Callable[[], None]
) -> Said:
    """Have one line spoken, piece by piece, and join them."""
    language = voice.locale.partition("-")[0]
    samples: list[NDArray[np.float32]] = []
    words: list[TimedWord] = []
    sources, rates = [], set()
    at_ms = 0.0
    for piece in pieces(text, most_characters):
        made = speech.speak(piece.text, voice, still)
        length_ms = 1000 * len(made.samples) / made.hertz
        told = as_told(piece.text, language, made.words, length_ms)
        if told is None:
            heard = heard_part(made.samples, made.hertz)
            begin, end = (1000 * n / made.hertz for n in heard)
            told = reckoned(piece.text, language, begin, end)
            sources.append(RECKONED)
        else:
            sources.append(TOLD)
        words += [_moved(word, piece.begin, at_ms) for word in told]
        samples.append(made.samples)
        rates.add(made.hertz)
        at_ms += length_ms
    if len(rates) != 1:
        raise ModelFailedError(f"the speech server changed its sample rate: {sorted(rates)}")
    return Said(np.concatenate(samples), rates.pop(), words, _together(sources))


def fit_window(line: SpeechLine, said: Said, window: Window, number: int) -> tuple[Voiced, float]:
    """Return a line as it will be heard, quickened as far as its window asks, and by how much.

    One that does not fit at the fastest tempo may run on into the pause before the next one.
    Raises InvalidRequestError where that is not enough.
    """
    heard = heard_part(said.samples, said.hertz)
    sound = said.samples[heard.first : heard.last]
    seconds = len(sound) / said.hertz
    tempo = 1.0
    if seconds > window.wanted:
        tempo = min(FASTEST_TEMPO, seconds / (_MARGIN * window.wanted))
        check_room(number, seconds / tempo, window)
        sound = at_tempo(sound, said.hertz, tempo)
    most = round(window.most * said.hertz)  # a filter's last block may stand over
    voiced = Voiced(line, sound[:most], said.hertz, [])
    offset_ms = 1000 * heard.first / said.hertz
    words = _settled(said.words, offset_ms, tempo, 1000 * voiced.seconds)
    return voiced._replace(words=words), tempo


def polish(track: Samples) -> Samples:
    """Return the track free of rumble, a little evened, at the loudness of every voice track."""
    even = compress(equalize(track, (high_pass(70.0),)), threshold_db=-24.0, ratio=2.0)
    closed = fade(even.astype(np.float32), fade_out=0.02)
    return master(closed, lufs=TRACK_LUFS, peak_dbtp=TRACK_PEAK_DBTP)


def _moved(word: TimedWord, characters: int, ms: float) -> TimedWord:
    return TimedWord(
        word.begin + characters, word.end + characters, word.start_ms + ms, word.end_ms + ms
    )


def _settled(
    words: Sequence[TimedWord], offset_ms: float, tempo: float, length_ms: float
) -> list[WordTime]:
    """Return words counted from the first sound, in the line's tempo, none over another."""
    found, at = [], 0
    for word in words:
        start = max(at, round(min(length_ms, (word.start_ms - offset_ms) / tempo)))
        end = max(start, round(min(length_ms, (word.end_ms - offset_ms) / tempo)))
        found.append(WordTime(word.begin, word.end, start, end))
        at = end
    return found


def _together(sources: Sequence[str]) -> str:
    return sources[0] if len(set(sources)) == 1 else MIXED
