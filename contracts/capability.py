"""One table of capabilities; the request type, subject token and event names all come from here."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """What a service can do. The value is the subject token and the stem of the event names."""

    TEXT = "text"
    IMAGE = "image"
    IMAGE_EDIT = "image_edit"
    VIDEO = "video"
    VIDEO_EDIT = "video_edit"
    ANIMATION = "animation"
    MESH = "mesh"
    RIG = "rig"
    WORLD = "world"
    MUSIC = "music"
    SPEECH = "speech"
    COMPOSE = "compose"
    PACKAGE = "package"

    @property
    def request_type(self) -> str:
        """Tag of the request message, e.g. `generate_video.v1`."""
        return _REQUEST_TYPES[self]

    @property
    def request_event(self) -> str:
        """Event told when the router has chosen who does it, e.g. `video_generation_request`."""
        return f"{self.value}_generation_request"

    @property
    def result_event(self) -> str:
        """Event told once when it is over, e.g. `video_generation_result`."""
        return f"{self.value}_generation_result"


_REQUEST_TYPES = {
    Capability.TEXT: "generate_text.v1",
    Capability.IMAGE: "generate_image.v1",
    Capability.IMAGE_EDIT: "edit_image.v1",
    Capability.VIDEO: "generate_video.v1",
    Capability.VIDEO_EDIT: "edit_video.v1",
    Capability.ANIMATION: "animate_character.v1",
    Capability.MESH: "generate_mesh.v1",
    Capability.RIG: "rig_mesh.v1",
    Capability.WORLD: "generate_world.v1",
    Capability.MUSIC: "generate_music.v1",
    Capability.SPEECH: "generate_speech.v1",
    Capability.COMPOSE: "compose_media.v1",
    Capability.PACKAGE: "package_campaign.v1",
}


def capability_of(request_type: str) -> Capability | None:
    """Return the capability whose request carries this tag, or None."""
    return next((c for c, tag in _REQUEST_TYPES.items() if tag == request_type), None)


class Tier(StrEnum):
    """Draft engines or production models; a label on everything that is made."""

    DRAFT = "draft"
    PRODUCTION = "production"
