"""The sound library against physics, and against FFmpeg's own loudness meter."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media.audio import (
    PROGRAMME_LUFS,
    PROGRAMME_PEAK_DBTP,
    at_loudness,
    duck,
    master,
    mix_voice_over_music,
    read_sound,
)
from media.dynamics import compress, limit, presence
from media.loudness import integrated_lufs, measure, true_peak_dbtp
from media.pcm import SAMPLE_RATE, SILENCE_DB, Samples, add_at, fade, fit, frames_of, silence
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
from media.wav import Depth, WavError, read_info, read_wav, write_wav

pytestmark = pytest.mark.unit


def tone(hertz: float, seconds: float = 1.0, level: float = 0.5, rate: int = 48_000) -> Samples:
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def noise(seconds: float, level: float = 0.1, seed: int = 1) -> Samples:
    frames = frames_of(seconds)
    return (level * np.random.default_rng(seed).standard_normal((frames, 2))).astype(np.float32)


def pulsed(seconds: float, seed: int = 2) -> Samples:
    """Noise that comes and goes, with quiet stretches: something for the gates to do."""
    time = np.arange(frames_of(seconds)) / SAMPLE_RATE
    envelope = 0.02 + np.clip(np.sin(2 * np.pi * 0.4 * time), 0, 1)
    dark = equalize(noise(seconds, seed=seed), (low_pass(900.0),))
    return (dark * envelope[:, None]).astype(np.float32)


def rms_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


def ffmpeg_loudness(samples: Samples) -> tuple[float, float]:
    """Return integrated LUFS and true peak in dBTP, as the ebur128 filter reports them."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        format="flt", sample_rate=SAMPLE_RATE, layout="stereo", time_base=Fraction(1, SAMPLE_RATE)
    )
    meter = graph.add("ebur128", "metadata=1:peak=true")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout="stereo"
    )
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    graph.push(frame)
    graph.push(None)
    lufs, peak = SILENCE_DB, 0.0
    while True:
        try:
            metadata = graph.pull().metadata
        except (av.EOFError, BlockingIOError):
            break
        lufs = float(metadata["lavfi.r128.I"])
        peaks = (metadata.get(f"lavfi.r128.true_peaks_ch{c}", "0") for c in (0, 1))
        peak = max(peak, *(float(p) for p in peaks))
    return lufs, 20 * np.log10(max(peak, 1e-10))


# --- files


@pytest.mark.parametrize(
    ("depth", "step"), [(Depth.PCM16, 2 / 32767), (Depth.PCM24, 1 / 8388607), (Depth.FLOAT32, 0)]
)
def test_wav_survives_a_round_trip_to_its_own_step(
    tmp_path: Path, depth: Depth, step: float
) -> None:
    before = noise(0.1)
    write_wav(tmp_path / "a.wav", before, depth=depth)
    after, rate = read_wav(tmp_path / "a.wav")
    assert rate == SAMPLE_RATE
    assert after.shape == before.shape
    assert np.abs(after - before).max() <= step


def test_wav_of_the_same_samples_is_the_same_bytes_and_carries_its_notes(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, noise(0.1), depth=Depth.PCM16, info={"ICMT": "draft é"})
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert read_info(tmp_path / "a.wav") == {"ICMT": "draft é"}


@pytest.mark.parametrize("depth", list(Depth))
def test_wav_is_read_by_ffmpeg(tmp_path: Path, depth: Depth) -> None:
    before = noise(0.2)
    write_wav(tmp_path / "a.wav", before, depth=depth, info={"ISFT": "x"})
    with av.open(str(tmp_path / "a.wav")) as container:
        stream = container.streams.audio[0]
        frames = [f.to_ndarray() for f in container.decode(audio=0)]
        assert (stream.rate, stream.channels) == (SAMPLE_RATE, 2)
    assert sum(f.shape[-1] for f in frames) == 2 * len(before)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"])
def test_wav_that_ffmpeg_wrote_is_read(tmp_path: Path, codec: str) -> None:
    before = noise(0.2)
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(before.reshape(1, -1), format="flt", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        resampler = av.AudioResampler(stream.format.name, "stereo", SAMPLE_RATE)
        for piece in resampler.resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    after, rate = read_wav(tmp_path / "a.wav")
    assert (rate, after.shape) == (SAMPLE_RATE, before.shape)
    assert np.abs(after - before).max() < 1e-4


def test_sound_out_of_range_is_clipped_not_wrapped(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.array([[2.0, -2.0]], np.float32))
    after, _ = read_wav(tmp_path / "a.wav")
    assert after[0, 0] == pytest.approx(1.0)
    assert after[0, 1] == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("blob", [b"", b"RIFF....WAVE", b"ID3 not sound at all, but long enough"])
def test_what_is_not_wave_is_a_typed_error(tmp_path: Path, blob: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(blob)
    with pytest.raises(WavError):
        read_wav(tmp_path / "a.wav")


def test_mono_at_another_rate_becomes_stereo_at_48_kilohertz(tmp_path: Path) -> None:
    mono = tone(440, rate=22_050)[:, :1]
    write_wav(tmp_path / "a.wav", mono, rate=22_050)
    assert read_sound(tmp_path / "a.wav").shape == (SAMPLE_RATE, 2)


# --- spectrum


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


# --- loudness


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


# --- dynamics


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


# --- the mix


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


def test_room_answers_late_wide_and_dying() -> None:
    click = silence(4_800)
    click[0] = 1.0
    tail = reverberated(click, Room(seconds=1.0, pre_delay=0.03, seed=3))
    assert np.abs(tail[: frames_of(0.029)]).max() < 1e-6
    early = rms_db(tail[frames_of(0.05) : frames_of(0.15)])
    late = rms_db(tail[frames_of(0.55) : frames_of(0.65)])
    assert early - late == pytest.approx(30, abs=6)
    assert abs(np.corrcoef(tail.T)[0, 1]) < 0.1
