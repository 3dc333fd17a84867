"""What `[model.parameters]` says of this model, read once and checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from contracts.errors import InvalidRequestError
from inference import parameters

if TYPE_CHECKING:
    from contracts.manifest import Manifest

Length = Annotated[float, msgspec.Meta(gt=0)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The model's own defaults, lengths in seconds.

    `pipeline` is which of the classes it is. It makes at most `most_seconds` at once; a longer
    piece goes on from its last `overlap_seconds`, and `coda_seconds` of every stretch but the last
    are thrown away. A class that cannot go on from music makes nothing longer.

    Below 1, `guide_noise` is how much noise a sketch of the cuts is drowned in that the model then
    starts from; at 1 there is none, and the cuts are told in words alone.
    """

    pipeline: Literal["stable_audio_3", "stable_audio_open", "endpoint"]
    most_seconds: Length
    steps: Annotated[int, msgspec.Meta(ge=1)]
    guidance: Annotated[float, msgspec.Meta(ge=1)]
    overlap_seconds: Length = 10.0
    coda_seconds: Length = 8.0
    guide_noise: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0

    @property
    def guided(self) -> bool:
        """Whether the model starts from a sketch of the cuts."""
        return self.guide_noise < 1

    @property
    def longest(self) -> float:
        """Seconds of the longest piece there is, 0 for no end."""
        return 0.0 if self.pipeline == "stable_audio_3" else self.most_seconds


def read(manifest: Manifest) -> Recipe:
    """Return a manifest's recipe; raises InvalidRequestError naming what is wrong with it."""
    found = parameters.read(manifest, Recipe)
    if found.overlap_seconds + found.coda_seconds >= found.most_seconds and not found.longest:
        raise InvalidRequestError(
            f"{manifest.name}: overlap and coda leave nothing of {found.most_seconds:g} s",
            field=f"{parameters.FIELD}.most_seconds",
        )
    if found.guided and (found.pipeline != "stable_audio_3" or found.guidance > 1):
        raise InvalidRequestError(
            f"{manifest.name}: only Stable Audio 3 without guidance starts from a sketch",
            field=f"{parameters.FIELD}.guide_noise",
        )
    return found
