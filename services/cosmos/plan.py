"""How a shot is made piece by piece: what the model can make at once, and how pieces join. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from contracts.errors import InvalidRequestError
from inference import parameters

if TYPE_CHECKING:
    from contracts.manifest import Manifest

OVERLAP = 5
"""Frames of what came before that a continuation is begun on: two of the model's latent frames."""
_PER_LATENT = 4


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a model makes and how, as `[model.parameters]` says it; lengths in frames.

    `frames` is the most of one segment, `least_frames` the least; `multiple` divides both sides.
    """

    steps: int
    guidance: float
    fps: int
    frames: int
    least_frames: int
    segments: int
    multiple: int
    max_pixels: int
    min_side: int


def rules_of(manifest: Manifest) -> Rules:
    """Return a manifest's rules; raises InvalidRequestError(model.parameters)."""
    return parameters.read(manifest, Rules)


class Segment(NamedTuple):
    """One run of the model.

    It makes `frames`, begun on `given` of them; those from `kept_from` on go into the film.
    """

    frames: int
    given: int
    kept_from: int


def segments_of(seconds: float, rules: Rules, *, given: int) -> list[Segment]:
    """Return the runs that make a shot of so many seconds, all of one length.

    `given` frames are there before it begins: none, 1 of a first picture, OVERLAP of another film.
    The last of them is the shot's first. Raises InvalidRequestError(seconds) for what is too long.
    """
    wanted = max(1, math.ceil(round(seconds * rules.fps, 6)))
    first = max(0, given - 1)
    whole = first + wanted
    count = 1
    if whole > rules.frames:
        count += math.ceil((whole - rules.frames) / (rules.frames - OVERLAP))
    if count > rules.segments:
        longest = (rules.segments * (rules.frames - OVERLAP) + OVERLAP - first) / rules.fps
        raise InvalidRequestError(
            f"at most {longest:.4g} s can be made, {seconds:g} were asked for", field="seconds"
        )
    share = math.ceil((whole + (count - 1) * OVERLAP) / count)
    each = min(rules.frames, max(rules.least_frames, _latent_frames(share)))
    return [Segment(each, OVERLAP if n else given, OVERLAP if n else first) for n in range(count)]


def _latent_frames(frames: int) -> int:
    """Return the next number of frames that is whole latent frames: 4 k + 1."""
    return _PER_LATENT * math.ceil((frames - 1) / _PER_LATENT) + 1
