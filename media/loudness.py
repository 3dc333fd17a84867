"""Loudness as broadcasters and platforms measure it: ITU-R BS.1770-4 and EBU R 128.

A signal is K-weighted (how the head and the ear hear level), averaged in blocks of 400 ms, and
gated so that pauses do not count. Peaks are taken between the samples as well, since that is
where an encoder and a converter overshoot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from media.pcm import SAMPLE_RATE, SILENCE_DB, decibels_of
from media.spectrum import Biquad, between_samples, equalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from media.pcm import Samples

# The two K-weighting filters, coefficients for 48 kHz as the recommendation prints them.
_HEAD = Biquad(
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
_RLB = Biquad((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
_OFFSET = -0.691  # so that a 997 Hz sine at 0 dBFS in one channel reads -3.01
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_RANGE_GATE = -20.0
_HOP = SAMPLE_RATE // 10
_MOMENTARY_HOPS, _SHORT_TERM_HOPS = 4, 30


class Loudness(NamedTuple):
    """One measurement: LUFS, LU and dBTP; silence reads -200."""

    integrated_lufs: float
    momentary_max_lufs: float
    short_term_max_lufs: float
    range_lu: float
    true_peak_dbtp: float


def measure(samples: Samples) -> Loudness:
    """Measure a whole sound: all five numbers."""
    power = _power_by_hop(samples)
    momentary = _levels(power, _MOMENTARY_HOPS)
    short_term = _levels(power, _SHORT_TERM_HOPS)
    return Loudness(
        integrated_lufs=_gated(momentary),
        momentary_max_lufs=float(momentary.max(initial=SILENCE_DB)),
        short_term_max_lufs=float(short_term.max(initial=SILENCE_DB)),
        range_lu=_range(short_term),
        true_peak_dbtp=true_peak_dbtp(samples),
    )


def integrated_lufs(samples: Samples) -> float:
    """Return the gated loudness of the whole sound in LUFS; -200 for silence."""
    return _gated(_levels(_power_by_hop(samples), _MOMENTARY_HOPS))


def momentary_lufs(samples: Samples) -> NDArray[np.float64]:
    """Return the loudness of each block of 400 ms, one block every 100 ms."""
    return _levels(_power_by_hop(samples), _MOMENTARY_HOPS)


def true_peak_dbtp(samples: Samples) -> float:
    """Return the largest peak in dBTP, four times oversampled; -200 for silence."""
    return decibels_of(float(between_samples(samples).max(initial=0.0)))


def _power_by_hop(samples: Samples) -> NDArray[np.float64]:
    """Return the K-weighted power, channels summed, of each full tenth of a second.

    A sound shorter than one block is padded to one, so that it still has a loudness.
    """
    if len(samples) < _HOP * _MOMENTARY_HOPS:
        short = _HOP * _MOMENTARY_HOPS - len(samples)
        samples = np.concatenate([samples, np.zeros((short, samples.shape[1]), np.float32)])
    weighted = equalize(samples, (_HEAD, _RLB))
    hops = len(weighted) // _HOP
    squared = np.square(weighted[: hops * _HOP], dtype=np.float64)
    return np.asarray(squared.reshape(hops, -1).sum(axis=1) / _HOP)


def _levels(power: NDArray[np.float64], hops: int) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(power)])
    if len(total) <= hops:
        hops = len(power)
    mean = np.maximum(total[hops:] - total[:-hops], 0.0) / hops
    return np.asarray(_lufs(mean))


def _lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(_OFFSET + 10 * np.log10(np.maximum(power, 1e-20)), SILENCE_DB)


def _gated(levels: NDArray[np.float64]) -> float:
    audible = levels[levels > _ABSOLUTE_GATE]
    if not len(audible):
        return SILENCE_DB
    counted = audible[audible > _mean_level(audible) + _RELATIVE_GATE]
    return _mean_level(counted)


def _mean_level(levels: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.mean(10 ** (levels / 10))))


def _range(short_term: NDArray[np.float64]) -> float:
    audible = short_term[short_term > _ABSOLUTE_GATE]
    if not len(audible):
        return 0.0
    counted = audible[audible > _mean_level(audible) + _RANGE_GATE]
    low, high = np.percentile(counted, (10, 95))
    return float(high - low)
