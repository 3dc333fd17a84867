"""When each written word is heard: the synthesiser's events, told in the script's own words.

Captions show what was written, not what was spoken: one written `20%` is two spoken words, one
Arabic event may hold an article and its noun, Chinese has an event for every character, and
Japanese sometimes one for a whole clause. So words are cut from the written line, and events only
say when they begin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from media.voiceover import WordTime, heard_part, written_words
from services.draft_speech.reading import Reading
from services.draft_speech.synthesiser import Speech

_QUIET = 10 ** (-46 / 20)
_STEP = 0.005
_SHORTEST_MS = 40


def time_words(text: str, language: str, reading: Reading, speech: Speech) -> list[WordTime]:
    """Return the words of the written `text` in order, none overlapping another.

    Times are counted from the first sound of the line. Words that nobody speaks (a dash) take
    their time from the word before.
    """
    heard = heard_part(speech.samples, speech.hertz)
    offset = 1000 * heard.first / speech.hertz
    length = 1000 * (heard.last - heard.first) / speech.hertz
    marks = _marks(reading, speech, offset, length)
    spans = written_words(text, language)
    starts = _starts(spans, marks, length)
    words = []
    for (begin, end), start, limit in zip(spans, starts, [*starts[1:], length], strict=True):
        stop = _fall_silent(speech, heard.first, start, limit)
        words.append(WordTime(begin, end, round(start), max(round(stop), round(start))))
    return words


def _marks(
    reading: Reading, speech: Speech, offset: float, length: float
) -> list[tuple[int, float]]:
    """Return (written character, milliseconds), ascending in both, both ends included."""
    marks = [(0, 0.0)]
    for word in speech.words:
        begin, end = reading.written_span(word.begin, word.begin + word.length)
        begin += len(reading.text[word.begin :]) - len(reading.text[word.begin :].lstrip())
        time = min(max(word.start_ms - offset, 0.0), length)
        if marks[-1][0] < begin < max(end, begin + 1) and time >= marks[-1][1]:
            marks.append((begin, time))
    written = reading.pieces[-1].end if reading.pieces else 0
    return [*marks, (max(written, marks[-1][0] + 1), length)]


def _starts(
    spans: list[tuple[int, int]], marks: list[tuple[int, float]], length: float
) -> list[float]:
    """Return each word's start: its own event's, or a place between its neighbours' events."""
    places = [place for place, _ in marks]
    times = [time for _, time in marks]
    starts: list[float] = []
    for begin, end in spans:
        own = [time for place, time in marks[:-1] if begin <= place < end]
        start = own[0] if own else float(np.interp(begin, places, times))
        room = max(starts[-1] + _SHORTEST_MS, start) if starts else start
        starts.append(min(room, max(length - _SHORTEST_MS, 0.0)))
    return starts


def _fall_silent(speech: Speech, first: int, start: float, limit: float) -> float:
    """Return when the sound between `start` and `limit` (milliseconds) ends."""
    begin = first + int(start * speech.hertz / 1000)
    end = first + int(limit * speech.hertz / 1000)
    loud = np.flatnonzero(_envelope(speech.samples[begin:end], speech.hertz) > _QUIET)
    if not len(loud):
        return limit
    return min(limit, start + 1000 * _STEP * (int(loud[-1]) + 3))


def _envelope(samples: NDArray[np.float32], hertz: int) -> NDArray[np.float32]:
    step = max(1, int(_STEP * hertz))
    whole = samples[: len(samples) // step * step].reshape(-1, step)
    return np.asarray(np.abs(whole).max(axis=1, initial=0.0), np.float32)
