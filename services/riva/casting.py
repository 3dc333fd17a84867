"""Which of a server's voices speaks a locale. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.errors import InvalidRequestError
from services.riva.speech import Voice

LOW, HIGH = "low", "high"
"""What a request may ask for without knowing any voice by name."""

_MANNERS = frozenset(
    {"angry", "calm", "disgust", "disgusted", "fearful", "happy", "neutral", "sad"}
    | {"pleasantsurprise", "pleasantsurprised"}
)
_SHOWN = 12


def cast(voices: Iterable[Voice], locale: str, wanted: str, kinds: dict[str, list[str]]) -> Voice:
    """Return the voice for a locale: of its region if there is one, else of its language.

    `wanted` is empty, `low`, `high`, a voice's whole name or its last part (`Aria`, `Aria.Calm`);
    `kinds` lists the speakers that are low and high, best first. Without a wish it is a voice in
    its plain manner, the first by name. Raises InvalidRequestError naming what there is.
    """
    known = sorted(set(voices))
    fitting = _of(known, locale)
    if not fitting:
        there = ", ".join(sorted({voice.locale for voice in known})) or "none"
        raise InvalidRequestError(
            f"the speech server has no voice for locale {locale[:20]!r}; there are: {there}",
            field="locale",
        )
    plain = [v for v in fitting if _manner(v) not in _MANNERS] or fitting
    if not wanted:
        return plain[0]
    if wanted in (LOW, HIGH):
        return next((v for kind in kinds.get(wanted, []) for v in plain if _is(v, kind)), plain[0])
    for voice in fitting:
        if _is(voice, wanted):
            return voice
    names = ", ".join(sorted(v.name for v in fitting)[:_SHOWN])
    raise InvalidRequestError(
        f"the speech server has no voice {wanted[:40]!r} for {locale}; there are: {names}",
        field="voice",
    )


def _of(voices: list[Voice], locale: str) -> list[Voice]:
    exact = [voice for voice in voices if voice.locale.casefold() == locale.casefold()]
    language = locale.partition("-")[0].casefold()
    return exact or [v for v in voices if v.locale.partition("-")[0].casefold() == language]


def _manner(voice: Voice) -> str:
    return voice.name.rpartition(".")[2].casefold()


def _is(voice: Voice, wanted: str) -> bool:
    """Say whether a voice is meant: by its whole name, or by its last parts."""
    name, asked = voice.name.casefold(), wanted.casefold()
    return name == asked or name.endswith(f".{asked}")
