"""Keys, bars and bells, and the synthetic basses: sounds made of decaying partials."""

from __future__ import annotations

from functools import partial

import numpy as np

from media.pcm import SAMPLE_RATE
from media.spectrum import equalize, low_pass
from services.draft_music.harmony import frequency
from services.draft_music.note import Instrument, Sound, Tone, damped, decay, envelope, noise_of

_HIGHEST = 9_000.0

# Modes of a body: ratio to the lowest, level, share of the ring.
_BARS = {
    "marimba": ((1.0, 1.0, 1.0), (3.93, 0.28, 0.35), (9.7, 0.1, 0.12)),
    "kalimba": ((1.0, 1.0, 1.0), (2.0, 0.12, 0.7), (5.42, 0.22, 0.2), (8.6, 0.06, 0.1)),
    "celesta": ((1.0, 1.0, 1.0), (2.0, 0.35, 0.8), (4.0, 0.2, 0.5), (6.3, 0.08, 0.25)),
    "glass": ((1.0, 1.0, 1.0), (2.76, 0.4, 0.6), (5.4, 0.2, 0.4), (8.93, 0.08, 0.25)),
}
_BAR_RING = {"marimba": 0.9, "kalimba": 1.4, "celesta": 2.0, "glass": 3.2}
_BAR_KNOCK = {"marimba": 0.12, "kalimba": 0.16, "celesta": 0.04, "glass": 0.02}


def felt_piano(tone: Tone) -> Sound:
    """Play an upright piano with the felt down, close and soft, (frames, 2)."""
    hertz = frequency(tone.pitches[0])
    ring = 5.5 * (220.0 / hertz) ** 0.55
    release = 0.35
    frames = int(min(tone.seconds + release, ring) * SAMPLE_RATE)
    stiffness = 3.5e-4 * (hertz / 260.0) ** 1.2
    sides = []
    for side, cents in enumerate((-0.9, 0.9)):
        sound = np.zeros(frames, np.float32)
        for number in range(1, 13):
            partial_hertz = hertz * number * np.sqrt(1 + stiffness * number**2)
            if partial_hertz > _HIGHEST:
                break
            fall = number ** -(1.55 - 0.55 * tone.force) / (1 + (partial_hertz / 3200) ** 2)
            comb = abs(np.sin(np.pi * number / 8.3)) + 0.05  # where the hammer meets the string
            phase = 2.4 * number + 0.5 * side
            live = ring / (1 + 0.35 * number)
            sound += np.float32(fall * comb) * damped(
                partial_hertz * 2 ** (cents / 1200), live, frames, phase
            )
        sides.append(sound)
    knock = equalize(noise_of(min(frames, 2400), tone.seed), (low_pass(420.0),))
    out = np.stack(sides, axis=1)
    out[: len(knock)] += (0.25 * knock * decay(0.05, len(knock)))[:, None]
    return out * envelope(frames, 0.004, frames / SAMPLE_RATE - release, release)[:, None]


def electric_piano(tone: Tone) -> Sound:
    """Play a tine piano: two sines, one turning the other, and a short bright tine, (frames,)."""
    hertz = frequency(tone.pitches[0])
    release = 0.3
    frames = int(min(tone.seconds + release, 4.0) * SAMPLE_RATE)
    time = np.arange(frames, dtype=np.float64) / SAMPLE_RATE
    phase = (2 * np.pi * hertz * time).astype(np.float32)
    bend = np.float32(0.35 + 1.5 * tone.force) * decay(1.6, frames)
    body = np.sin(phase + bend * np.sin(phase)) * decay(3.2 * (260 / hertz) ** 0.4, frames)
    tine = damped(min(hertz * 13.9, _HIGHEST), 0.18, frames) * np.float32(0.09 * tone.force)
    held = envelope(frames, 0.003, frames / SAMPLE_RATE - release, release)
    return np.asarray((body + tine) * held, np.float32)


def bar(name: str, tone: Tone) -> Sound:
    """Play a tuned bar or bell, (frames,)."""
    hertz = frequency(tone.pitches[0])
    ring = _BAR_RING[name] * (440.0 / hertz) ** 0.5
    frames = int(ring * 1.1 * SAMPLE_RATE)
    sound = np.zeros(frames, np.float32)
    for ratio, level, share in _BARS[name]:
        if ratio * hertz < _HIGHEST:
            bright = level * (0.5 + tone.force) if ratio > 1 else level
            sound += np.float32(bright) * damped(ratio * hertz, ring * share, frames)
    knock = equalize(noise_of(960, tone.seed), (low_pass(2500.0),)) * decay(0.02, 960)
    sound[:960] += np.float32(_BAR_KNOCK[name]) * knock
    return sound * envelope(frames, 0.002, frames / SAMPLE_RATE - 0.05, 0.05)


def round_bass(tone: Tone) -> Sound:
    """Play a warm synthetic bass: a sine pushed until it has harmonics a phone can play."""
    return _bass(tone, drive=1.0 + 1.2 * tone.force, sustain=2.5)


def sub_bass(tone: Tone) -> Sound:
    """Play a deep, slow, nearly pure bass."""
    return _bass(tone, drive=0.75, sustain=6.0, attack=0.03)


def _bass(tone: Tone, drive: float, sustain: float, attack: float = 0.006) -> Sound:
    hertz = frequency(tone.pitches[0])
    release = 0.09
    frames = int((tone.seconds + release) * SAMPLE_RATE)
    wave = damped(hertz, sustain, frames)
    pushed = np.tanh(np.float32(drive) * wave + np.float32(0.25)) - np.float32(np.tanh(0.25))
    edge = damped(hertz * 3, 0.25, frames) * np.float32(0.12 * drive)
    return np.asarray((pushed + edge) * envelope(frames, attack, tone.seconds, release))


STRUCK: dict[str, Instrument] = {
    "felt_piano": felt_piano,
    "electric_piano": electric_piano,
    "round_bass": round_bass,
    "sub_bass": sub_bass,
    **{name: partial(bar, name) for name in _BARS},
}
