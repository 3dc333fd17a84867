"""Which voice speaks a locale."""

from __future__ import annotations

import re
from typing import NamedTuple

from contracts.errors import InvalidRequestError
from services.draft_speech.synthesiser import Timbre

_LOCALE = re.compile(r"\A([a-z]{2,3})-([A-Z]{2}|[0-9]{3})\Z")
_PITCH, _RANGE = 38, 52

_LANGUAGES = {
    "ar": "ar",
    "de": "de",
    "en": "en",
    "es": "es",
    "fr": "fr",
    "hi": "hi",
    "it": "it",
    "ja": "ja",
    "nl": "nl",
    "pt": "pt",
    "zh": "cmn",
}
_REGIONS = {
    "en-US": "en-us",
    "en-CA": "en-us",
    "fr-BE": "fr-be",
    "fr-CH": "fr-ch",
    "pt-BR": "pt-br",
    **dict.fromkeys(("es-MX", "es-US", "es-AR", "es-CL", "es-CO", "es-PE", "es-419"), "es-419"),
}

SPEAKERS = {"": ("", 0), "low": ("+m3", -8), "high": ("+f2", 12)}
"""What a request may name as `voice`: a variant of the language's voice, and a change of pitch."""


class Voice(NamedTuple):
    """A voice for a locale."""

    language: str
    timbre: Timbre


def voice_for(locale: str, speaker: str = "") -> Voice:
    """Return the voice of a locale such as `de-AT`; a known language in any region has one.

    Raises InvalidRequestError naming what is allowed.
    """
    match = _LOCALE.match(locale)
    if match is None or match[1] not in _LANGUAGES:
        raise InvalidRequestError(
            f"there is no draft voice for locale {locale[:20]!r}; allowed is a language of "
            f"{', '.join(sorted(_LANGUAGES))} with a region, such as en-US or ar-AE",
            field="locale",
        )
    if speaker not in SPEAKERS:
        raise InvalidRequestError(
            f"there is no draft voice {speaker[:20]!r}; leave it empty or take one of "
            f"{', '.join(sorted(filter(None, SPEAKERS)))}",
            field="voice",
        )
    variant, lift = SPEAKERS[speaker]
    name = _REGIONS.get(locale, _LANGUAGES[match[1]])
    return Voice(match[1], Timbre(name + variant, _PITCH + lift, _RANGE))
