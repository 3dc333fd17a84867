"""From what a model made to a bed for the film: its length, its ending, its loudness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import ModelFailedError
from media.audio import master
from media.loudness import integrated_lufs
from media.pcm import SAMPLE_RATE, add_at, fade, fit, frames_of, gain_of, to_stereo
from media.room import Room, reverberated
from media.spectrum import equalize, high_pass, resample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from media.pcm import Curve, Samples

BED_LUFS = -16.0
BED_PEAK_DBTP = -2.0
_FADE_SECONDS = 1.1
_LOOSE_ENDS = 0.003  # seconds; the very first attack is not cut into
_AUDIBLE_LUFS = -70.0
_LOWEST = 25.0  # hertz: a decoder's offset, faded, would be a thump
_HIT_SECONDS = 0.15  # the accent on the cut is heard in full
_GONE_DB = -48.0  # at the end, before the fade that takes the rest
_THROWN_SECONDS = 0.6  # of music before the cut, sent into the room
_ROOM_DB = -9.0


def bed_of(samples: NDArray[Any], rate: int, *, seconds: float, cuts: Sequence[float]) -> Samples:
    """Return (frames, 2) at 48 kHz of exactly `seconds`, -16 LUFS and at most -2 dBTP.

    `samples` is (channels, n) float. The last of `cuts` begins the end card: from there on the
    music rings out. Raises ModelFailedError for what is no music: silence, or no numbers.
    """
    if not np.isfinite(samples).all():
        raise ModelFailedError("the model made numbers that are no sound")
    wide = np.ascontiguousarray(samples.T, np.float32)
    track = fit(to_stereo(resample(wide, rate)), frames_of(seconds))
    if integrated_lufs(track) <= _AUDIBLE_LUFS:
        raise ModelFailedError("the model made silence")
    track = equalize(track, (high_pass(_LOWEST),))
    if cuts:
        track = rung_out(track, cuts[-1])
    tail = min(_FADE_SECONDS, seconds / 4)
    return master(
        fade(track, fade_in=_LOOSE_ENDS, fade_out=tail), lufs=BED_LUFS, peak_dbtp=BED_PEAK_DBTP
    )


def rung_out(track: Samples, cut: float) -> Samples:
    """Return a track that ends on `cut`: the accent there, then decay and the room's answer.

    What comes before the cut is as it was.
    """
    at = frames_of(cut)
    out = track * _decay(len(track), at)[:, None]
    left = (len(track) - at) / SAMPLE_RATE
    room = Room(min(3.0, max(0.4, left)), pre_delay=0.01, bright=0.5, seed=11)
    first = max(0, at - frames_of(_THROWN_SECONDS))
    thrown = fade(track[first : at + frames_of(_HIT_SECONDS)], fade_out=_HIT_SECONDS)
    answer = fade(reverberated(thrown, room)[at - first :], fade_in=_HIT_SECONDS)
    add_at(out, answer, at, gain_of(_ROOM_DB))
    return out


def _decay(frames: int, at: int) -> Curve:
    """Return a gain of 1 up to a moment after frame `at`, and falling evenly in decibels then."""
    gain = np.ones(frames, np.float32)
    begin = min(frames, at + frames_of(_HIT_SECONDS))
    count = frames - begin
    if count:
        gain[begin:] = np.exp2(np.linspace(0, _GONE_DB / 6.0206, count, dtype=np.float32))
    return gain
