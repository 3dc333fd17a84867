"""A language's own typography: apostrophes, quotation marks, thin spaces."""

from __future__ import annotations

import re

from media.script.numbers import NARROW

_FRENCH = re.compile(r"[ \u00a0]([?!;:»])")
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)|(?<=s)'(?=\s)")
_QUOTES = {
    "de": ("„", "“"),
    "fr": (f"«{NARROW}", f"{NARROW}»"),
    "es": ("«", "»"),
    "it": ("«", "»"),
    "pt": ("“", "”"),
    "ar": ("«", "»"),
}
_QUOTED = re.compile(r'"([^"]*)"')


def typeset(text: str, language: str, *, quotes: bool = True) -> str:
    """Return the text with the language's apostrophes, quotation marks and French thin spaces."""
    text = _APOSTROPHE.sub("\N{RIGHT SINGLE QUOTATION MARK}", text)
    if quotes:
        opening, closing = _QUOTES.get(language, ("“", "”"))
        text = _QUOTED.sub(lambda match: f"{opening}{match[1]}{closing}", text)
    if language == "fr":
        text = _FRENCH.sub(f"{NARROW}\\1", text).replace("« ", f"«{NARROW}")
    return text
