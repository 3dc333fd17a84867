"""Sound files: what comes back is what was written, also to and from FFmpeg."""

from pathlib import Path

import av
import numpy as np
import pytest
from sounds import noise, tone

from media.audio import (
    read_sound,
)
from media.pcm import SAMPLE_RATE
from media.wav import Depth, WavError, read_info, read_wav, write_wav

pytestmark = pytest.mark.unit


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
