"""A film as a chain of links, each going on from the end of the one before; and their keys. Pure.

A link's key stands for everything that its bytes depend on: what all links share, and every link
up to it. Two films that begin alike share the keys of their beginnings, so that a changed prompt
leaves everything before it as it is (ADR-0024).
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from contracts.errors import InvalidRequestError
from services.longcat.recipe import PER_LATENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.requests import VideoSegment
    from services.longcat.recipe import Recipe


class Part(NamedTuple):
    """What happens for so many frames of the model's own rate."""

    prompt: str
    frames: int


class Link(NamedTuple):
    """One run of the model: of `frames`, the first `given` are there before.

    Of what it shows, `skip` frames at the start are none of the film's, and `used` follow that are,
    from frame `first` of the film on; whatever else was made is dropped. All counts in frames of
    the model's own rate.
    """

    prompt: str
    frames: int
    given: int
    skip: int
    first: int
    used: int

    @property
    def shown(self) -> int:
        """How many frames there are to go on from: all but what is dropped."""
        return self.skip + self.used

    def handed_on(self, overlap: int) -> int:
        """Return how many of its last frames the next link begins on: 4k + 1."""
        return length_within(min(overlap, self.shown))


def length_within(frames: int) -> int:
    """Return the longest that the model can go on from within so many frames: 4k + 1."""
    return PER_LATENT * ((max(1, frames) - 1) // PER_LATENT) + 1


def length_around(frames: int) -> int:
    """Return the shortest that the model can make of so many frames and more: 4k + 1."""
    return PER_LATENT * math.ceil((max(1, frames) - 1) / PER_LATENT) + 1


def parts_of(
    prompts: Sequence[str],
    segments: Sequence[VideoSegment],
    seconds: float,
    *,
    fps: int,
    whole: int,
) -> list[Part]:
    """Return what happens when, in `whole` frames; `prompts` are the segments' or the one of all.

    Raises InvalidRequestError(segments) for lengths that do not add up to `seconds`.
    """
    if not segments:
        return [Part(prompts[0], whole)]
    given = sum(segment.seconds for segment in segments)
    free = sum(segment.seconds == 0 for segment in segments)
    left = seconds - given
    if left < -1 / fps or (free and left <= 0):
        raise InvalidRequestError(
            f"the segments take {given:g} s of a film of {seconds:g} s", field="segments"
        )
    if not free and left > 1 / fps:
        raise InvalidRequestError(
            f"the segments are {given:g} s long, the film {seconds:g} s", field="segments"
        )
    ends, at = [], 0.0
    for segment in segments:
        at += segment.seconds or left / free
        ends.append(round(at * fps))
    ends[-1] = whole
    starts = [0, *ends[:-1]]
    parts = [Part(p, b - a) for p, a, b in zip(prompts, starts, ends, strict=True)]
    if any(part.frames < 1 for part in parts):
        raise InvalidRequestError("a segment is shorter than one frame", field="segments")
    return parts


def links_of(parts: Sequence[Part], recipe: Recipe, *, given: int, skip: int) -> list[Link]:
    """Return the links that make a film's parts.

    `given` frames are there before the first; `skip` of them are none of the film's own. Each link
    is as long as can be, so that a longer film has the same ones and more.
    """
    made: list[Link] = []
    first = 0
    for part in parts:
        left = part.frames
        while left:
            if made:
                given = skip = made[-1].handed_on(recipe.overlap)
            used = min(left, recipe.frames - skip)
            frames = max(length_around(skip + used), recipe.least_frames)
            made.append(Link(part.prompt, frames, given, skip, first, used))
            first, left = first + used, left - used
    return made


def keys_of(shared: object, links: Sequence[Link]) -> list[str]:
    """Return each link's key; `shared` is what the bytes of all depend on, as plain values."""
    key, made = hashlib.sha256(_encoded(shared)).hexdigest(), []
    for link in links:
        key = hashlib.sha256(key.encode() + _encoded(link)).hexdigest()
        made.append(key)
    return made


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


class Clock(NamedTuple):
    """Two rates of one film: frames that are made a second, and frames that are shown.

    Of each moment, in the middle of the shown frame, the made frame that lies there is shown.
    """

    made: int
    shown: int

    def at(self, frame: int) -> int:
        """Return which made frame a shown one is."""
        return (2 * frame + 1) * self.made // (2 * self.shown)

    def before(self, made: int) -> int:
        """Return how many frames are shown of those before a made one."""
        return max(0, -((self.made - 2 * made * self.shown) // (2 * self.made)))
