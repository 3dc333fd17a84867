"""A script comes from a model: before anything is planned on it, see that it can be planned on."""

from __future__ import annotations

import math

import msgspec

from contracts.brief import MAX_SECONDS, Brief, named_shots
from contracts.errors import AdgenxError
from contracts.script import Script
from services.coordinator.step import is_shot, is_variant

MAX_SHOTS = 64
_LONGER = 1.1


class ScriptError(AdgenxError):
    """The script lacks something that the films need, or its times make no sense."""

    code = "SCRIPT_UNUSABLE"


def read_script(body: bytes, brief: Brief) -> Script:
    """Decode a script and check it against the brief; raise ScriptError saying what is wrong."""
    try:
        script = msgspec.json.decode(body, type=Script)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ScriptError(f"the script cannot be read: {str(error)[:160]}") from None
    check_script(script, brief)
    return script


def check_script(script: Script, brief: Brief) -> None:
    """Raise ScriptError unless films can be planned from the script."""
    names = [shot.name for shot in script.shots]
    if not 1 <= len(names) <= MAX_SHOTS or len(set(names)) != len(names):
        raise ScriptError(f"a script has 1 to {MAX_SHOTS} shots, each with a name of its own")
    for shot in script.shots:
        if not is_shot(shot.name):
            raise ScriptError(f"{shot.name[:40]!r} is no name for a shot")
        if not _is_time(shot.seconds) or not (
            shot.short_seconds == 0 or _is_time(shot.short_seconds)
        ):
            raise ScriptError(f"shot {shot.name} has no usable length")
        missing = [locale for locale in brief.locales if locale not in shot.texts]
        if missing:
            raise ScriptError(f"shot {shot.name} has no text for {missing[0]}")
    _check_named(names, brief)
    total = sum(shot.seconds for shot in script.shots)
    if total > brief.length_seconds * _LONGER:
        raise ScriptError(
            f"the shots last {total:.1f} s, the film shall last {brief.length_seconds:g} s"
        )
    missing = [locale for locale in brief.locales if locale not in script.end_cards]
    if missing:
        raise ScriptError(f"there is no end card for {missing[0]}")
    if len(script.variants) < brief.variants.hooks:
        raise ScriptError(
            f"{brief.variants.hooks} variants are asked for, the script has {len(script.variants)}"
        )

    if not all(is_variant(v) for v in script.variants):
        raise ScriptError("a variant is one small letter")


def _check_named(names: list[str], brief: Brief) -> None:
    missing = [shot for shot in named_shots(brief) if shot not in names]
    if missing:
        raise ScriptError(
            f"the brief names the shot {missing[0]}, and the script has none; its shots are "
            f"{', '.join(names)}",
            field=field_of(brief, missing[0]),
        )


def field_of(brief: Brief, shot: str) -> str:
    """Return the first field of the brief by which edits, restyling or people name a shot."""
    fields = {f"edits[{i}].of": edit.of for i, edit in enumerate(brief.edits)}
    fields |= {f"people[{i}].shot": person.shot for i, person in enumerate(brief.people)}
    return next((f for f, named in fields.items() if named == shot), f"restyle.{shot}")


def _is_time(seconds: float) -> bool:
    return math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS
