"""From strokes to a finished bed: placing, side-chain, room, spectral balance, level, tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from media.audio import master
from media.pcm import SAMPLE_RATE, Curve, Samples, add_at, fade, frames_of, gain_of, silence
from media.room import Room, reverberated
from media.spectrum import fast_length
from services.draft_music.note import Sound
from services.draft_music.orchestra import Orchestra
from services.draft_music.score import Score

BED_LUFS = -16.0
BED_PEAK_DBTP = -2.0
FADE_SECONDS = 1.1
_LOOSE_ENDS = 0.003  # seconds; the very first attack is not cut into
_MONO_BELOW = 140.0

# Octaves and where a finished bed has them, decibels against the octave at 125 Hz: the long-term
# spectrum of released music, a little lower where a voice-over will stand.
_OCTAVES = (31.5, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
_TARGET_DB = (-13.0, -2.0, 0.0, -2.0, -4.0, -7.0, -10.0, -13.5, -18.5, -29.0)
_MOST_CORRECTION_DB = 6.0
_CORRECTION_SHARE = 0.85

Tick = Callable[[float], None]


def mix_down(
    score: Score, seconds: float, *, room_seconds: float, pump_db: float, tilt_db: float, tick: Tick
) -> Samples:
    """Return the bed, (frames, 2), exactly `seconds` long, -16 LUFS, its tail faded to silence.

    `tick` is called with the share that is done, 0 to 1, often enough to stop within a moment.
    """
    frames = frames_of(seconds)
    room = Room(room_seconds, pre_delay=0.022, bright=0.45, seed=7)
    pumped, dry, send = silence(frames), silence(frames), silence(frames)
    orchestra = Orchestra()
    for number, stroke in enumerate(score.strokes):
        if number % 16 == 0:
            tick(0.7 * number / len(score.strokes))
        sound = panned(orchestra.play(stroke.voice, stroke.tone), stroke.pan)
        start, gain = frames_of(stroke.seconds), gain_of(stroke.gain_db)
        add_at(pumped if stroke.pump else dry, sound, start, gain)
        add_at(send, sound, start, gain * gain_of(stroke.send_db))
    tick(0.75)
    mix = dry + pumped * pump_curve(score.kicks, frames, pump_db)[:, None]
    # The room's impulse has unit energy, so its answer is as loud as what is sent into it.
    mix += reverberated(send, room)[:frames]
    tick(0.85)
    balanced = balance(mix, tilt_db)
    tick(0.9)
    tailed = fade(balanced, fade_in=_LOOSE_ENDS, fade_out=min(FADE_SECONDS, seconds / 4))
    return master(tailed, lufs=BED_LUFS, peak_dbtp=BED_PEAK_DBTP)


def panned(sound: Sound, pan: float) -> Samples:
    """Return (frames, 2) of constant power at `pan`, -1 left to 1 right."""
    angle = (pan + 1.0) * np.pi / 4
    sides = np.array([np.cos(angle), np.sin(angle)], np.float32) * np.float32(np.sqrt(2.0))
    wide = sound[:, None] if sound.ndim == 1 else sound
    return np.asarray(wide * sides, np.float32)


def pump_curve(kicks: Sequence[float], frames: int, depth_db: float) -> Curve:
    """Return a gain that dips by `depth_db` at every kick and is back a quarter second later."""
    gain = np.ones(frames, np.float32)
    time = np.arange(int(0.3 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    away = np.clip(1 - time / 0.28, 0, 1) ** 2 * np.clip(time / 0.006, 0, 1)
    dip = np.exp2(np.float32(depth_db / 6.0206) * away.astype(np.float32))
    for kick in kicks:
        start = frames_of(kick)
        here = gain[start : start + len(dip)]
        np.minimum(here, dip[: len(here)], out=here)
    return gain


def balance(mix: Samples, tilt_db: float) -> Samples:
    """Return `mix` with its octaves moved towards the target, and its bass in the middle.

    `tilt_db` is added per octave above 1 kHz and taken away below it.
    """
    frames = fast_length(len(mix) + SAMPLE_RATE // 10)
    spectrum = np.fft.rfft(mix, frames, axis=0)
    hertz = np.fft.rfftfreq(frames, 1 / SAMPLE_RATE)
    octave = np.log2(np.maximum(hertz, 1.0))
    bands = np.log2(_OCTAVES)
    wanted = np.array(_TARGET_DB) + tilt_db * (bands - np.log2(1000.0))
    missing = wanted - octave_levels(mix)
    missing -= np.median(missing[1:-1])
    moved = np.clip(_CORRECTION_SHARE * missing, -_MOST_CORRECTION_DB, _MOST_CORRECTION_DB)
    curve = np.interp(
        octave, bands, np.convolve(np.pad(moved, 1, "edge"), (0.2, 0.6, 0.2), "valid")
    )
    spectrum *= np.exp2(curve / 6.0206).astype(np.float32)[:, None]
    middle = spectrum.mean(axis=1, keepdims=True)
    side_gain = 1 / (1 + (_MONO_BELOW / np.maximum(hertz, 1.0)) ** 6)
    spectrum = middle + (spectrum - middle) * side_gain.astype(np.float32)[:, None]
    return np.ascontiguousarray(np.fft.irfft(spectrum, frames, axis=0)[: len(mix)], np.float32)


def octave_levels(mix: Samples) -> Curve:
    """Return the energy of every octave from 31.5 Hz to 16 kHz in decibels, relative."""
    power = np.square(np.abs(np.fft.rfft(mix.mean(axis=1)))).astype(np.float64)
    hertz = np.fft.rfftfreq(len(mix), 1 / SAMPLE_RATE)
    edges = np.searchsorted(hertz, np.array([*_OCTAVES, 2 * _OCTAVES[-1]]) / np.sqrt(2))
    total = np.concatenate([[0.0], np.cumsum(power)])
    energy = total[np.minimum(edges[1:], len(power))] - total[np.minimum(edges[:-1], len(power))]
    return np.asarray(10 * np.log10(np.maximum(energy, 1e-12)), np.float32)
