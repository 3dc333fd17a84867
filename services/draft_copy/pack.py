"""Line packs: what can be said in a language, as data."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import msgspec

from contracts.locale import LANGUAGES
from media.script.numbers import DurationNames
from media.script.typography import typeset


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line. `say` is what the voice says over it (the line itself if empty); `need` names the
    facts without which it would be an invention; `tone` the brand voices it suits.
    """

    text: str
    say: str = ""
    need: list[str] = []
    tone: list[str] = []


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An opening and the turn that answers it. They belong together, voice included."""

    hook: str
    turn: str
    say_hook: str = ""
    say_turn: str = ""
    need: list[str] = []
    tone: list[str] = []


class World(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lines of one category: openings, worries, product lines, proof headings, life after."""

    stories: list[Story] = []
    tension: list[Line] = []
    product: list[Line] = []
    proof: list[Line] = []
    life: list[Line] = []


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language. `calls` are calls to action by aim, `buttons` the ad managers' own names for
    theirs; `never` lists words that no line of ours may hold: hype, and claims nobody can check.
    """

    words_per_second: float
    alt: str
    offer_shot: str
    never: list[str]
    common: list[str]
    numbers: dict[str, str]
    durations: dict[str, DurationNames]
    calls: dict[str, str]
    buttons: dict[str, str]
    deck: dict[str, str]
    world: dict[str, World]


@cache
def load_pack(language: str, region: str = "") -> Pack:
    """Return a language's pack as the region says it, already in the language's typography."""
    text = resources.files(__package__).joinpath("packs", f"{language}.toml").read_text("utf-8")
    text, mark, told = typeset(text, language, quotes=False).partition("[regional.")
    regional = msgspec.toml.decode(mark + told, type=dict[str, dict[str, dict[str, str]]])
    for usual, here in regional.get("regional", {}).get(region, {}).items():
        text = text.replace(usual, here)
    raw = msgspec.toml.decode(text, type=dict[str, Any])
    for world in raw["world"].values():
        for kind in world.keys() - {"stories"}:
            # A line with nothing to say about itself stands in the file as its text alone.
            world[kind] = [{"text": x} if isinstance(x, str) else x for x in world[kind]]
    return msgspec.convert(raw, Pack)


def load_all() -> dict[str, Pack]:
    """Return every language's pack."""
    return {language: load_pack(language) for language in sorted(LANGUAGES)}
