"""Plucked strings: guitar, harp, pizzicato, oud, and a plucked bass.

A string is a delay line whose loop loses a little at each turn (Karplus and Strong). The loop is
linear, so its whole answer is known in the frequency domain, where the delay need not be a whole
number of frames: every note is exactly in tune, quarter tones included. The transform is taken
on a circle just outside the unit circle, so that a long ring does not wrap around to the start.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from media.pcm import SAMPLE_RATE
from media.spectrum import bell, equalize, fast_length, high_pass, low_pass
from services.draft_music.harmony import frequency
from services.draft_music.note import Instrument, Sound, Tone, envelope, noise_of

_WRAP = np.log(1e4)  # by this factor a wrapped ring is quieter
_PLUCK_FRAMES, _SNAP_FRAMES = 480, 40


class String(NamedTuple):
    """A string, where it is plucked, and the body it hangs over."""

    ring: float
    """Seconds to die by 60 dB at middle C; longer below."""
    damping: float
    """Hertz at which the ring is half as long."""
    place: float
    """Where it is plucked, as a share of its length from the bridge."""
    colour: float
    """Hertz above which the finger or the plectrum adds little, played softly."""
    body: tuple[tuple[float, float, float], ...] = ()
    """Resonances: hertz, decibels, quality."""
    courses: tuple[float, ...] = (0.0,)
    """Strings struck together, each with its mistuning in semitones."""
    release: float = 0.25


STRINGS = {
    "guitar": String(
        2.4, 2600, 0.18, 2200, ((105, 4, 2.0), (210, 3, 2.5), (420, 2, 2.0)), (0.0,), 0.3
    ),
    "harp": String(3.4, 4200, 0.38, 3400, ((180, 2, 1.2),), (0.0,), 1.2),
    "pizzicato": String(0.55, 1300, 0.2, 1800, ((280, 4, 2.0), (480, 3, 2.0)), (0.0,), 0.15),
    "oud": String(
        1.7, 1900, 0.12, 2600, ((98, 4, 2.5), (190, 4, 3.0), (360, 3, 2.5)), (-0.02, 0.025), 0.35
    ),
    "upright": String(1.5, 700, 0.3, 700, ((95, 3, 1.5),), (0.0,), 0.12),
}


def pluck(string: String, tone: Tone) -> Sound:
    """Play the lowest pitch of `tone`, (frames,)."""
    hertz = frequency(tone.pitches[0])
    ring = string.ring * (261.6 / hertz) ** 0.4
    frames = int(SAMPLE_RATE * min(tone.seconds + string.release, ring * 1.1))
    total = np.zeros(frames, np.float32)
    for number, cents in enumerate(string.courses):
        mistuned = hertz * 2.0 ** (cents / 12)
        late = 60 * number  # the plectrum meets one string of a course after the other
        sound = _string(string, mistuned, ring, tone, frames)
        total[late:] += sound[: frames - late]
    filters = [bell(*resonance) for resonance in string.body]
    voiced = equalize(total, [*filters, high_pass(max(45.0, 0.6 * hertz))])
    return voiced * envelope(frames, 0.001, frames / SAMPLE_RATE - string.release, string.release)


def _string(string: String, hertz: float, ring: float, tone: Tone, frames: int) -> Sound:
    length = fast_length(frames + SAMPLE_RATE // 8)
    radius = _WRAP / length  # log of the circle's radius
    omega = 2 * np.pi * np.arange(length // 2 + 1) / length
    period = SAMPLE_RATE / hertz
    turn = -(radius + 1j * omega) * period  # log of one trip through the loop
    lived = ring / (1.0 + (omega * SAMPLE_RATE / (2 * np.pi * string.damping)) ** 1.5)
    loop = np.exp(turn - 6.908 * period / (np.maximum(lived, 1e-3) * SAMPLE_RATE))
    excited = np.zeros(length)
    click = equalize(noise_of(_PLUCK_FRAMES, tone.seed), (low_pass(_bright(string, tone.force)),))
    excited[:_PLUCK_FRAMES] = 0.6 * click * np.hanning(_PLUCK_FRAMES)
    excited[:_SNAP_FRAMES] += np.hanning(_SNAP_FRAMES)  # every harmonic gets its share
    near = np.exp(-radius * np.arange(_PLUCK_FRAMES))
    excited[:_PLUCK_FRAMES] *= near
    # Plucked at a node, a harmonic stays silent: the comb of the plucking place.
    comb = 1.0 - 0.9 * np.exp(turn * string.place)
    # A string's velocity falls by 6 dB an octave above its fundamental.
    slope = 1.0 + 1j * omega * period / (2 * np.pi)
    spectrum = np.fft.rfft(excited) * comb / ((1.0 - loop) * slope)
    far = np.exp(radius * np.arange(frames))
    return np.asarray(np.fft.irfft(spectrum, length)[:frames] * far, np.float32)


def _bright(string: String, force: float) -> float:
    return float(string.colour * 2.0 ** (1.6 * force - 0.4))


PLUCKED: dict[str, Instrument] = {name: partial(pluck, string) for name, string in STRINGS.items()}
