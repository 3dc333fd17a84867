"""Sound as numbers: the one array shape, the one rate, and the arithmetic of levels.

Everywhere in this product sound is a float32 array of shape (frames, 2) at 48 kHz, full scale
at +-1.0. Files and engines that hold something else convert at their own edge.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Samples: TypeAlias = "NDArray[np.float32]"
"""float32, shape (frames, 2), 48 kHz, full scale +-1.0."""

Curve: TypeAlias = "NDArray[np.float32]"
"""float32, shape (frames,): one gain or level per frame."""

SAMPLE_RATE = 48_000
"""Frames per second of every sound between the edges."""

STEREO = 2
SILENCE_DB = -200.0
"""What a level of zero reads as in decibels, so that no caller meets an infinity."""


def frames_of(seconds: float) -> int:
    """Return the number of frames nearest to `seconds`."""
    return round(seconds * SAMPLE_RATE)


def gain_of(decibels: float) -> float:
    """Return the linear gain of a level in decibels."""
    return float(10.0 ** (decibels / 20.0))


def decibels_of(gain: float) -> float:
    """Return the level in decibels of a linear amplitude; `SILENCE_DB` for zero."""
    return max(SILENCE_DB, 20.0 * math.log10(gain)) if gain > 0 else SILENCE_DB


def silence(frames: int) -> Samples:
    """Return `frames` frames of stereo silence."""
    return np.zeros((frames, STEREO), np.float32)


def to_stereo(samples: NDArray[np.float32]) -> Samples:
    """Return (n, 2) from (n,), (n, 1), (n, 2) or more channels (the first two are kept)."""
    wide = samples[:, None] if samples.ndim == 1 else samples
    if wide.shape[1] == 1:
        wide = np.repeat(wide, STEREO, axis=1)
    return np.ascontiguousarray(wide[:, :STEREO], np.float32)


def fit(samples: Samples, frames: int) -> Samples:
    """Return exactly `frames` frames: cut at the end, or padded there with silence."""
    if len(samples) >= frames:
        return samples[:frames]
    return np.concatenate([samples, silence(frames - len(samples))])


def add_at(target: Samples, part: NDArray[np.float32], start: int, gain: float = 1.0) -> None:
    """Add `part`, (n,) or (n, 2), into `target` at frame `start`; what falls outside is dropped."""
    first = max(0, -start)
    last = min(len(part), len(target) - start)
    if last > first:
        piece = part[first:last]
        stereo = piece[:, None] if piece.ndim == 1 else piece
        target[start + first : start + last] += stereo * np.float32(gain)


def fade(samples: Samples, *, fade_in: float = 0.0, fade_out: float = 0.0) -> Samples:
    """Return a copy with raised-cosine fades of so many seconds; the very last frame is zero."""
    out = samples.copy()
    head = min(len(out), frames_of(fade_in))
    tail = min(len(out), frames_of(fade_out))
    if head:
        out[:head] *= _rise(head)[:, None]
    if tail:
        out[-tail:] *= _rise(tail)[::-1, None]
    return out


def _rise(frames: int) -> Curve:
    phase = np.linspace(0.0, np.pi, frames, dtype=np.float32)
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
