"""What `[model.parameters]` says of this model, read once and checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from contracts.errors import InvalidRequestError
from inference import parameters
from services.ditto.segments import is_length

if TYPE_CHECKING:
    from contracts.manifest import Manifest

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The model's own defaults.

    `adapter` is which of Ditto's adapters is put on VACE, none if empty. The model makes `fps`
    frames a second, at most `most_frames` at once, in pictures of about `max_pixels`; a longer film
    goes on from its last `overlap_frames`. `control` is what the model sees of the film where it
    may change everything, and `masked` what it sees inside a mask: the film, its grey values, or
    nothing at all.
    """

    adapter: Literal["", "global", "global_style", "sim2real", "local"] = ""
    adapter_strength: Annotated[float, msgspec.Meta(gt=0, le=2)] = 1.0
    fps: Positive
    most_frames: Positive
    overlap_frames: Positive
    max_pixels: Positive
    min_side: Annotated[int, msgspec.Meta(ge=0)] = 0
    steps: Positive
    guidance: Annotated[float, msgspec.Meta(ge=1)]
    conditioning: Annotated[float, msgspec.Meta(gt=0, le=2)] = 1.0
    control: Literal["film", "grey"] = "film"
    masked: Literal["film", "grey", "nothing"] = "film"
    negative_prompt: str = ""

    @property
    def adapter_file(self) -> str:
        """Name of the adapter's file in its repository."""
        return f"ditto_{self.adapter}.safetensors"

    def begin(self, strength: float) -> int:
        """Return how many of the steps are left out so that so much of the film stays.

        Strength 1 takes them all; below it, at least one is done.
        """
        return self.steps - max(1, round(self.steps * strength))


def read(manifest: Manifest) -> Recipe:
    """Return a manifest's recipe; raises InvalidRequestError naming what is wrong with it."""
    found = parameters.read(manifest, Recipe)
    for key in ("most_frames", "overlap_frames"):
        if not is_length(getattr(found, key)):
            raise InvalidRequestError(
                f"{manifest.name}: {key} is 4k+1 frames", field=f"{parameters.FIELD}.{key}"
            )
    if found.overlap_frames >= found.most_frames:
        raise InvalidRequestError(
            f"{manifest.name}: a segment is longer than what it goes on from",
            field=f"{parameters.FIELD}.overlap_frames",
        )
    return found
