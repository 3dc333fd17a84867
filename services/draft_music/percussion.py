"""Drums, cymbals, and the film's gestures: riser, swell, impact.

Each is made once per force and seed, from decaying modes and shaped noise.
"""

from __future__ import annotations

import numpy as np

from media.pcm import SAMPLE_RATE
from media.spectrum import Biquad, bell, equalize, high_pass, low_pass
from services.draft_music.note import Instrument, Sound, Tone, damped, decay, envelope, noise_of

_CYMBAL = (high_pass(3500), high_pass(2500), bell(6500, 3, 1.0), low_pass(12_000))


def kick(tone: Tone) -> Sound:
    """Strike a round bass drum, (frames,)."""
    return _drop(50.0, 120.0, 0.03, 0.34) + _click(0.02 + 0.05 * tone.force, 3500, tone.seed, 0.34)


def heartbeat(tone: Tone) -> Sound:
    """Strike a bass drum heard through a wall, (frames,)."""
    return equalize(_drop(46.0, 40.0 + 10 * tone.force, 0.05, 0.5), (low_pass(160.0),))


def snare(tone: Tone) -> Sound:
    """Strike a snare drum with care, (frames,)."""
    frames = int(0.28 * SAMPLE_RATE)
    body = damped(186, 0.16, frames) + np.float32(0.6) * damped(331, 0.1, frames)
    rattle = equalize(noise_of(frames, tone.seed), (high_pass(1500), low_pass(7500)))
    return _whole(0.7 * body + (0.35 + 0.25 * tone.force) * rattle * decay(0.22, frames))


def clap(tone: Tone) -> Sound:
    """Clap with a few people almost together, (frames,)."""
    frames = int(0.3 * SAMPLE_RATE)
    hands = equalize(noise_of(frames, tone.seed), (bell(1300, 9, 1.2), high_pass(700)))
    sound = np.zeros(frames, np.float32)
    for late, fade in ((0, 0.03), (500, 0.03), (1020, 0.24)):
        sound[late:] += hands[: frames - late] * decay(fade, frames - late)
    return equalize(sound, (low_pass(8000),))


def rim(tone: Tone) -> Sound:
    """Strike the edge of a snare drum, (frames,)."""
    frames = int(0.09 * SAMPLE_RATE)
    sound = damped(1720, 0.05, frames) + damped(2650, 0.03, frames) + damped(480, 0.06, frames)
    return _whole(sound * (0.6 + 0.4 * tone.force))


def hat(tone: Tone) -> Sound:
    """Strike a closed hi-hat, (frames,)."""
    return _metal(0.05 + 0.04 * tone.force, 7200, tone.seed)


def open_hat(tone: Tone) -> Sound:
    """Strike a hi-hat that opens, (frames,)."""
    return _metal(0.42, 6500, tone.seed)


def shaker(tone: Tone) -> Sound:
    """Shake an egg full of grains, (frames,)."""
    frames = int(0.12 * SAMPLE_RATE)
    grains = equalize(noise_of(frames, tone.seed), (high_pass(4200), low_pass(10_500)))
    return grains * envelope(frames, 0.028, 0.03, 0.08)


def tom(tone: Tone) -> Sound:
    """Strike a deep drum with a skin, (frames,)."""
    drop = _drop(62.0, 50.0 * (0.5 + tone.force), 0.06, 0.9)
    return drop + _click(0.05, 900, tone.seed, 0.9)


def dum(tone: Tone) -> Sound:
    """Strike a frame drum in the middle, (frames,)."""
    return _skin(((74, 1.0, 0.6), (118, 0.45, 0.35), (158, 0.3, 0.28)), 300, tone, 0.7)


def tek(tone: Tone) -> Sound:
    """Strike a frame drum at the rim, (frames,)."""
    return _skin(((330, 0.5, 0.16), (520, 0.4, 0.12), (905, 0.3, 0.08)), 3200, tone, 0.25)


def riq(tone: Tone) -> Sound:
    """Shake the small cymbals of a tambourine, (frames,)."""
    frames = int(0.22 * SAMPLE_RATE)
    ring = sum(damped(f, 0.16, frames, f) for f in (5230, 6110, 7480, 8920))
    dust = equalize(noise_of(frames, tone.seed), (high_pass(5000),))
    return _whole(0.15 * np.asarray(ring) + 0.3 * dust * decay(0.12, frames))


