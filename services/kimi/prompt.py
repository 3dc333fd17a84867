"""The conversation with the model: texts beside this file, filled with what one request needs."""

from __future__ import annotations

from functools import cache
from importlib import resources
from string import Template
from typing import Any, NamedTuple

import msgspec

from contracts.brief import Brief
from contracts.locale import LANGUAGES
from services.kimi.reading import Reading

MOST_PROBLEMS = 20
"""More are not quoted: the first ones are usually the cause of the rest."""


class Message(NamedTuple):
    """One turn of the conversation."""

    role: str
    content: str


@cache
def _template(name: str) -> Template:
    folder = resources.files(__package__).joinpath("prompts")
    return Template(folder.joinpath(f"{name}.txt").read_text("utf-8").strip())


def opening(name: str, **values: str) -> list[Message]:
    """Return how a conversation about a task begins: who the model is, and what is wanted."""
    return [
        Message("system", _template("system").substitute()),
        Message("user", _template(name).substitute(values)),
    ]


def repair(said: str, problems: list[str]) -> list[Message]:
    """Return the turns that quote what was wrong with an answer and ask for it again."""
    listed = "\n".join(f"- {problem}" for problem in problems[:MOST_PROBLEMS])
    return [
        Message("assistant", said),
        Message("user", _template("repair").substitute(problems=listed)),
    ]


def brief_text(brief: Brief, readings: list[Reading]) -> str:
    """Return the brief as the model reads it: one block for each locale, empty fields left out."""
    block: dict[str, Any] = {
        "form": str(brief.product.form),
        "placements": brief.placements,
        "markets": brief.markets,
        "banned_words": brief.brand.banned_words,
        "locales": {r.locale: _of_locale(r) for r in readings},
    }
    kept = {name: value for name, value in block.items() if value}
    text = msgspec.json.format(msgspec.json.encode(kept), indent=1).decode()
    return text.replace("<", "\\u003c")  # nothing in a brief closes its own tag


def _of_locale(reading: Reading) -> dict[str, Any]:
    told = {
        "brand": reading.brand,
        "product": reading.product,
        "what_it_is": reading.what,
        "tagline": reading.tagline,
        "voice_of_the_brand": reading.voice,
        "audience": reading.audience,
        "objective": reading.objective,
        "offer": reading.offer,
        "call_to_action": reading.call,
        "figures_that_may_be_claimed": reading.amounts,
    }
    return {name: value for name, value in told.items() if value}


def manners_text(readings: list[Reading]) -> str:
    """Return how each language of the brief is written, each once."""
    by_language = {r.language: r for r in readings}
    return "\n".join(
        f"- {LANGUAGES[language]}: {reading.manner.manner}"
        for language, reading in by_language.items()
    )
