"""The film's sound: voice over ducked music, loud as the platforms play it, after AAC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

from contracts.errors import MediaRejectedError
from media.audio import (
    PROGRAMME_LUFS,
    PROGRAMME_PEAK_DBTP,
    master,
    mix_voice_over_music,
    read_sound,
)
from media.loudness import integrated_lufs, true_peak_dbtp
from media.pcm import SILENCE_DB
from media.wav import WavError

if TYPE_CHECKING:
    from pathlib import Path

    from media.pcm import Samples

PEAK_LIMIT_DBTP = -1.0
"""No decoded film is louder than this between its samples."""

_TOLERANCE_LU = 0.3


def mixed(voice: Path | None, music: Path | None, seconds: float) -> Samples | None:
    """Return voice over music as one track, not yet mastered; None without either.

    Raises MediaRejectedError for a file that is not a WAVE file.
    """
    if voice is None and music is None:
        return None
    try:
        return mix_voice_over_music(
            read_sound(voice) if voice else None,
            read_sound(music) if music else None,
            seconds=seconds,
        )
    except WavError as error:
        raise MediaRejectedError(f"sound is no WAVE file: {error}", field="work.voice") from error


def mastered(mix: Samples) -> Samples:
    """Return a mix at the programme's loudness and below its peak."""
    return master(mix)


def corrected(mix: Samples, film: Path) -> Samples | None:
    """Master a mix again after measuring what AAC made of it; None where that is good enough."""
    heard = sound_of(film)
    loudness, peak = integrated_lufs(heard), true_peak_dbtp(heard)
    if loudness <= SILENCE_DB:
        return None
    off, over = loudness - PROGRAMME_LUFS, peak - PEAK_LIMIT_DBTP
    if abs(off) <= _TOLERANCE_LU and over <= 0:
        return None
    ceiling = PROGRAMME_PEAK_DBTP - max(0.0, over + 0.1)
    return master(mix, lufs=PROGRAMME_LUFS - off, peak_dbtp=ceiling)


def sound_of(film: Path) -> Samples:
    """Decode a film's sound as (n, 2) float32."""
    with av.open(str(film)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1).T, np.float32)
