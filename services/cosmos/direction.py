"""A shot in words: the art direction as for a picture, and what moves. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contracts.requests import ArtDirection
from inference import direction

if TYPE_CHECKING:
    from contracts.requests import GenerateVideo

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
