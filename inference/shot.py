"""What a model of films is asked, in words, and what of it it cannot do.

The words are the art direction as for a picture, and what moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contracts.errors import InvalidRequestError
from contracts.manifest import Feature
from contracts.requests import ArtDirection
from inference import direction, inputs

if TYPE_CHECKING:
    from bus.worker.model import Files
    from contracts.requests import GenerateVideo

_FEATURES = {
    "first_frame": Feature.FIRST_FRAME,
    "last_frame": Feature.LAST_FRAME,
    "continue_from": Feature.CONTINUATION,
    "references": Feature.REFERENCES,
    "segments": Feature.SEGMENTS,
}

ONE_SHOT = "One continuous shot without a cut."
CAMERA = "The camera moves slowly and smoothly."
CALM = "The calm part of the frame stays calm for the whole shot."
BEGINS = "The shot begins exactly as the given picture shows it and moves on from there."
GOES_ON = "The shot goes on from the end of the given one, in the same movement and light."

_CAMERA_WORDS = ("camera", "pan ", "tilt", "zoom", "dolly", "tracking", "handheld", "static shot")


def prompt_of(request: GenerateVideo) -> str:
    """Return what the model is told: the prompt first, then everything that it leaves open.

    Without an art direction the prompt stays as it was written; a camera that the prompt itself
    directs is left alone. Raises InvalidRequestError(field) for an art direction without room.
    """
    if request.art == ArtDirection():
        return request.prompt.strip()
    said = [direction.prompt_of(request.prompt, _seen(request))]
    if request.art.quiet is not None:
        said.append(CALM)
    if request.first_frame is not None:
        said.append(BEGINS)
    if request.continue_from is not None:
        said.append(GOES_ON)
    said.append(ONE_SHOT)
    if not any(word in request.prompt.lower() for word in _CAMERA_WORDS):
        said.append(CAMERA)
    return " ".join(said)


def _seen(request: GenerateVideo) -> ArtDirection:
    """Return the art direction without pictures that the model never sees."""
    subject = request.art.subject
    if subject is None or request.first_frame is not None or request.continue_from is not None:
        return request.art
    unseen = msgspec.structs.replace(subject, picture=None, label=None)
    return msgspec.structs.replace(request.art, subject=unseen)


def refuse(request: GenerateVideo, features: list[Feature]) -> None:
    """Refuse what a service without some of the features cannot do. InvalidRequestError(field)."""
    if not request.prompt.strip():
        raise InvalidRequestError("the model needs a prompt", field="prompt")
    for field, feature in _FEATURES.items():
        if getattr(request, field) and feature not in features:
            what = feature.value.replace("_", " ")
            raise InvalidRequestError(f"the model cannot do {what}", field=field)
    if request.first_frame is not None and request.continue_from is not None:
        raise InvalidRequestError(
            "a shot begins on a picture or on another film, not on both", field="continue_from"
        )


def check_subject(request: GenerateVideo, files: Files) -> None:
    """Refuse a subject whose files are no pictures, though the model can be told only of words."""
    subject = request.art.subject
    for name in ("picture", "label"):
        ref = getattr(subject, name, None)
        if ref is not None:
            inputs.picture(files, ref, field=f"art.subject.{name}")
