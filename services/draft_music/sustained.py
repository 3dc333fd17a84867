"""Held sounds: pads, strings, a choir-like breath, a drone.

Each harmonic is not a line but a narrow bell of noise, as if many players held it (the PADsynth
method of Nasca Octavian Paul). A whole chord is one inverse transform; nothing loops and nothing
beats with the tempo. Left and right share most of their phases: wide, yet sound in mono.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from media.pcm import SAMPLE_RATE
from media.spectrum import fast_length
from services.draft_music.harmony import frequency
from services.draft_music.note import Instrument, Sound, Tone, envelope

_HIGHEST = 11_000.0


class Section(NamedTuple):
    """A body of players."""

    slope: float
    """Harmonic n has the amplitude n ** -slope."""
    cutoff: float
    """Hertz above which the sound falls away steeply."""
    cents: float
    """How far the players are out of tune with one another."""
    attack: float
    release: float
    even: float = 1.0
    """Level of the even harmonics: 0 is a clarinet's hollow sound."""
    width: float = 0.5
    """0 mono, 1 left and right unrelated."""
    formants: tuple[tuple[float, float], ...] = ()
    """Vowel: hertz and linear lift."""


SECTIONS = {
    "warm_pad": Section(1.5, 1500, 22, 0.35, 0.9),
    "glass_pad": Section(1.2, 3800, 12, 0.5, 1.2, even=0.55),
    "strings": Section(1.15, 3200, 28, 0.28, 0.7),
    "low_strings": Section(1.25, 1500, 24, 0.18, 0.5),
    "breath": Section(
        1.4, 2600, 45, 0.7, 1.4, width=0.6, formants=((620, 2.0), (1100, 1.6), (2500, 0.6))
    ),
    "synth_pad": Section(1.0, 2300, 30, 0.12, 0.5),
    "drone": Section(1.3, 900, 10, 0.9, 1.6, width=0.35),
}


def hold(section: Section, tone: Tone) -> NDArray[np.float32]:
    """Play all pitches of `tone` together, (frames, 2)."""
    frames = int((tone.seconds + section.release) * SAMPLE_RATE)
    length = fast_length(frames)
    level = np.zeros(length // 2 + 1, np.float32)
    for pitch in tone.pitches:
        _add_player(level, section, frequency(pitch), tone.force, length)
    used = int(_HIGHEST * length / SAMPLE_RATE)
    turns = np.random.default_rng(tone.seed).random((2, used), np.float32) * np.float32(2 * np.pi)
    spectrum = np.zeros((length // 2 + 1, 2), np.complex64)
    spectrum[:used, 0] = level[:used] * np.exp(1j * turns[0])
    spectrum[:used, 1] = level[:used] * np.exp(1j * (turns[0] + section.width * (turns[1] - np.pi)))
    sound = np.fft.irfft(spectrum, length, axis=0)[:frames].astype(np.float32)
    attack = min(section.attack * (1.3 - 0.6 * tone.force), 0.6 * tone.seconds)
    return sound * envelope(frames, attack, tone.seconds, section.release)[:, None] * length


def _add_player(level: Sound, section: Section, hertz: float, force: float, length: int) -> None:
    """Add one pitch's harmonics to the magnitudes of a spectrum for `length` frames."""
    bin_hertz = SAMPLE_RATE / length
    cutoff = section.cutoff * 2.0 ** (1.2 * force - 0.6)
    spread = 2.0 ** (section.cents / 1200) - 1.0
    for number in range(1, int(_HIGHEST / hertz)):
        centre = number * hertz
        gain = number**-section.slope / (1.0 + (centre / cutoff) ** 4)
        gain *= section.even if number % 2 == 0 else 1.0
        for formant, lift in section.formants:
            gain *= 1.0 + (lift - 1.0) * np.exp(-(((centre - formant) / (0.25 * formant)) ** 2))
        if gain < 1e-4:  # noqa: PLR2004 - 80 dB down
            continue
        sigma = max(spread * centre, 0.4) / bin_hertz
        low, high = int(centre / bin_hertz - 3 * sigma), int(centre / bin_hertz + 3 * sigma) + 2
        low, high = max(low, 0), min(high, len(level))
        offset = (np.arange(low, high, dtype=np.float32) - centre / bin_hertz) / sigma
        # Power is kept: a broad bell is a low one.
        level[low:high] += (gain / np.sqrt(sigma)) * np.exp(-0.5 * offset * offset)


SUSTAINED: dict[str, Instrument] = {
    name: partial(hold, section) for name, section in SECTIONS.items()
}
