"""Filters, resampling and convolution, all done in the frequency domain.

numpy has no recursive filter, and a Python loop over samples is a thousand times too slow. A
biquad's response is known in closed form, so it is multiplied onto the spectrum of the padded
signal instead: exact up to the decay of the filter inside the padding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from media.pcm import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RING = SAMPLE_RATE // 2  # any filter used here has rung out by then
_STRETCH = 1 << 20  # frames worked on at once, so that memory does not grow with the film
_GUARD = 4_096  # frames on either side of a stretch, where a cut-off sinc has died away
_BUTTERWORTH_Q = math.sqrt(0.5)


class Biquad(NamedTuple):
    """A second-order filter: numerator and denominator, three coefficients each."""

    numerator: tuple[float, float, float]
    denominator: tuple[float, float, float]


def high_pass(hertz: float, q: float = _BUTTERWORTH_Q) -> Biquad:
    """Return a second-order high-pass at `hertz`."""
    cosine, alpha = _pole(hertz, q)
    edge = (1 + cosine) / 2
    return Biquad((edge, -2 * edge, edge), (1 + alpha, -2 * cosine, 1 - alpha))


def low_pass(hertz: float, q: float = _BUTTERWORTH_Q) -> Biquad:
    """Return a second-order low-pass at `hertz`."""
    cosine, alpha = _pole(hertz, q)
    edge = (1 - cosine) / 2
    return Biquad((edge, 2 * edge, edge), (1 + alpha, -2 * cosine, 1 - alpha))


def bell(hertz: float, decibels: float, q: float = 1.0) -> Biquad:
    """Return a peaking equaliser: `decibels` at `hertz`, unity far away."""
    cosine, alpha = _pole(hertz, q)
    root = 10 ** (decibels / 40)
    return Biquad(
        (1 + alpha * root, -2 * cosine, 1 - alpha * root),
        (1 + alpha / root, -2 * cosine, 1 - alpha / root),
    )


def high_shelf(hertz: float, decibels: float) -> Biquad:
    """Return a shelf that lifts or lowers everything above `hertz`."""
    cosine, alpha = _pole(hertz, _BUTTERWORTH_Q)
    root = 10 ** (decibels / 40)
    slope = 2 * math.sqrt(root) * alpha
    up, down = root + 1, root - 1
    return Biquad(
        (
            root * (up + down * cosine + slope),
            -2 * root * (down + up * cosine),
            root * (up + down * cosine - slope),
        ),
        (up - down * cosine + slope, 2 * (down - up * cosine), up - down * cosine - slope),
    )


def response_of(filters: Sequence[Biquad], frames: int) -> NDArray[np.complex64]:
    """Return the joint complex response on the rfft grid of a transform of `frames` frames."""
    turn = np.exp(-2j * np.pi * np.arange(frames // 2 + 1) / frames)
    total = np.ones(len(turn), np.complex128)
    for (b0, b1, b2), (a0, a1, a2) in filters:
        total *= (b0 + turn * (b1 + turn * b2)) / (a0 + turn * (a1 + turn * a2))
    return total.astype(np.complex64)


def equalize(samples: NDArray[np.float32], filters: Sequence[Biquad]) -> NDArray[np.float32]:
    """Return `samples`, (n,) or (n, channels), through all `filters`; the length is kept."""
    out = np.empty_like(samples)
    for start in range(0, len(samples), _STRETCH):
        lead = min(start, _RING)
        stretch = samples[start - lead : start + _STRETCH]
        frames = fast_length(len(stretch) + _RING)
        response = response_of(filters, frames)
        spectrum = np.fft.rfft(stretch, frames, axis=0)
        spectrum *= response if samples.ndim == 1 else response[:, None]
        out[start : start + _STRETCH] = _time(spectrum, frames, len(stretch))[lead:]
    return out


def convolve(samples: NDArray[np.float32], impulse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the full convolution of (n, 2) with an impulse response (m, 2), channel by channel."""
    out = np.zeros((len(samples) + len(impulse) - 1, samples.shape[1]), np.float32)
    frames = fast_length(min(len(samples), _STRETCH) + len(impulse) - 1)
    answer = np.fft.rfft(impulse, frames, axis=0)
    for start in range(0, len(samples), _STRETCH):
        stretch = samples[start : start + _STRETCH]
        length = len(stretch) + len(impulse) - 1
        spectrum = np.fft.rfft(stretch, frames, axis=0) * answer
        out[start : start + length] += _time(spectrum, frames, length)
    return out


def resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Return sound of `rate` hertz, (n,) or (n, channels), at 48 kHz.

    The conversion is band-limited; the last twentieth below the lower Nyquist frequency is
    rolled off so that a hard edge does not ring.
    """
    if rate == SAMPLE_RATE or len(samples) == 0:
        return samples.astype(np.float32)
    common = math.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // common, rate // common
    guard = rate // 20  # silence at the end, so that the end does not ring into the start
    blocks = fast_length(-(-(len(samples) + guard) // down))
    spectrum = np.fft.rfft(samples, blocks * down, axis=0)
    kept = min(blocks * down, blocks * up) // 2 + 1
    edge = np.clip(np.linspace(20.0, 0.0, kept), 0.0, 1.0).astype(np.float32)
    spectrum = spectrum[:kept] * (edge if samples.ndim == 1 else edge[:, None])
    out = np.fft.irfft(spectrum, blocks * up, axis=0) * (up / down)
    return np.ascontiguousarray(out[: -(-len(samples) * up // down)], np.float32)


def between_samples(samples: NDArray[np.float32], phases: int = 4) -> NDArray[np.float32]:
    """Return per frame the largest magnitude of all channels on a grid `phases` times as fine.

    Shape (n,). The band-limited signal between two frames is found by shifting the spectrum by
    fractions of a frame, so this is the peak a converter or an encoder will meet.
    """
    peak = np.abs(samples).max(axis=1)
    for start in range(0, len(samples), _STRETCH):
        lead = min(start, _GUARD)
        stretch = samples[start - lead : start + _STRETCH + _GUARD]
        frames = fast_length(len(stretch) + _GUARD)
        spectrum = np.fft.rfft(stretch, frames, axis=0)
        ramp = 2j * np.pi * np.arange(frames // 2 + 1) / frames
        here = peak[start : start + _STRETCH]
        for phase in range(1, phases):
            shift = np.exp(ramp * (phase / phases)).astype(np.complex64)[:, None]
            moved = _time(spectrum * shift, frames, lead + len(here))[lead:]
            np.maximum(here, np.abs(moved).max(axis=1), out=here)
    return np.asarray(peak, np.float32)


def fast_length(frames: int) -> int:
    """Return the smallest 2^a 3^b 5^c that is at least `frames`: the transform is fast there."""
    best = 1 << (frames - 1).bit_length()
    five = 1
    while five < best:
        odd = five
        while odd < best:
            quotient = -(-frames // odd)
            best = min(best, odd << (quotient - 1).bit_length())
            odd *= 3
        five *= 5
    return best


def _pole(hertz: float, q: float) -> tuple[float, float]:
    angle = 2 * math.pi * hertz / SAMPLE_RATE
    return math.cos(angle), math.sin(angle) / (2 * q)


def _time(spectrum: NDArray[np.complexfloating], frames: int, length: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.fft.irfft(spectrum, frames, axis=0)[:length], np.float32)
