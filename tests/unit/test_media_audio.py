"""Dynamics and the mix: what a film sounds like, also after the encoder."""

import io

import av
import numpy as np
import pytest
from sounds import ffmpeg_loudness, noise, pulsed, rms_db, tone

from media.audio import (
    PROGRAMME_LUFS,
    PROGRAMME_PEAK_DBTP,
    at_loudness,
    duck,
    master,
    mix_voice_over_music,
)
from media.dynamics import compress, limit, presence
from media.loudness import integrated_lufs, true_peak_dbtp
from media.pcm import SAMPLE_RATE, Samples, add_at, fit, frames_of, silence
from media.spectrum import (
    equalize,
    high_pass,
    low_pass,
)

pytestmark = pytest.mark.unit


def test_limiter_holds_its_ceiling_between_the_samples() -> None:
    loud = pulsed(3.0) * 30
    assert true_peak_dbtp(loud) > 6
    assert true_peak_dbtp(limit(loud, -1.5)) <= -1.5


def test_limiter_leaves_quiet_sound_alone() -> None:
    quiet = noise(0.5, level=0.05)
    assert np.array_equal(limit(quiet, -1.5), quiet)


def test_limiter_is_down_before_the_peak_and_does_not_click() -> None:
    low = tone(50, 1.0, level=0.5)
    low[24_000] = 2.0
    steps = np.abs(np.diff(limit(low, -6.0)[:23_999, 0]))
    assert steps.max() < 2.5 * np.abs(np.diff(low[:23_999, 0])).max()


def test_compressor_narrows_loud_against_quiet() -> None:
    sound = np.concatenate([tone(300, 1.0, 0.8), tone(300, 1.0, 0.02)])
    squeezed = compress(sound, threshold_db=-20.0, ratio=3.0)
    loud, quiet = slice(24_000, 44_000), slice(76_000, 92_000)
    before = rms_db(sound[loud]) - rms_db(sound[quiet])
    after = rms_db(squeezed[loud]) - rms_db(squeezed[quiet])
    assert before - after == pytest.approx((rms_db(sound[loud]) + 20) * 2 / 3, abs=1.5)


def test_presence_opens_before_the_word_and_bridges_short_gaps() -> None:
    voice = silence(frames_of(5.0))
    add_at(voice, noise(0.5), frames_of(1.0))
    add_at(voice, noise(0.5), frames_of(1.7))
    gate = presence(voice)
    assert gate[frames_of(1.0)] > 0.9
    assert gate[frames_of(1.6)] > 0.9
    assert gate[frames_of(0.5)] < 0.01
    assert gate[frames_of(4.5)] < 0.01
    assert np.abs(np.diff(gate)).max() < 1e-3


def spoken(seconds: float, start: float, length: float) -> Samples:
    voice = silence(frames_of(seconds))
    words = equalize(noise(length, seed=9), (high_pass(200.0), low_pass(4000.0)))
    add_at(voice, words, frames_of(start))
    return voice


def test_mastered_film_has_the_platforms_loudness() -> None:
    track = master(mix_voice_over_music(spoken(12, 4, 3), pulsed(12.0), seconds=12.0))
    lufs, peak = ffmpeg_loudness(track)
    assert len(track) == frames_of(12.0)
    assert lufs == pytest.approx(PROGRAMME_LUFS, abs=0.15)
    assert peak <= PROGRAMME_PEAK_DBTP + 0.1


def test_music_steps_back_under_the_voice_and_returns() -> None:
    music = noise(12.0, seed=4)
    voice = spoken(12, 5, 2)
    gate = presence(voice)
    ducked = duck(music, gate, -10.0)
    under = slice(frames_of(5.2), frames_of(6.8))
    after = slice(frames_of(10.0), frames_of(11.5))
    assert rms_db(ducked[under]) - rms_db(music[under]) < -10
    assert rms_db(ducked[after]) - rms_db(music[after]) == pytest.approx(0, abs=0.1)


def test_speech_band_gives_way_further_than_the_bass() -> None:
    gate = np.ones(frames_of(2.0), np.float32)
    drop = {}
    for hertz in (80, 1500):
        before = tone(hertz, 2.0)
        drop[hertz] = rms_db(duck(before, gate, -6.0)) - rms_db(before)
    assert drop[80] == pytest.approx(-6.0, abs=0.3)
    assert drop[1500] == pytest.approx(-10.0, abs=0.3)


def test_voice_stands_clear_of_the_music_it_is_mixed_with() -> None:
    music, voice = noise(10.0, seed=5), spoken(10, 3, 4)
    track = mix_voice_over_music(voice, music, seconds=10.0)
    level = at_loudness(voice, -16.0)
    rest = track - level
    window = slice(frames_of(3.2), frames_of(6.8))
    assert integrated_lufs(level[window]) - integrated_lufs(rest[window]) >= 10.5


@pytest.mark.parametrize("given", ["voice", "music", "neither"])
def test_film_with_a_part_missing_still_has_its_length(given: str) -> None:
    voice = spoken(4, 1, 1) if given == "voice" else None
    music = noise(4.0) if given == "music" else None
    track = master(mix_voice_over_music(voice, music, seconds=4.0))
    assert track.shape == (frames_of(4.0), 2)
    assert np.abs(track[-1]).max() < 1e-3


def through_aac(samples: Samples) -> Samples:
    """Encode as films are, 192 kbit/s, and decode again."""
    film = io.BytesIO()
    with av.open(film, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        stream.bit_rate = 192_000
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout="stereo"
        )
        frame.sample_rate = SAMPLE_RATE
        queue = av.AudioFifo()
        queue.write(frame)
        while (piece := queue.read(1024, partial=True)) is not None:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    film.seek(0)
    with av.open(film) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(parts, axis=1).T.astype(np.float32)


def kicks(seconds: float) -> Samples:
    """Return hits from the very first frame on, over noise: what encoders overshoot on."""
    out = 0.2 * pulsed(seconds)
    time = np.arange(frames_of(0.3)) / SAMPLE_RATE
    hit = (np.sin(2 * np.pi * 55 * time + 4 * np.exp(-40 * time)) * np.exp(-12 * time)).astype("f4")
    for beat in np.arange(0, seconds, 0.5):
        add_at(out, hit, frames_of(beat))
    return out


@pytest.mark.parametrize("music", [pulsed(6.0), kicks(6.0)], ids=["waves", "hits"])
def test_film_is_below_its_peak_after_aac(music: Samples) -> None:
    heard = through_aac(master(mix_voice_over_music(spoken(6, 2, 2), music, seconds=6.0)))
    assert true_peak_dbtp(heard) <= -1.0
    assert integrated_lufs(heard) == pytest.approx(PROGRAMME_LUFS, abs=0.3)


def test_mastering_twice_gives_the_same_bytes() -> None:
    assert master(pulsed(4.0)).tobytes() == master(pulsed(4.0)).tobytes()


def test_part_outside_the_target_is_dropped() -> None:
    target = silence(10)
    add_at(target, np.ones(6, np.float32), -3)
    add_at(target, np.ones(6, np.float32), 8)
    assert target[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 1, 1]
    assert len(fit(target, 4)) == 4
