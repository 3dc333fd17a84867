"""A voice-over as it is laid out: lines in their windows, equally loud, their words timed.

Who speaks is another matter: an engine hands over each line as mono samples with the times of its
words, and gets one track as long as the film.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contracts.errors import InvalidRequestError
from contracts.script import SpeechTimings, SpokenLine, Word
from media.audio import at_loudness
from media.pcm import Samples, add_at, decibels_of, fade, frames_of, gain_of, silence, to_stereo
from media.spectrum import resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from contracts.requests import SpeechLine

TRACK_LUFS = -18.0
TRACK_PEAK_DBTP = -3.0

UNSPACED = frozenset({"ja", "zh"})
"""Languages written without spaces between words."""

_SPACED_WORD = re.compile(r"\S+")
_UNSPACED_WORD = re.compile(r"[^\W\d_]{1,4}|[\d.,]+\S?|[^\w\s]+|\w")
_LINE_LUFS = -20.0
_PAUSE_SECONDS = 0.08  # between two lines at the least
_QUIET = 10 ** (-46 / 20)
_TAIL_SECONDS = 0.03


class Window(NamedTuple):
    """How many seconds a line shall last, and how many it can: up to the next line or the end."""

    wanted: float
    most: float


class WordTime(NamedTuple):
    """A written word, `begin`:`end` of the line, and when it is heard from the line's start."""

    begin: int
    end: int
    start_ms: int
    end_ms: int


class Heard(NamedTuple):
    """The part of a spoken line that is not silence, in frames."""

    first: int
    last: int


class Voiced(NamedTuple):
    """One line as it will be heard, from its first sound to its last: (n,), mono, of `hertz`."""

    line: SpeechLine
    samples: NDArray[np.float32]
    hertz: int
    words: list[WordTime]

    @property
    def seconds(self) -> float:
        """Length of what is heard."""
        return len(self.samples) / self.hertz


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


def check_room(number: int, needed_seconds: float, window: Window) -> None:
    """Raise InvalidRequestError for a line that is too long at the fastest it may be spoken."""
    if needed_seconds > window.most:
        raise InvalidRequestError(
            f"lines[{number}] needs {needed_seconds:.1f} s even when spoken as fast as can be "
            f"followed; there are {window.most:.1f} s",
            field=f"lines[{number}].max_seconds",
        )


def heard_part(samples: NDArray[np.float32], hertz: int) -> Heard:
    """Return the first sample of (n,) and the one after the last that can be heard."""
    loud = np.flatnonzero(np.abs(samples) > _QUIET)
    if not len(loud):
        return Heard(0, len(samples))
    tail = int(_TAIL_SECONDS * hertz)
    return Heard(int(loud[0]), min(len(samples), int(loud[-1]) + tail))


def written_words(text: str, language: str) -> list[tuple[int, int]]:
    """Return where each word of a written line begins and ends; captions show these."""
    pattern = _UNSPACED_WORD if language in UNSPACED else _SPACED_WORD
    return [match.span() for match in pattern.finditer(text)]


def laid_out(voiced: Sequence[Voiced], seconds: float) -> Samples:
    """Return the lines in one track of `seconds`, each where it begins and equally loud."""
    track = silence(frames_of(seconds))
    for item in voiced:
        add_at(track, _leveled(item), frames_of(item.line.start_seconds))
    return track


def timings_of(voiced: Sequence[Voiced], locale: str) -> SpeechTimings:
    """Return when each line and word of the track is heard."""
    lines, words = [], []
    for number, item in enumerate(voiced):
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


def _leveled(voiced: Voiced) -> Samples:
    loud = at_loudness(to_stereo(resample(voiced.samples, voiced.hertz)), _LINE_LUFS)
    over = decibels_of(float(np.abs(loud).max(initial=0.0)))
    return fade(loud * np.float32(gain_of(min(0.0, -over))), fade_in=0.003, fade_out=0.02)
