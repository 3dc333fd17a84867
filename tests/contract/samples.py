"""One small good request and one bad one of every kind; a new service needs no edit here."""

from __future__ import annotations

import hashlib
import io
from typing import NamedTuple

import av
from PIL import Image

from contracts.artifacts import ArtifactRef
from contracts.brief import Brand, Brief, Form, Palette, Product
from contracts.capability import Capability
from contracts.requests import (
    AnimateCharacter,
    ArtDirection,
    Box,
    ComposeMedia,
    EditImage,
    EditVideo,
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


def _picture(width: int, height: int) -> Image.Image:
    """A picture with an up, a down, a left and a right."""
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    picture.paste((200, 60, 30), (width // 4, height // 4, width // 2, height // 2))
    return picture


def _png(width: int, height: int) -> bytes:
    target = io.BytesIO()
    _picture(width, height).save(target, "PNG")
    return target.getvalue()


def _film(width: int, height: int, frames: int, fps: int) -> bytes:
    """An MP4 in which the picture turns."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            turned = _picture(width, height).rotate(number * 6)
            container.mux(stream.encode(av.VideoFrame.from_image(turned)))
        container.mux(stream.encode())
    return target.getvalue()


PICTURE = _png(96, 64)
FILM = _film(96, 64, frames=8, fps=16)
FILES = {hashlib.sha256(body).hexdigest(): body for body in (JUNK, PICTURE, FILM)}
"""Input artifacts of the samples, by hash."""


def ref(body: bytes, media_type: str) -> ArtifactRef:
    """The artifact that these bytes are."""
    sha256 = hashlib.sha256(body).hexdigest()
    return ArtifactRef(
        key=f"t/sha256/{sha256[:2]}/{sha256}",
        sha256=sha256,
        media_type=media_type,
        size_bytes=len(body),
    )


_REF = ref(JUNK, "image/png")
_NO_FILM = ref(JUNK, "video/mp4")
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
    Capability.IMAGE_EDIT: Sample(
        EditImage(image=ref(PICTURE, "image/png"), instruction="turn the can to the left"),
        EditImage(image=_REF, instruction="turn the can to the left"),
    ),
    Capability.VIDEO_EDIT: Sample(
        EditVideo(video=ref(FILM, "video/mp4"), instruction="make it of paper"),
        EditVideo(video=_NO_FILM, instruction="make it of paper"),
    ),
    Capability.ANIMATION: Sample(
        AnimateCharacter(
            character=ref(PICTURE, "image/png"),
            driving=ref(FILM, "video/mp4"),
            width=96,
            height=64,
            fps=16,
        ),
        AnimateCharacter(
            character=_REF, driving=ref(FILM, "video/mp4"), width=96, height=64, fps=16
        ),
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
