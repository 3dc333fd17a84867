"""Which characters and figures a line may hold, as a regular expression.

The same expression is given to the decoder's grammar (Rust's dialect) and checked here (Python's),
so it keeps to what both read alike: ranges, groups, repetitions. A figure that the brief does not
hold cannot be written; nor can markup, an emoji, a line break, or the letters of another script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017f\u1e9e"
ARABIC = "\u0621-\u063a\u0641-\u0652\u0670-\u06d3"
_POINTS = " .,;:!?'()/&%+-\u2026\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb\u2013\u2014\u00b7\u00b0"
_SPACES = "\u00a0\u202f"
_CURRENCIES = "\u20ac$\u00a3"
_SPANISH = "\u00bf\u00a1"
_ARABIC_POINTS = "\u060c\u061b\u061f\u066a"
_OPENING = "\u201c\u201e\u00ab"
_NEVER = frozenset('"\\<>{}`')
_FIGURE = re.compile(r"\d+(?:[.,\u202f\u00a0\u2019\u066b\u066c]\d+)*")
_META = frozenset("\\]^-&~[().+*?|{}$#")


def _escaped(text: str) -> str:
    """Escape what either dialect gives a meaning, and nothing else."""
    return "".join(f"\\{c}" if c in _META else c for c in text)


def letters_of(language: str) -> str:
    """Return the letters of a language as the inside of a character class."""
    return ARABIC if language == "ar" else LATIN


def figures_in(texts: Iterable[str]) -> list[str]:
    """Return every figure of the texts, the longest first; a part of one is not a figure."""
    found = {match for text in texts for match in _FIGURE.findall(text)}
    return sorted(found, key=lambda figure: (-len(figure), figure))


def line(language: str, known: Iterable[str]) -> str:
    """Return the expression of one line in a language; `known` are the brief's own texts.

    What the brief itself holds, the letters of its names and its figures, is always allowed.
    """
    known = list(known)
    letters = letters_of(language)
    own = {c for text in known for c in text if not c.isdigit() and c.isprintable()} - _NEVER
    own_letters = _escaped("".join(sorted(c for c in own if c.isalpha())))
    points = _POINTS + _SPACES + _CURRENCIES
    points += _ARABIC_POINTS if language == "ar" else _SPANISH if language == "es" else ""
    rest = _escaped("".join(sorted(set(points) | {c for c in own if not c.isalpha()})))
    letter, plain = f"[{letters}{own_letters}]", f"[{letters}{own_letters}{rest}]"
    opening = _OPENING + _SPANISH if language == "es" else _OPENING
    start = f"[{opening}]?"
    figures = "|".join(_escaped(figure) for figure in figures_in(known))
    if not figures:
        return f"^{start}{letter}{plain}*$"
    # A letter or a space stands between two figures: `1` and `8` do not allow `1.8`.
    point = f"[{rest.replace(' ', '')}]"
    apart = f"{point}*[{letters}{own_letters} ]{plain}*"
    figured = f"(?:{figures})(?:{apart}(?:{figures}))*{plain}*"
    return f"^{start}(?:{letter}{plain}*(?:{figured})?|{figured})$"


def direction() -> str:
    """Return the expression of a picture's description: English, with any figures."""
    return f"^[A-Za-z][{LATIN}0-9{_escaped(_POINTS)}]*$"


def hashtag(language: str) -> str:
    """Return the expression of a hashtag."""
    joiner = "_" if language == "ar" else ""
    return f"^#[{letters_of(language)}{LATIN}{joiner}]+$"
