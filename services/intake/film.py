"""Films: decoded by a named demuxer and a known codec, and coded anew as MP4, without sound.

What comes out is what models read: upright, even sides of at most `MAX_SIDE` pixels, and a constant
rate, whatever a telephone made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from contracts.errors import MediaRejectedError
from media.encode import Quality, VideoSpec, tune_context
from services.intake.cleaned import Clean
from services.intake.magic import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

MAX_SECONDS = 30.0
MAX_SIDE = 1280
MAX_SOURCE_PIXELS = 4096 * 2304
MIN_SIDE = 64
MAX_FPS = 30

_DEMUXERS = {Kind.MP4: "mov", Kind.WEBM: "matroska"}
_CODECS = frozenset({"h264", "hevc", "vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d"})
# The demuxer may open nothing but this file: a playlist inside it cannot reach out.
_OPTIONS = {"protocol_whitelist": "file"}


def clean_film(kind: Kind, source: Path, target: Path) -> Clean:
    """Write the file's first picture track; MediaRejectedError when there is none to be kept."""
    with av.open(str(source), format=_DEMUXERS[kind], options=_OPTIONS) as container:
        stream = _picture(container)
        fps = max(1, min(MAX_FPS, round(float(stream.average_rate or MAX_FPS))))
        return _written(_steady(container, stream, fps), fps, target)


def _picture(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise MediaRejectedError("the file holds no picture")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context.name not in _CODECS:
        raise MediaRejectedError(f"pictures coded as {context.name} are not accepted")
    if min(context.width, context.height) < MIN_SIDE:
        raise MediaRejectedError(
            f"the film is {context.width} x {context.height}; sides are at least {MIN_SIDE} pixels"
        )
    if context.width * context.height > MAX_SOURCE_PIXELS:
        raise MediaRejectedError(
            f"the film is {context.width} x {context.height}; at most "
            f"{MAX_SOURCE_PIXELS} pixels are accepted"
        )
    return stream


def _steady(container: InputContainer, stream: VideoStream, fps: int) -> Iterator[NDArray[Any]]:
    """Yield upright RGB pictures at a constant rate: each is shown until the next one's time."""
    begin, shown, last = None, 0, None
    for frame in container.decode(stream):
        at = frame.time or 0.0
        begin = at if begin is None else begin
        due = round((at - begin) * fps)
        if due > MAX_SECONDS * fps:
            raise MediaRejectedError(f"the film is longer than {MAX_SECONDS:g} s")
        while last is not None and shown < due:
            yield last
            shown += 1
        last = _upright(frame)
    if last is not None:
        yield last


def _upright(frame: av.VideoFrame) -> NDArray[Any]:
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90)
    return np.ascontiguousarray(np.rot90(picture, turns))


def _written(pictures: Iterator[NDArray[Any]], fps: int, target: Path) -> Clean:
    first = next(pictures, None)
    if first is None:
        raise MediaRejectedError("the file holds no picture")
    height, width = first.shape[:2]
    count = 0
    flags = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(target), "w", format="mp4", options=flags) as container:
        stream = container.add_stream("libx264", rate=fps)
        tune_context(stream.codec_context, VideoSpec(width, height, fps, Quality.PLATE))
        for picture in _again(first, pictures):
            if picture.shape[:2] != (height, width):
                raise MediaRejectedError("the film changes its size on the way")
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts = count
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return Clean(
        media_type="video/mp4",
        width=width,
        height=height,
        seconds=round(count / fps, 3),
        labels={"fps": str(fps)},
    )


def _again(first: NDArray[Any], rest: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    yield first
    yield from rest
