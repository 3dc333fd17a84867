"""The film's sound: voice over ducked music, loud as the platforms play it, after AAC."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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

MASTERINGS = 4
"""Tries at a soundtrack that is right after AAC; two are the rule where one is not enough."""

_TOLERANCE_LU = 0.3
_MARGIN_DB = 0.15


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


class Target(NamedTuple):
    """What a mix is mastered to before AAC, which moves both figures a little."""

    lufs: float = PROGRAMME_LUFS
    peak_dbtp: float = PROGRAMME_PEAK_DBTP

    def mastered(self, mix: Samples) -> Samples:
        """Return the mix at this loudness and below this peak."""
        return master(mix, lufs=self.lufs, peak_dbtp=self.peak_dbtp)

    def corrected(self, film: Path) -> Target | None:
        """Return a better target after hearing the film; None where it is good enough."""
        heard = sound_of(film)
        loudness, peak = integrated_lufs(heard), true_peak_dbtp(heard)
        off, over = loudness - PROGRAMME_LUFS, peak - PEAK_LIMIT_DBTP
        if loudness <= SILENCE_DB or (abs(off) <= _TOLERANCE_LU and over <= 0):
            return None
        lower = over + _MARGIN_DB if over > 0 else 0.0
        return Target(self.lufs - off, self.peak_dbtp - lower)


def sound_of(film: Path) -> Samples:
    """Decode a film's sound as (n, 2) float32."""
    with av.open(str(film)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1).T, np.float32)
