"""The film's sound: a voice over ducked music, brought to the platforms' loudness.

    track = master(mix_voice_over_music(voice, music, seconds=15.0))

Pure functions on float32 arrays of shape (frames, 2) at 48 kHz; see `media.pcm`. Files are read
and written by `media.wav`, levels are measured by `media.loudness`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from media.dynamics import limit_known, presence
from media.loudness import integrated_lufs, true_peak_dbtp
from media.pcm import SAMPLE_RATE, SILENCE_DB, fade, fit, frames_of, gain_of, silence, to_stereo
from media.spectrum import between_samples, equalize, fast_length, high_pass, resample
from media.wav import read_wav

if TYPE_CHECKING:
    from pathlib import Path

    from media.pcm import Curve, Samples

PROGRAMME_LUFS = -14.0
"""Integrated loudness of a finished film: what the social platforms play back unchanged."""

PROGRAMME_PEAK_DBTP = -2.0
"""Peak before AAC. Its encoder was measured to add half a decibel to most music and nearly one to
some, and -1 dBTP afterwards is the promise."""

_VOICE_LUFS = -16.0
_MUSIC_LUFS = -19.0
_SPEECH_BAND = (300.0, 4_500.0)
_BAND_DIP_DB = -4.0  # the speech band gives way further than the rest of the music
_TOLERANCE_LU = 0.05
_ROUNDS = 6
_LEAST_YIELD = 0.4
_AUDIBLE_LUFS = -70.0


class Ducking(NamedTuple):
    """How far music steps back under a voice."""

    headroom_lu: float = 11.0
    """The voice stands so far above the music while it speaks."""
    least_db: float = 4.0
    most_db: float = 16.0


def read_sound(path: Path) -> Samples:
    """Read a WAVE file of any rate and channel count as (n, 2) at 48 kHz.

    Raises media.wav.WavError for what is not a WAVE file this product reads.
    """
    samples, rate = read_wav(path)
    return to_stereo(resample(samples, rate))


def at_loudness(samples: Samples, lufs: float) -> Samples:
    """Return `samples` with a plain gain that brings them to `lufs`; silence stays silence."""
    measured = integrated_lufs(samples)
    if measured <= _AUDIBLE_LUFS:
        return samples
    return samples * np.float32(gain_of(lufs - measured))


def mix_voice_over_music(
    voice: Samples | None,
    music: Samples | None,
    *,
    seconds: float,
    ducking: Ducking | None = None,
) -> Samples:
    """Return voice and music in one track of exactly `seconds`, not yet mastered.

    The music is lowered smoothly wherever the voice speaks, its speech band (300 to 4500 Hz)
    a little further, just deep enough that the voice stands `headroom_lu` above it. Either part
    may be absent. The first 20 ms are faded in, since AAC answers a hit in its very first frame
    with an overshoot of decibels; the last 50 ms are faded out.
    """
    frames = frames_of(seconds)
    bed = at_loudness(fit(music, frames), _MUSIC_LUFS) if music is not None else silence(frames)
    if voice is None:
        return _faded(bed)
    speech = at_loudness(fit(voice, frames), _VOICE_LUFS)
    gate = presence(speech)
    depth_db = _depth(speech, bed, gate, ducking or Ducking())
    return _faded(speech + duck(bed, gate, depth_db))


def duck(music: Samples, gate: Curve, depth_db: float) -> Samples:
    """Return `music` lowered by `depth_db` (negative) where `gate` is 1, the speech band further.

    `gate` is one value of 0 to 1 per frame, as `media.dynamics.presence` makes it. Between the
    two the gain moves evenly in decibels, which the ear hears as one movement.
    """
    band = _speech_band(music)
    broad = np.exp2(gate * np.float32(depth_db / 6.0206))
    band_dip = np.exp2(gate * np.float32(_BAND_DIP_DB / 6.0206))
    return np.asarray((music - band * (1 - band_dip)[:, None]) * broad[:, None], np.float32)


def master(
    samples: Samples, *, lufs: float = PROGRAMME_LUFS, peak_dbtp: float = PROGRAMME_PEAK_DBTP
) -> Samples:
    """Return `samples` at `lufs` integrated with no true peak above `peak_dbtp`.

    Gain and limiter are repeated until both hold to 0.05 LU. Where the two contradict each
    other (a sparse, spiky sound) the peak wins, after six rounds. Silence is returned as it is.
    """
    clean = equalize(samples, (high_pass(25.0),))
    measured = integrated_lufs(clean)
    if measured <= _AUDIBLE_LUFS:
        return samples
    peaks = between_samples(clean)
    before, gain_db = (0.0, measured), lufs - measured
    for _ in range(_ROUNDS):
        gain = np.float32(gain_of(gain_db))
        out = limit_known(clean * gain, peaks * gain, peak_dbtp)
        reached = integrated_lufs(out)
        if abs(lufs - reached) <= _TOLERANCE_LU:
            break
        # The more the limiter holds back, the less loudness a decibel of gain yields.
        moved = gain_db - before[0]
        yielding = (reached - before[1]) / moved if moved else 1.0
        before = (gain_db, reached)
        gain_db += (lufs - reached) / min(1.0, max(_LEAST_YIELD, yielding))
    over = true_peak_dbtp(out) - peak_dbtp
    return out * np.float32(gain_of(-over)) if over > 0 else out


def _faded(track: Samples) -> Samples:
    return fade(track, fade_in=0.02, fade_out=0.05)


def _depth(speech: Samples, bed: Samples, gate: Curve, ducking: Ducking) -> float:
    """Return by how many decibels (negative) the bed has to step back."""
    spoken = gate > 0.5  # noqa: PLR2004 - the middle of a gate that goes from 0 to 1
    if np.count_nonzero(spoken) < SAMPLE_RATE // 2:
        return -ducking.least_db
    under = integrated_lufs(bed[spoken])
    if under <= SILENCE_DB:
        return -ducking.least_db
    standing = integrated_lufs(speech[spoken]) - under
    return -min(ducking.most_db, max(ducking.least_db, ducking.headroom_lu - standing))


def _speech_band(music: Samples) -> Samples:
    """Return the part of `music` that masks speech, in phase with `music`.

    The window is real (no phase shift), so that subtracting the band leaves no comb.
    """
    frames = fast_length(len(music) + SAMPLE_RATE // 10)
    spectrum = np.fft.rfft(music, frames, axis=0)
    octave = np.log2(np.maximum(np.fft.rfftfreq(frames, 1 / SAMPLE_RATE), 1.0))
    low, high = np.log2(_SPEECH_BAND)
    window = 1 / ((1 + np.exp(-8 * (octave - low))) * (1 + np.exp(8 * (octave - high))))
    spectrum *= window.astype(np.float32)[:, None]
    return np.ascontiguousarray(np.fft.irfft(spectrum, frames, axis=0)[: len(music)], np.float32)