def cymbal(tone: Tone) -> Sound:
    """Strike a soft crash, (frames, 2)."""
    frames = int(2.6 * SAMPLE_RATE)
    return _wash(frames, tone.seed) * envelope(frames, 0.004, 0.2, 2.4)[:, None]


def swell(tone: Tone) -> Sound:
    """Roll a cymbal out of nothing; it stops after `tone.seconds`, (frames, 2)."""
    frames = max(1, int(tone.seconds * SAMPLE_RATE))
    rise = np.linspace(0, 1, frames, dtype=np.float32) ** 3
    return (
        _wash(frames, tone.seed)
        * (rise * envelope(frames, 0.01, tone.seconds - 0.014, 0.014))[:, None]
    )


def riser(tone: Tone) -> Sound:
    """Blow a wind that climbs from low to high over `tone.seconds`, (frames, 2)."""
    frames = max(1, int(tone.seconds * SAMPLE_RATE))
    time = np.linspace(0, 1, frames, dtype=np.float32)
    out = np.zeros((frames, 2), np.float32)
    for step, hertz in enumerate((300, 600, 1200, 2400, 4800)):
        band = np.stack([noise_of(frames, tone.seed + 7 * step + s) for s in (0, 1)], axis=1)
        shaped = equalize(band, (bell(hertz, 12, 1.5), high_pass(hertz * 0.6), low_pass(hertz * 2)))
        there = np.exp(-(((time - step / 4.2) / 0.3) ** 2)).astype(np.float32)
        out += shaped * (there * time * time)[:, None]
    out[-96:] *= np.linspace(1, 0, min(96, frames), dtype=np.float32)[:, None]
    return out


def impact(tone: Tone) -> Sound:
    """Strike the hit under an end card: a deep fall and the air after it, (frames, 2)."""
    low = _drop(36.0, 50.0, 0.18, 1.8)
    frames = len(low)
    air = _wash(frames, tone.seed, (bell(220, 10, 0.8), low_pass(1800)))
    return np.asarray(low[:, None] + 0.35 * air * decay(1.1, frames)[:, None], np.float32)


def _drop(low: float, above: float, fall: float, seconds: float) -> Sound:
    """Return a sine that falls from `low + above` to `low` hertz and dies."""
    frames = int(seconds * SAMPLE_RATE)
    time = np.arange(frames) / SAMPLE_RATE
    phase = 2 * np.pi * (low * time + above * fall * (1 - np.exp(-time / fall)))
    gain = envelope(frames, 0.002, 0.1 * seconds, 0.9 * seconds)
    return np.asarray(np.sin(phase) * decay(seconds * 1.6, frames) * gain, np.float32)


def _click(level: float, hertz: float, seed: int, seconds: float) -> Sound:
    frames = int(seconds * SAMPLE_RATE)
    out = np.zeros(frames, np.float32)
    short = equalize(noise_of(720, seed), (low_pass(hertz), high_pass(200)))
    out[:720] = np.float32(level * 8) * short * decay(0.012, 720)
    return out


def _metal(ring: float, hertz: float, seed: int) -> Sound:
    frames = int((ring + 0.06) * SAMPLE_RATE)
    dust = equalize(noise_of(frames, seed), (high_pass(hertz), high_pass(hertz), low_pass(13_000)))
    return dust * decay(ring, frames) * envelope(frames, 0.001, ring, 0.05)


def _skin(
    modes: tuple[tuple[float, float, float], ...], hertz: float, tone: Tone, seconds: float
) -> Sound:
    frames = int(seconds * SAMPLE_RATE)
    sound = np.zeros(frames, np.float32)
    for mode, level, ring in modes:
        sound += np.float32(level) * damped(mode * (1 + 0.03 * tone.force), ring, frames)
    return sound + _click(0.04 + 0.05 * tone.force, hertz, tone.seed, seconds)


def _wash(frames: int, seed: int, filters: tuple[Biquad, ...] = _CYMBAL) -> Sound:
    """Return wide noise through `filters`, (frames, 2); the sides share half of it."""
    one, other, both = (noise_of(frames, seed + n) for n in range(3))
    return equalize(np.stack([one + both, other + both], axis=1), filters)


def _whole(sound: Sound) -> Sound:
    return np.asarray(sound, np.float32)


PERCUSSION: dict[str, Instrument] = {
    f.__name__: f
    for f in (
        *(kick, heartbeat, snare, clap, rim, hat, open_hat, shaker, tom, dum, tek, riq),
        *(cymbal, swell, riser, impact),
    )
}
