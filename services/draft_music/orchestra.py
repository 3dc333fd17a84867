"""All instruments by name, each brought to one loudness, each sound made once.

A mixer that cannot listen needs equal starting points: every instrument's reference note is
measured (K-weighted, 400 ms) and scaled, so that a level in the data means what it says.
"""

from __future__ import annotations

import numpy as np

from media.loudness import momentary_lufs
from media.pcm import gain_of, to_stereo
from services.draft_music.note import Instrument, Sound, Tone
from services.draft_music.percussion import PERCUSSION
from services.draft_music.plucked import PLUCKED
from services.draft_music.struck import STRUCK
from services.draft_music.sustained import SUSTAINED

INSTRUMENTS: dict[str, Instrument] = {**SUSTAINED, **PLUCKED, **STRUCK, **PERCUSSION}

CHORDAL = frozenset(SUSTAINED)
"""Instruments that play all pitches of a tone at once."""

_REFERENCE_LUFS = -20.0
_LOW = frozenset({"round_bass", "sub_bass", "upright"})
_FORCE_STEPS, _TIME_STEPS = 6, 16


class Orchestra:
    """Plays tones; remembers what it has played."""

    def __init__(self) -> None:
        self._gains: dict[str, float] = {}
        self._played: dict[tuple[str, Tone], Sound] = {}

    def play(self, name: str, tone: Tone) -> Sound:
        """Return the sound of a tone at the instrument's reference loudness.

        Length and force are rounded (a sixteenth of a second, a sixth of the range), so that
        the same note a moment later is the same sound.
        """
        rounded = tone._replace(
            seconds=max(1, round(tone.seconds * _TIME_STEPS)) / _TIME_STEPS,
            force=round(tone.force * _FORCE_STEPS) / _FORCE_STEPS,
        )
        sound = self._played.get((name, rounded))
        if sound is None:
            sound = INSTRUMENTS[name](rounded) * np.float32(self._gain(name))
            self._played[name, rounded] = sound
        return sound

    def _gain(self, name: str) -> float:
        if name not in self._gains:
            pitches = (50.0, 57.0, 62.0, 66.0) if name in CHORDAL else (60.0,)
            reference = Tone((38.0,) if name in _LOW else pitches, 0.8, 0.6, seed=1)
            heard = momentary_lufs(to_stereo(INSTRUMENTS[name](reference))).max()
            self._gains[name] = gain_of(_REFERENCE_LUFS - float(heard))
        return self._gains[name]
