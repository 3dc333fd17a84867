"""One small good request and one bad one of every kind; a new service needs no edit here."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from contracts.artifacts import ArtifactRef
from contracts.brief import Brand, Brief, Form, Palette, Product
from contracts.capability import Capability
from contracts.requests import (
    ArtDirection,
    Box,
    ComposeMedia,
    GenerateImage,
    GenerateMesh,
    GenerateMusic,
    GenerateSpeech,
    GenerateText,
    GenerateVideo,
    LabelWork,
    Look,
    PackageCampaign,
    PackageItem,
    Request,
    SpeechLine,
    StillWork,
    Subject,
)
from contracts.script import EndCard

JUNK = b"neither a picture nor a film nor a sound"
FILES = {hashlib.sha256(JUNK).hexdigest(): JUNK}
"""Input artifacts of the samples, by hash."""

_SHA256 = next(iter(FILES))
_REF = ArtifactRef(
    key=f"t/sha256/{_SHA256[:2]}/{_SHA256}",
    sha256=_SHA256,
    media_type="image/png",
    size_bytes=len(JUNK),
)
_BRIEF = Brief(
    campaign="sample",
    brand=Brand(name="Kestrel"),
    product=Product(name="Kestrel Lemonade", what="a sparkling lemonade", form=Form.CAN),
    placements=["tiktok"],
    locales=["en-GB"],
)
_ART = ArtDirection(
    scene="studio",
    subject=Subject(form=Form.CAN, name="Lemonade"),
    focus=Box(x=0.2, y=0.3, w=0.6, h=0.6),
    quiet=Box(x=0.1, y=0.05, w=0.8, h=0.2),
)
_NO_PICTURE = ArtDirection(scene="studio", subject=Subject(name="Lemonade", picture=_REF))
_WHOLE = Box(x=0, y=0, w=1, h=1)


class Sample(NamedTuple):
    """`bad` passes the contract's types, and is refused by every service of its kind."""

    good: Request
    bad: Request


def _item(path: str) -> PackageItem:
    return PackageItem(path=path, artifact=_REF, step="script")


SAMPLES: dict[Capability, Sample] = {
    Capability.TEXT: Sample(
        GenerateText(task="script", brief=_BRIEF, locale="en-GB"),
        GenerateText(task="copy", brief=_BRIEF, locale="fr-FR"),
    ),
    Capability.IMAGE: Sample(
        GenerateImage(prompt="a can of lemonade", width=96, height=64, art=_ART),
        GenerateImage(prompt="a can", width=96, height=64, art=_NO_PICTURE),
    ),
    Capability.VIDEO: Sample(
        GenerateVideo(
            prompt="a can of lemonade", width=96, height=64, seconds=0.5, fps=10, art=_ART
        ),
        GenerateVideo(prompt="a can", width=96, height=64, seconds=0.5, fps=10, art=_NO_PICTURE),
    ),
    Capability.MESH: Sample(
        GenerateMesh(prompt="a can of lemonade", form=Form.CAN),
        GenerateMesh(prompt="a can", form=Form.CAN, label=_REF),
    ),
    Capability.MUSIC: Sample(
        GenerateMusic(seconds=3, mood="warm, forward", cuts=[1.2]),
        GenerateMusic(seconds=3, mood="warm, forward", cuts=[2.0, 1.0]),
    ),
    Capability.SPEECH: Sample(
        GenerateSpeech(
            locale="en-GB",
            lines=[SpeechLine(text="Wide awake.", start_seconds=0.2, max_seconds=2.5)],
            seconds=3,
        ),
        GenerateSpeech(
            locale="tlh-001",
            lines=[SpeechLine(text="Qapla.", start_seconds=0.2, max_seconds=2.5)],
            seconds=3,
        ),
    ),
    Capability.COMPOSE: Sample(
        ComposeMedia(
            work=LabelWork(
                form=Form.CAN,
                palette=Palette(),
                locale="en-GB",
                brand="Kestrel",
                product="Lemonade",
                width=256,
                height=128,
            )
        ),
        ComposeMedia(
            work=StillWork(
                width=96,
                height=64,
                look=Look(palette=Palette(), locale="en-GB", brand="Kestrel", safe=_WHOLE),
                picture=_REF,
                type_box=_WHOLE,
                headline="Wide awake",
                end_card=EndCard(brand="Kestrel"),
                max_bytes=150_000,
            )
        ),
    ),
    Capability.PACKAGE: Sample(
        PackageCampaign(title="Sample", palette=Palette(), items=[_item("notes/script.txt")]),
        PackageCampaign(title="Sample", palette=Palette(), items=[_item("a.txt"), _item("A.txt")]),
    ),
}
