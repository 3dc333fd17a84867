"""Sound: decoded by a named demuxer and a known codec, and written as WAV, 48 kHz stereo."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import av
import numpy as np

from contracts.errors import MediaRejectedError
from media.pcm import SAMPLE_RATE
from media.wav import write_wav
from services.intake.cleaned import Clean
from services.intake.magic import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from numpy.typing import NDArray

MAX_SECONDS = 300.0

_DEMUXERS = {
    Kind.WAV: "wav",
    Kind.MP3: "mp3",
    Kind.FLAC: "flac",
    Kind.OGG: "ogg",
    Kind.M4A: "mov",
}
_CODECS = frozenset({"mp3", "mp3float", "flac", "vorbis", "opus", "libopus", "aac", "alac"})
# The demuxer may open nothing but this file: a playlist inside it cannot reach out.
_OPTIONS = {"protocol_whitelist": "file"}


def clean_sound(kind: Kind, source: Path, target: Path) -> Clean:
    """Write the file's first sound track; MediaRejectedError when there is none to be kept."""
    with av.open(str(source), format=_DEMUXERS[kind], options=_OPTIONS) as container:
        samples = _decoded(container)
    write_wav(target, np.nan_to_num(samples))
    return Clean(media_type="audio/wav", seconds=round(len(samples) / SAMPLE_RATE, 3))


def _decoded(container: InputContainer) -> NDArray[np.float32]:
    """Return (frames, 2) float32 at 48 kHz."""
    if not container.streams.audio:
        raise MediaRejectedError("the file holds no sound")
    stream = container.streams.audio[0]
    codec = stream.codec_context.name
    if codec not in _CODECS and not codec.startswith("pcm_"):
        raise MediaRejectedError(f"sound coded as {codec} is not accepted")
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)
    parts: list[NDArray[np.float32]] = []
    count = 0
    for frame in chain(container.decode(stream), (None,)):  # None flushes the resampler
        for part in resampler.resample(frame):
            parts.append(part.to_ndarray().astype(np.float32, copy=False))
            count += part.samples
        if count > MAX_SECONDS * SAMPLE_RATE:
            raise MediaRejectedError(f"the sound is longer than {MAX_SECONDS:g} s")
    if not count:
        raise MediaRejectedError("the file holds no sound")
    return np.concatenate(parts, axis=1).T
