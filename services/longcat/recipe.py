"""What `[model.parameters]` says of this model, read once and checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from contracts.errors import InvalidRequestError
from inference import parameters

if TYPE_CHECKING:
    from contracts.manifest import Manifest

Positive = Annotated[int, msgspec.Meta(ge=1)]

PER_LATENT = 4
"""Frames that one latent frame stands for, after the first."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The model's own defaults; lengths in frames of `fps` a second.

    One link of a chain is `frames` long at most and `least_frames` at least, the `overlap` last
    ones of the link before included. Pictures have about `max_pixels`. `distilled`: the adapter
    for few steps, without guidance. `refine`: each link is made again in about `refine_pixels` and
    at twice the rate, in the steps of a schedule of `refine_steps` that are below `refine_from` of
    noise. `kv_cache`: clean frames are read once for all steps; `offload_kv_cache`: what they say
    lies in the host's memory. `enhance_hf`: fine steps at the end of what goes on from a film.
    """

    steps: Positive
    guidance: Annotated[float, msgspec.Meta(ge=1)]
    distilled: bool = False
    enhance_hf: bool = True
    kv_cache: bool = True
    offload_kv_cache: bool = False
    fps: Positive
    frames: Positive
    least_frames: Positive
    overlap: Positive
    multiple: Positive = 16
    max_pixels: Positive
    min_side: Annotated[int, msgspec.Meta(ge=0)] = 0
    refine: bool = False
    refine_steps: Positive = 50
    refine_from: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    refine_pixels: Positive = 921600
    refine_multiple: Positive = 64
    negative_prompt: str = ""

    @property
    def made_fps(self) -> int:
        """Frames a second of what comes out."""
        return self.fps * self.made_per_frame

    @property
    def made_per_frame(self) -> int:
        """How many frames come out for each of the model's own."""
        return 2 if self.refine else 1


def is_length(frames: int) -> bool:
    """Say whether the model can make, or go on from, so many frames: 4k + 1."""
    return frames >= 1 and frames % PER_LATENT == 1


def read(manifest: Manifest) -> Recipe:
    """Return a manifest's recipe; raises InvalidRequestError naming what is wrong with it."""
    found = parameters.read(manifest, Recipe)
    for key in ("frames", "least_frames", "overlap"):
        if not is_length(getattr(found, key)):
            raise _wrong(manifest, key, "is 4k + 1 frames")
    if found.overlap >= found.frames:
        raise _wrong(manifest, "overlap", "is shorter than a link")
    if found.least_frames > found.frames:
        raise _wrong(manifest, "least_frames", "is no longer than a link")
    if found.distilled and found.guidance > 1:
        raise _wrong(manifest, "guidance", "is 1 for the distilled adapter, which has it built in")
    return found


def _wrong(manifest: Manifest, key: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"{manifest.name}: {key} {why}", field=f"{parameters.FIELD}.{key}")
