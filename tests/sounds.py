"""Sounds to test with, and FFmpeg's own loudness meter."""

from fractions import Fraction

import av
import numpy as np

from media.pcm import SAMPLE_RATE, SILENCE_DB, Samples, frames_of
from media.spectrum import (
    equalize,
    low_pass,
)


def tone(hertz: float, seconds: float = 1.0, level: float = 0.5, rate: int = 48_000) -> Samples:
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def noise(seconds: float, level: float = 0.1, seed: int = 1) -> Samples:
    frames = frames_of(seconds)
    return (level * np.random.default_rng(seed).standard_normal((frames, 2))).astype(np.float32)


def pulsed(seconds: float, seed: int = 2) -> Samples:
    """Noise that comes and goes, with quiet stretches: something for the gates to do."""
    time = np.arange(frames_of(seconds)) / SAMPLE_RATE
    envelope = 0.02 + np.clip(np.sin(2 * np.pi * 0.4 * time), 0, 1)
    dark = equalize(noise(seconds, seed=seed), (low_pass(900.0),))
    return (dark * envelope[:, None]).astype(np.float32)


def rms_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


def ffmpeg_loudness(samples: Samples) -> tuple[float, float]:
    """Return integrated LUFS and true peak in dBTP, as the ebur128 filter reports them."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        format="flt", sample_rate=SAMPLE_RATE, layout="stereo", time_base=Fraction(1, SAMPLE_RATE)
    )
    meter = graph.add("ebur128", "metadata=1:peak=true")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout="stereo"
    )
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    graph.push(frame)
    graph.push(None)
    lufs, peak = SILENCE_DB, 0.0
    while True:
        try:
            metadata = graph.pull().metadata
        except (av.EOFError, BlockingIOError):
            break
        lufs = float(metadata["lavfi.r128.I"])
        peaks = (metadata.get(f"lavfi.r128.true_peaks_ch{c}", "0") for c in (0, 1))
        peak = max(peak, *(float(p) for p in peaks))
    return lufs, 20 * np.log10(max(peak, 1e-10))
