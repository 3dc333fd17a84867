"""Names of steps, the only place that builds and parses them, and the seeds that follow from them.

    <kind>[.<shot>][~<locale>][~<variant>][~<placement or ratio>]

`video.hook~9x16`, `speech~de-DE~a`, `film~fr-FR~b~youtube_bumper`, `package`. A step that does not
depend on a part carries none, so that it is shared.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

import msgspec

from contracts.capability import Capability
from contracts.errors import InvalidRequestError

_SHOT = re.compile(r"\A[a-z0-9][a-z0-9_-]{0,29}\Z")
_LOCALE = re.compile(r"\A[a-z]{2}-[A-Z]{2}\Z")
_VARIANT = re.compile(r"\A[a-z]\Z")
_TARGET = re.compile(r"\A[a-z0-9][a-z0-9_]{1,39}\Z")
_SEED_BYTES = 4
_SEED_MASK = 2**31 - 1


class Kind(StrEnum):
    """What a step makes."""

    SCRIPT = "script"
    COPY = "copy"
    LABEL = "label"
    MESH = "mesh"
    IMAGE = "image"
    EDIT = "edit"
    VIDEO = "video"
    ANIMATE = "animate"
    RESTYLE = "restyle"
    SPEECH = "speech"
    MUSIC = "music"
    FILM = "film"
    STILL = "still"
    PACKAGE = "package"


_CAPABILITIES = {
    Kind.SCRIPT: Capability.TEXT,
    Kind.COPY: Capability.TEXT,
    Kind.LABEL: Capability.COMPOSE,
    Kind.MESH: Capability.MESH,
    Kind.IMAGE: Capability.IMAGE,
    Kind.EDIT: Capability.IMAGE_EDIT,
    Kind.VIDEO: Capability.VIDEO,
    Kind.ANIMATE: Capability.ANIMATION,
    Kind.RESTYLE: Capability.VIDEO_EDIT,
    Kind.SPEECH: Capability.SPEECH,
    Kind.MUSIC: Capability.MUSIC,
    Kind.FILM: Capability.COMPOSE,
    Kind.STILL: Capability.COMPOSE,
    Kind.PACKAGE: Capability.PACKAGE,
}


def capability_of_step(name: str) -> Capability:
    """Return what a step's request asks for, from its name alone."""
    return _CAPABILITIES[parse(name).kind]


class StepName(msgspec.Struct, frozen=True):
    """A step's name in parts; `target` is a placement or a ratio."""

    kind: Kind
    shot: str = ""
    locale: str = ""
    variant: str = ""
    target: str = ""

    def __str__(self) -> str:
        head = f"{self.kind}.{self.shot}" if self.shot else str(self.kind)
        return "~".join([head, *(p for p in (self.locale, self.variant, self.target) if p)])


def parse(text: str) -> StepName:
    """Take a name apart, or raise InvalidRequestError."""
    head, *parts = text.split("~")
    kind, dot, shot = head.partition(".")
    found = {"locale": "", "variant": "", "target": ""}
    patterns = [("locale", _LOCALE), ("variant", _VARIANT), ("target", _TARGET)]
    for part in parts:
        # Parts come in one order, so each one may only match a pattern behind the last one's.
        while patterns and not patterns[0][1].match(part):
            patterns.pop(0)
        if not patterns:
            raise InvalidRequestError(f"{text[:80]!r} is not a step's name", field="step")
        found[patterns.pop(0)[0]] = part
    if kind not in Kind.__members__.values() or (dot and not _SHOT.match(shot)):
        raise InvalidRequestError(f"{text[:80]!r} is not a step's name", field="step")
    return StepName(Kind(kind), shot, **found)


def is_shot(name: str) -> bool:
    """Say whether a shot's name can stand in a step's name."""
    return _SHOT.match(name) is not None


def is_variant(name: str) -> bool:
    """Say whether a variant's name can stand in a step's name."""
    return _VARIANT.match(name) is not None


def seed_of(campaign_seed: int, name: StepName) -> int:
    """Derive a step's seed from the brief's: changing one thing never reseeds another.

    It follows from kind and shot alone: one shot looks alike in all ratios, placements and
    variants, and a picture has the seed of the film's plate.
    """
    kind = Kind.VIDEO if name.kind is Kind.IMAGE else name.kind
    digest = hashlib.sha256(f"{campaign_seed}\0{kind}\0{name.shot}".encode()).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big") & _SEED_MASK
