"""What an instrument is asked for, and the two ways to decay that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from media.pcm import SAMPLE_RATE

Sound: TypeAlias = NDArray[np.float32]
"""(frames,) where the instrument is a point, (frames, 2) where it has a width of its own."""


class Tone(NamedTuple):
    """One note, or one chord for the instruments that play chords at once."""

    pitches: tuple[float, ...]
    """MIDI numbers, ascending."""
    seconds: float
    """How long it is held; the sound rings on after."""
    force: float
    """0 to 1: how hard it is played; harder is brighter. Loudness is the mixer's business."""
    seed: int = 0


Instrument: TypeAlias = Callable[[Tone], Sound]


def damped(hertz: float, t60: float, frames: int, phase: float = 0.0) -> Sound:
    """Return a sine that dies by 60 dB in `t60` seconds.

    Built as an outer product of a coarse and a fine turn, which needs no sine per frame.
    """
    step = complex(-6.908 / (t60 * SAMPLE_RATE), 2 * np.pi * hertz / SAMPLE_RATE)
    fine = np.exp(step * np.arange(256)).astype(np.complex64)
    coarse = np.exp(step * 256 * np.arange(-(-frames // 256)) + 1j * phase).astype(np.complex64)
    return np.ascontiguousarray(np.outer(coarse, fine).reshape(-1)[:frames].imag)


def decay(t60: float, frames: int) -> Sound:
    """Return a gain that dies by 60 dB in `t60` seconds."""
    step = -6.908 / (t60 * SAMPLE_RATE)
    fine = np.exp(step * np.arange(256)).astype(np.float32)
    coarse = np.exp(step * 256 * np.arange(-(-frames // 256))).astype(np.float32)
    return np.outer(coarse, fine).reshape(-1)[:frames]


def envelope(frames: int, attack: float, held: float, release: float) -> Sound:
    """Return a gain that rises over `attack`, holds to `held` and falls over `release` seconds."""
    time = np.arange(frames, dtype=np.float32) / np.float32(SAMPLE_RATE)
    rise = np.clip(time / np.float32(max(attack, 1e-3)), 0, 1)
    fall = np.clip(1 - (time - np.float32(held)) / np.float32(max(release, 1e-3)), 0, 1)
    gain = rise * fall
    return np.asarray(gain * gain * (3 - 2 * gain), np.float32)


def noise_of(frames: int, seed: int) -> Sound:
    """Return white noise of unit power."""
    return np.random.default_rng(seed).standard_normal(frames, np.float32)
