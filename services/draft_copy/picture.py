"""What a shot's picture shows: the draft engines' scene, and a prompt for production models."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import msgspec

from contracts.brief import Brief, Form, localized
from media.script.storyboard import BREATH
from services.draft_copy import signals


class Picture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scene's name, and a prompt with `{subject}` and `{light}` in it.

    No colours: the palette travels beside the prompt, so that a new one changes no word.
    """

    scene: str
    prompt: str


class Scenes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """scenes.toml: by world and shot, and what every prompt ends with."""

    finish: str
    form: dict[str, str]
    light: dict[str, str]
    shot: dict[str, dict[str, Picture]]


@cache
def _scenes() -> Scenes:
    text = resources.files(__package__).joinpath("scenes.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=Scenes)


def picture(shot: str, brief: Brief) -> tuple[str, str]:
    """Return a shot's scene name and its prompt."""
    scenes = _scenes()
    role, number = re.sub(r"\d+\Z", "", shot), re.sub(r"\A\D+", "", shot)
    if role == BREATH and int(number) % 2 == 0:
        role = "pause"  # two wordless shots in a row are not the same picture
    locale = brief.locales[0]
    worlds = [*signals.worlds(brief, locale), "any"]
    found = next(scenes.shot[w][role] for w in worlds if role in scenes.shot.get(w, {}))
    tones = signals.tones(brief, locale)
    light = next((text for tone, text in scenes.light.items() if tone in tones), "soft daylight")
    prompt = found.prompt
    for slot, value in {"subject": _subject(brief, scenes), "light": light}.items():
        prompt = prompt.replace(f"{{{slot}}}", value)
    return found.scene, f"{prompt}. {scenes.finish}"


def _subject(brief: Brief, scenes: Scenes) -> str:
    """Return the product as a photographer would be told about it."""
    english = next((locale for locale in brief.locales if locale.startswith("en")), "")
    what = brief.product.what
    text = what if isinstance(what, str) else what.get(english) or next(iter(what.values()), "")
    locale = english or brief.locales[0]
    brand = localized(brief.brand.name, locale)
    if brief.product.form is Form.SERVICE:
        return text or localized(brief.product.name, locale)
    return f"{scenes.form[brief.product.form]} of {brand} ({text}), plain label in brand colours"
