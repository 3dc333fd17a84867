"""The brief: what a person says a campaign shall be. Shape here, meaning in brief_check.py."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from contracts.assets import Asset, AssetId
from contracts.capability import Tier
from contracts.colour import Hex
from contracts.identity import Id

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
Paragraph = Annotated[str, msgspec.Meta(max_length=600)]
Localized = Line | dict[str, Line]
"""One text for all locales, or one for each locale of the brief."""
LocalizedShort = Short | dict[str, Short]
LocalizedParagraph = Paragraph | dict[str, Paragraph]

Instruction = Annotated[str, msgspec.Meta(min_length=1, max_length=600)]

KEY_VISUAL = "key_visual"
"""What the stills are made of, where an edit names what it changes."""
SHOTS = (
    "hook",
    "tension",
    "promise",
    "product",
    "detail",
    "proof",
    "life",
    "moment",
    "offer",
    "end",
)
"""Shots that a brief may name: to set a headline, to edit, to restyle, to show a person."""

SENTENCE_LIMIT = 600
MIN_SECONDS, MAX_SECONDS = 6, 300


class Form(StrEnum):
    """The product's physical form; a service has none."""

    CAN = "can"
    BOTTLE = "bottle"
    JAR = "jar"
    TUBE = "tube"
    CUP = "cup"
    BOX = "box"
    SERVICE = "service"


class _Part(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A part of a brief: unknown fields are refused, with the nearest known name."""


class Palette(_Part, frozen=True, kw_only=True):
    """Five colours; `ink` is read on `paper`."""

    primary: Hex = "#1F4E79"
    secondary: Hex = "#F2B84B"
    ink: Hex = "#14171A"
    paper: Hex = "#F6F3EC"
    accent: Hex = "#2F6F62"


class Brand(_Part, frozen=True, kw_only=True):
    """Who speaks."""

    name: LocalizedShort
    tagline: Localized = ""
    palette: Palette = Palette()
    voice: LocalizedParagraph = ""
    banned_words: Annotated[list[Short], msgspec.Meta(max_length=100)] = []
    legal: LocalizedParagraph = ""


class Fact(_Part, frozen=True, kw_only=True):
    """A figure that may be claimed, with its unit and what it measures."""

    value: float
    unit: Annotated[str, msgspec.Meta(max_length=12)] = ""
    label: LocalizedShort


class Product(_Part, frozen=True, kw_only=True):
    """What is sold."""

    name: LocalizedShort
    what: Localized
    form: Form = Form.SERVICE
    facts: Annotated[list[Fact], msgspec.Meta(max_length=8)] = []
    url: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Variants(_Part, frozen=True, kw_only=True):
    """How many openings to try against one another."""

    hooks: Annotated[int, msgspec.Meta(ge=1, le=4)] = 1


class Edit(_Part, frozen=True, kw_only=True):
    """A change to a picture, before type is set on it or a shot is filmed from it.

    `of` is `key_visual`, the picture of the stills, or a shot, whose first frame it changes.
    """

    instruction: Instruction
    of: Short = KEY_VISUAL


class Person(_Part, frozen=True, kw_only=True):
    """Somebody to be seen in a shot: the person of one asset moves as in the video of another.

    `character` and `driving` are those assets' ids. `animate` keeps the background of the picture,
    `replace` puts the person into the video. `prompt` may say what is seen.

    `pose`, `face`, `background` and `mask` are ids of further driving videos, as a tracker makes
    them of the first, for models that do not read a motion from it themselves: to replace somebody
    takes such a model.
    """

    character: AssetId
    driving: AssetId
    shot: Short
    mode: Literal["animate", "replace"] = "animate"
    prompt: Annotated[str, msgspec.Meta(max_length=600)] = ""
    pose: AssetId = ""
    face: AssetId = ""
    background: AssetId = ""
    mask: AssetId = ""


class Money(_Part, frozen=True, kw_only=True):
    """An amount of money; `currency` is an ISO 4217 code."""

    amount: Annotated[float, msgspec.Meta(ge=0)]
    currency: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")] = "USD"


class Brief(_Part, frozen=True, kw_only=True):
    """What a campaign shall be. `length_seconds` of the main film; `scale` of every picture's
    sides (1 is full size); `seed` makes the same choices again; `headlines` sets the headline of a
    shot by hand (`hook`, `proof`, `end`, ...) where the copy engine would write one. `markets` are
    the countries in which it will be shown (ISO 3166-1 alpha-2); without them those of the locales.
    `allow_draft` lets a draft engine step in where a production model fails, labelled as a draft.

    What only production models can do: `edits` of pictures; `restyle`, one look for every shot or
    one for each of some shots; `people` in shots. Draft engines do none of it: a draft leaves it
    out and says so.
    """

    campaign: Id
    brand: Brand
    product: Product
    placements: Annotated[list[str], msgspec.Meta(min_length=1, max_length=24)]
    locales: Annotated[list[str], msgspec.Meta(min_length=1, max_length=12)]
    audience: Localized = ""
    objective: Localized = ""
    offer: Localized = ""
    call_to_action: LocalizedShort = ""
    headlines: dict[str, LocalizedShort] = {}
    length_seconds: Annotated[float, msgspec.Meta(ge=MIN_SECONDS, le=MAX_SECONDS)] = 15.0
    variants: Variants = Variants()
    edits: Annotated[list[Edit], msgspec.Meta(max_length=16)] = []
    restyle: Line | dict[str, Line] = ""
    people: Annotated[list[Person], msgspec.Meta(max_length=8)] = []
    music: Annotated[str, msgspec.Meta(max_length=200)] = "warm, forward, 100 bpm"
    tier: Tier = Tier.DRAFT
    allow_draft: bool = False
    markets: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{2}\Z")]], msgspec.Meta(max_length=64)
    ] = []
    budget: Money | None = None
    assets: Annotated[list[Asset], msgspec.Meta(max_length=24)] = []
    scale: Annotated[float, msgspec.Meta(ge=0.1, le=1.0)] = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


def localized(text: str | dict[str, str], locale: str) -> str:
    """Return the text for a locale."""
    return text if isinstance(text, str) else text.get(locale, "")


def named_shots(brief: Brief) -> list[str]:
    """Return the shots that edits, restyling and people name: the script must have them."""
    restyled = brief.restyle if isinstance(brief.restyle, dict) else {}
    edited = [edit.of for edit in brief.edits if edit.of != KEY_VISUAL]
    return list(dict.fromkeys([*edited, *restyled, *(person.shot for person in brief.people)]))
