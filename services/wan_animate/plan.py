"""How a film is made run by run: how long each is, and how many there are. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from inference import parameters

if TYPE_CHECKING:
    from contracts.manifest import Manifest

_PER_LATENT = 4
_SHORTEST = 5  # frames: two latent ones, fewer are no film to the model


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a model makes and how, as `[model.parameters]` says it; lengths in frames."""

    steps: int
    guidance: float
    fps: int
    segment_frames: int
    carried_frames: int
    multiple: int
    max_pixels: int
    min_side: int
    compile_blocks: bool = False


def rules_of(manifest: Manifest) -> Rules:
    """Return a manifest's rules; raises InvalidRequestError(model.parameters)."""
    return parameters.read(manifest, Rules)


class Runs(NamedTuple):
    """So many runs of `segment_frames` each; the driving video must have `driving_frames`."""

    segment_frames: int
    runs: int
    driving_frames: int


def runs_of(frames: int, rules: Rules) -> Runs:
    """Return the runs that make so many frames.

    What fits into one run is one, as short as the model allows: the driving video is lengthened to
    it. Both pipelines fail on a film that is shorter than half a run of theirs.
    """
    if frames <= rules.segment_frames:
        length = max(_SHORTEST, _PER_LATENT * math.ceil((frames - 1) / _PER_LATENT) + 1)
        length = min(length, rules.segment_frames)
        return Runs(length, 1, length)
    carried = rules.carried_frames
    count = math.ceil((frames - carried) / (rules.segment_frames - carried))
    return Runs(rules.segment_frames, count, frames)
