"""Resampling, filters and the room, against physics."""

import numpy as np
import pytest
from sounds import pulsed, rms_db, tone

from media.pcm import SAMPLE_RATE, frames_of, silence
from media.room import Room, reverberated
from media.spectrum import (
    bell,
    between_samples,
    equalize,
    fast_length,
    high_pass,
    high_shelf,
    low_pass,
    resample,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100, 96_000])
def test_resampling_keeps_a_tone_and_adds_nothing(rate: int) -> None:
    got = resample(tone(1000, rate=rate), rate)
    middle = slice(2000, -2000)
    assert len(got) == SAMPLE_RATE
    assert np.abs(got - tone(1000))[middle].max() < 1e-3


def test_resampling_down_leaves_no_alias() -> None:
    got = resample(tone(30_000, rate=96_000), 96_000)
    assert rms_db(got[2000:-2000]) < -80


@pytest.mark.parametrize(
    ("filters", "hertz", "expected"),
    [
        ((high_pass(100.0),), 100, -3.0),
        ((high_pass(100.0),), 2000, 0.0),
        ((low_pass(1000.0),), 1000, -3.0),
        ((bell(3000.0, 3.0),), 3000, 3.0),
        ((bell(3000.0, 3.0),), 100, 0.0),
        ((high_shelf(4000.0, -6.0),), 16_000, -6.0),
        ((high_shelf(4000.0, -6.0),), 100, 0.0),
    ],
)
def test_filter_has_the_gain_it_promises(filters: tuple, hertz: float, expected: float) -> None:
    before = tone(hertz)
    after = equalize(before, filters)
    middle = slice(12_000, 36_000)
    assert rms_db(after[middle]) - rms_db(before[middle]) == pytest.approx(expected, abs=0.1)


def test_long_sound_worked_on_in_stretches_is_the_same_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = pulsed(3.0)

    def results() -> list[np.ndarray]:
        filtered = equalize(sound, (high_pass(60.0), bell(3000.0, 4.0)))
        return [filtered, reverberated(sound, Room(0.5)), between_samples(sound)]

    whole = results()
    monkeypatch.setattr("media.spectrum._STRETCH", 40_000)
    for one, other in zip(whole, results(), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-5


def test_fast_length_is_the_next_smooth_number() -> None:
    smooth = sorted(2**a * 3**b * 5**c for a in range(14) for b in range(9) for c in range(6))
    for frames in (1, 2, 7, 11, 721, 997, 4_097):
        assert fast_length(frames) == next(n for n in smooth if n >= frames)


def test_room_answers_late_wide_and_dying() -> None:
    click = silence(4_800)
    click[0] = 1.0
    tail = reverberated(click, Room(seconds=1.0, pre_delay=0.03, seed=3))
    assert np.abs(tail[: frames_of(0.029)]).max() < 1e-6
    early = rms_db(tail[frames_of(0.05) : frames_of(0.15)])
    late = rms_db(tail[frames_of(0.55) : frames_of(0.65)])
    assert early - late == pytest.approx(30, abs=6)
    assert abs(np.corrcoef(tail.T)[0, 1]) < 0.1
