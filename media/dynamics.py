"""Gain that follows the signal: limiter, compressor, and the gate that ducks music under speech.

Each works on a control signal of 1.5 kHz (one value per block of 32 frames) in plain Python
floats, where attack and release may be honest recursions, and stretches the result back to the
frames. That costs a few milliseconds per film.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from media.pcm import SAMPLE_RATE, gain_of
from media.spectrum import between_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from media.pcm import Curve, Samples

_BLOCK = 32
_CONTROL_RATE = SAMPLE_RATE / _BLOCK


def limit(
    samples: Samples, ceiling_dbtp: float, *, look_ahead: float = 0.004, release: float = 0.08
) -> Samples:
    """Return `samples` with no peak, between the samples included, above `ceiling_dbtp`.

    The gain is down before the peak arrives (`look_ahead` seconds) and recovers exponentially
    (`release` seconds). What is below the ceiling throughout is returned unchanged.
    """
    return limit_known(samples, between_samples(samples), ceiling_dbtp, look_ahead, release)


def limit_known(
    samples: Samples,
    peaks: Curve,
    ceiling_dbtp: float,
    look_ahead: float = 0.004,
    release: float = 0.08,
) -> Samples:
    """Do what `limit` does where the caller has already found the peaks, one per frame."""
    ceiling = gain_of(ceiling_dbtp)
    if float(peaks.max(initial=0.0)) <= ceiling:
        return samples
    loudest = _blocks(peaks).max(axis=1)
    # A moving gain makes new in-between peaks, of a few hundredths of a decibel: leave room.
    needed = np.minimum(1.0, 0.995 * ceiling / np.maximum(loudest, 1e-9))
    ahead = max(1, round(look_ahead * _CONTROL_RATE))
    early = sliding_window_view(np.append(needed, np.ones(ahead)), ahead + 1).min(axis=1)
    recovered = _recover(early, math.exp(-1 / (release * _CONTROL_RATE)))
    led = np.append(np.full(ahead, recovered[0]), recovered)
    smooth = sliding_window_view(led, ahead + 1).mean(axis=1)
    # At a block's edge the lower neighbour counts: so no frame of a block exceeds its need.
    edges = np.minimum(np.append(smooth[0], smooth), np.append(smooth, smooth[-1]))
    return samples * _stretched(edges, len(samples))[:, None]


def compress(
    samples: Samples,
    *,
    threshold_db: float,
    ratio: float,
    attack: float = 0.005,
    release: float = 0.12,
    knee_db: float = 6.0,
) -> Samples:
    """Return `samples` with RMS level above `threshold_db` (dBFS) reduced by `ratio`."""
    power = np.square(_blocks(np.abs(samples).max(axis=1)), dtype=np.float64).mean(axis=1)
    level = 10 * np.log10(np.maximum(smoothed(power, attack, release), 1e-12))
    over = np.clip(level - threshold_db + knee_db / 2, 0.0, None)
    bent = np.where(over < knee_db, over**2 / (2 * knee_db), over - knee_db / 2)
    gain = 10 ** (-bent * (1 - 1 / ratio) / 20)
    return samples * _stretched(np.append(gain[0], gain), len(samples))[:, None]


def presence(
    samples: Samples,
    *,
    threshold_db: float = -42.0,
    hold: float = 0.35,
    attack: float = 0.12,
    release: float = 0.45,
) -> Curve:
    """Return, per frame, how present a voice is, 0 to 1: a smoothed gate that opens early.

    Gaps shorter than `hold` seconds stay open, since music that leaps up between two words is
    worse than music that stays down. The gate is fully open when the word starts.
    """
    level = _blocks(np.abs(samples).max(axis=1)).max(axis=1)
    speaking = (level > gain_of(threshold_db)).astype(np.float64)
    before, after = round(attack * _CONTROL_RATE), round(hold * _CONTROL_RATE)
    padded = np.concatenate([np.zeros(after), speaking, np.zeros(before)])
    held = sliding_window_view(padded, before + after + 1).max(axis=1)
    eased = smoothed(held, attack / 3, release / 3)
    return _stretched(np.append(eased[0], eased), len(samples))


def smoothed(control: NDArray[np.float64], attack: float, release: float) -> NDArray[np.float64]:
    """Return a control signal with a one-pole rise (`attack` seconds) and fall (`release`)."""
    rise = math.exp(-1 / (attack * _CONTROL_RATE))
    fall = math.exp(-1 / (release * _CONTROL_RATE))
    state, out = 0.0, []
    for value in control.tolist():
        keep = rise if value > state else fall
        state = value + (state - value) * keep
        out.append(state)
    return np.array(out)


def _recover(gains: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    state, out = 1.0, []
    for value in gains.tolist():
        state = min(value, 1.0 - (1.0 - state) * keep)
        out.append(state)
    return np.array(out)


def _blocks(curve: Curve) -> NDArray[np.float32]:
    """Return (blocks, 32); the last block is filled up with zeros."""
    count = -(-len(curve) // _BLOCK)
    return np.append(curve, np.zeros(count * _BLOCK - len(curve), np.float32)).reshape(-1, _BLOCK)


def _stretched(edges: NDArray[np.float64], frames: int) -> Curve:
    """Return one value per frame from the values at the blocks' edges."""
    steps = np.arange(_BLOCK, dtype=np.float32) / _BLOCK
    low, high = edges[:-1, None].astype(np.float32), edges[1:, None].astype(np.float32)
    return np.asarray((low + (high - low) * steps).reshape(-1)[:frames], np.float32)
