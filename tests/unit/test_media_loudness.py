"""Loudness and true peak, against the recommendation and FFmpeg's own meter."""

import numpy as np
import pytest
from sounds import ffmpeg_loudness, noise, pulsed, tone

from media.loudness import integrated_lufs, measure, true_peak_dbtp
from media.pcm import SILENCE_DB, Samples, fade, silence

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(tone(1000, 3.0), id="tone"),
        pytest.param(noise(5.0), id="noise"),
        pytest.param(pulsed(10.0), id="gated"),
        pytest.param(np.concatenate([silence(48_000 * 3), pulsed(6.0)]), id="late"),
    ],
)
def test_loudness_agrees_with_ffmpeg(sound: Samples) -> None:
    lufs, peak = ffmpeg_loudness(sound)
    mine = measure(sound)
    assert mine.integrated_lufs == pytest.approx(lufs, abs=0.1)
    assert mine.true_peak_dbtp == pytest.approx(peak, abs=0.3)


def test_reference_tone_reads_as_the_recommendation_says() -> None:
    left = tone(997, 5.0, level=1.0)
    left[:, 1] = 0
    assert integrated_lufs(left) == pytest.approx(-3.01, abs=0.05)


def test_peak_between_the_samples_is_found() -> None:
    # A quarter of the sample rate, 45 degrees off: the samples only reach 0.707 of the crest.
    wave = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000 + np.pi / 4)
    both = np.stack([wave, wave], axis=1).astype(np.float32)
    assert np.abs(both).max() == pytest.approx(0.7071, abs=1e-3)
    assert true_peak_dbtp(fade(both, fade_in=0.1, fade_out=0.1)) == pytest.approx(0.0, abs=0.05)


def test_silence_and_a_click_have_finite_numbers() -> None:
    assert measure(silence(100)).integrated_lufs == SILENCE_DB
    click = silence(100)
    click[50] = 0.5
    assert SILENCE_DB < measure(click).integrated_lufs < 0
