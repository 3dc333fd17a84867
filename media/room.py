"""Rooms: impulse responses made of decaying noise, and sound placed in them.

A reverb tail is close to Gaussian noise whose high frequencies die first. Such a response costs
one convolution, is deterministic by its seed, and has no metallic ring, which the recursive
kind is hard to keep free of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from media.pcm import SAMPLE_RATE, STEREO, Samples, frames_of
from media.spectrum import convolve, equalize, high_pass, low_pass

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPLIT = 2_500.0  # hertz; above it the tail lives shorter


class Room(NamedTuple):
    """What a room sounds like."""

    seconds: float
    """Decay by 60 dB below 2.5 kHz."""
    pre_delay: float = 0.02
    """Seconds between the sound and its tail: how near the sound stands."""
    bright: float = 0.5
    """Decay above 2.5 kHz as a share of `seconds`."""
    width: float = 1.0
    """0 gives both ears the same tail, 1 a tail of their own."""
    seed: int = 1


def impulse_of(room: Room) -> Samples:
    """Return the room's impulse response, (n, 2), of unit energy per channel."""
    frames = frames_of(room.seconds * 1.1 + room.pre_delay)
    noise = np.random.default_rng(room.seed).standard_normal((frames, STEREO + 1))
    shared, own = noise[:, STEREO:], noise[:, :STEREO]
    blend = (shared * np.sqrt(1 - room.width) + own * np.sqrt(room.width)).astype(np.float32)
    low = equalize(blend, (low_pass(_SPLIT),)) * _decay(frames, room.seconds)
    high = equalize(blend, (high_pass(_SPLIT),)) * _decay(frames, room.seconds * room.bright)
    tail = equalize((low + high).astype(np.float32), (high_pass(180.0), low_pass(9_000.0)))
    lead = frames_of(room.pre_delay)
    out = np.zeros((frames, STEREO), np.float32)
    out[lead:] = tail[: frames - lead]
    rise = min(frames - lead, frames_of(0.008))  # a soft first edge: no slap
    out[lead : lead + rise] *= np.linspace(0, 1, rise, dtype=np.float32)[:, None]
    return np.asarray(out / np.sqrt(np.square(out).sum(axis=0)), np.float32)


def reverberated(samples: Samples, room: Room) -> Samples:
    """Return only the room's answer to `samples`, as long as sound and tail together."""
    return convolve(samples, impulse_of(room))


def _decay(frames: int, seconds: float) -> NDArray[np.float32]:
    time = np.arange(frames, dtype=np.float32) / np.float32(SAMPLE_RATE)
    return np.asarray(np.exp(np.float32(-6.91 / seconds) * time)[:, None])
