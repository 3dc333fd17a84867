"""When each written word is heard: as the server says, or reckoned from its syllables. Pure.

A server tells the words that it spoke, which are not always those that were written: `49` is spoken
as two, `%` as one. So the two are laid side by side; what is equal keeps its own time, and what is
between shares the time that is left there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from media.voiceover import written_words
from services.riva.speech import SaidWord

_VOWELS = re.compile(r"[aeiouyæøœıаеиоуыэюяіαεηιουω]+")  # noqa: RUF001 - of three alphabets
_NOT_SPOKEN = re.compile(r"[\W_]+")
_SYLLABIC = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_PER_DIGIT = 2.0  # most numbers are about so long
_PER_SYMBOL = 2.0
_SYMBOLS = frozenset("%&+@")
_PER_CONSONANT = 0.5  # in scripts that write few vowels


class TimedWord(NamedTuple):
    """A written word, `begin`:`end` of its text, and when it is heard, in milliseconds."""

    begin: int
    end: int
    start_ms: float
    end_ms: float


def as_told(
    text: str, language: str, said: Sequence[SaidWord], length_ms: float
) -> list[TimedWord] | None:
    """Return the words of `text` by the server's times; None if those make no sense."""
    times = [t for word in said for t in (word.start_ms, word.end_ms)]
    if not said or times != sorted(times) or times[0] < 0 or times[-1] > length_ms + 1:
        return None
    spans = written_words(text, language)
    written = [_bare(text[a:b]) for a, b in spans]
    spoken = [_bare(word.text) for word in said]
    sounding = [n for n, word in enumerate(written) if word]
    if len(sounding) == len(spoken):  # one for one, however the server spells them
        for place, spelling in zip(sounding, spoken, strict=True):
            written[place] = spelling
    found: list[TimedWord] = []
    done_written = done_spoken = 0
    blocks = SequenceMatcher(None, written, spoken, autojunk=False).get_matching_blocks()
    for block in blocks:  # the last one is empty, and ends both
        between = spans[done_written : block.a]
        if between:
            start, end = _room(said, done_spoken, block.b, length_ms)
            found += _shared(text, between, start, end)
        for n in range(block.size):
            word = said[block.b + n]
            found.append(TimedWord(*spans[block.a + n], word.start_ms, word.end_ms))
        done_written, done_spoken = block.a + block.size, block.b + block.size
    return found


def reckoned(text: str, language: str, start_ms: float, end_ms: float) -> list[TimedWord]:
    """Return the words of `text` between two moments, each as long as it has syllables."""
    return _shared(text, written_words(text, language), start_ms, end_ms)


def syllables(word: str) -> float:
    """Return about how many syllables a word has; 0 for one that is only punctuation."""
    plain = unicodedata.normalize("NFD", word.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = unicodedata.normalize("NFC", plain)  # Hangul's syllables together again
    signs = _PER_DIGIT * sum(c.isdigit() for c in plain)
    signs += _PER_SYMBOL * sum(c in _SYMBOLS or unicodedata.category(c) == "Sc" for c in plain)
    whole = len(_SYLLABIC.findall(plain))
    letters = [c for c in _SYLLABIC.sub("", plain) if c.isalpha()]
    if not letters:
        return signs + whole
    vowels = len(_VOWELS.findall("".join(letters)))
    return signs + whole + (vowels or max(1.0, _PER_CONSONANT * len(letters)))


def _bare(word: str) -> str:
    return _NOT_SPOKEN.sub("", word.casefold())


def _room(said: Sequence[SaidWord], first: int, last: int, length_ms: float) -> tuple[float, float]:
    """Return when the spoken words `first` to before `last` are heard, or the gap if there are
    none.
    """
    if first < last:
        return said[first].start_ms, said[last - 1].end_ms
    return (
        said[first - 1].end_ms if first else 0.0,
        said[first].start_ms if first < len(said) else length_ms,
    )


def _shared(
    text: str, spans: Sequence[tuple[int, int]], start_ms: float, end_ms: float
) -> list[TimedWord]:
    weights = [syllables(text[a:b]) for a, b in spans]
    total = sum(weights) or 1.0
    found, at = [], start_ms
    for span, weight in zip(spans, weights, strict=True):
        until = at + (end_ms - start_ms) * weight / total
        found.append(TimedWord(*span, at, until))
        at = until
    return found
