"""An MP4 file from coded pictures, sound and captions: tagged, fast to start, free of clocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from media.encode import Stream, tune_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Samples = NDArray[Any]

RATE = 48_000
_AAC_BIT_RATE = 192_000
_AAC_FRAME = 1024
_TICKS = 1000  # captions are timed in milliseconds
_ASS_HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, Alignment\r\n"
    b"Style: Default,Arial,16,&Hffffff,2\r\n\r\n[Events]\r\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption, from and to in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Extras:
    """What goes into the file beside the pictures.

    `sound` is float (samples, 2) at 48 kHz in -1..1; `language` is ISO 639-2 for sound and
    captions; `tags` are MP4 metadata such as title and comment.
    """

    sound: Samples | None = None
    captions: Sequence[Caption] = ()
    language: str = "und"
    tags: Mapping[str, str] = field(default_factory=dict)


def write_mp4(path: Path, stream: Stream, extras: Extras | None = None) -> None:
    """Write a film; the same input gives the same bytes."""
    extras = extras or Extras()
    flags = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=flags) as container:
        container.metadata.update(extras.tags)
        picture = _open_picture(container, stream)
        sound = _open_sound(container, extras)
        captions = _open_captions(container, extras)
        base = Fraction(1, stream.spec.fps)
        # The muxer interleaves by time; streams may come one after the other.
        for coded in stream.packets:
            packet = av.Packet(coded.data)
            packet.pts, packet.dts, packet.time_base = coded.pts, coded.dts, base
            packet.duration = 1
            packet.is_keyframe = coded.key
            packet.stream = picture
            container.mux(packet)
        if sound is not None and extras.sound is not None:
            for packet in _code_sound(sound, extras.sound):
                container.mux(packet)
        if captions is not None:
            for packet in _caption_packets(extras.captions):
                packet.stream = captions
                container.mux(packet)


def _open_picture(container: Any, stream: Stream) -> Any:  # noqa: ANN401 - the library's own
    picture = container.add_stream("libx264", rate=stream.spec.fps)
    # Opened only for its parameter sets: the encoder of each segment had the same ones.
    tune_context(picture.codec_context, stream.spec)
    picture.time_base = Fraction(1, stream.spec.fps)
    return picture


def _open_sound(container: Any, extras: Extras) -> Any:  # noqa: ANN401 - the library's own
    if extras.sound is None:
        return None
    sound = container.add_stream("aac", rate=RATE, layout="stereo")
    sound.bit_rate = _AAC_BIT_RATE
    sound.codec_context.thread_count = 1
    sound.codec_context.flags |= av.codec.context.Flags.bitexact
    sound.metadata["language"] = extras.language
    return sound


def _open_captions(container: Any, extras: Extras) -> Any:  # noqa: ANN401 - the library's own
    if not extras.captions:
        return None
    captions = container.add_stream("mov_text")
    captions.codec_context.subtitle_header = _ASS_HEADER
    captions.time_base = Fraction(1, _TICKS)
    captions.metadata["language"] = extras.language
    return captions


def _code_sound(stream: Any, samples: Samples) -> Iterable[av.Packet[Any]]:  # noqa: ANN401 - the library's own
    planar = np.ascontiguousarray(np.clip(samples, -1, 1).T, np.float32)
    for first in range(0, planar.shape[1], _AAC_FRAME):
        part = np.ascontiguousarray(planar[:, first : first + _AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _caption_packets(captions: Sequence[Caption]) -> Iterable[av.Packet[Any]]:
    """Yield mov_text samples; gaps are empty samples, as the format has no other silence."""
    clock = 0
    for caption in captions:
        start, end = round(caption.start * _TICKS), round(caption.end * _TICKS)
        if start > clock:
            yield _caption_packet(clock, start, "")
        yield _caption_packet(start, end, caption.text)
        clock = end


def _caption_packet(start: int, end: int, text: str) -> av.Packet[Any]:
    data = text.encode()
    packet = av.Packet(len(data).to_bytes(2, "big") + data)
    packet.pts = packet.dts = start
    packet.duration = end - start
    packet.time_base = Fraction(1, _TICKS)
    return packet
