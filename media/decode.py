"""Read a film back as planes, from any frame on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np

from media.pixels import Planes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class VideoUnreadableError(ValueError):
    """The file is not a film that can be decoded."""


def frames(path: Path, first: int = 0, end: int | None = None) -> Iterator[Planes]:
    """Yield the pictures `first` to before `end` (all that follow if None) of a 4:2:0 film.

    Reading begins at the last key frame before `first`. Each picture has arrays of its own.
    Raises VideoUnreadableError.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # processes are the parallelism
            start, base = stream.start_time or 0, cast("Any", stream.time_base)
            per_frame = 1 / (cast("Any", stream.average_rate) * base)
            if first:
                container.seek(round(start + first * per_frame), stream=stream)
            for frame in container.decode(stream):
                n = round((cast("int", frame.pts) - start) / per_frame)
                if end is not None and n >= end:
                    return
                if n >= first:
                    yield from_frame(_as_planes(frame))
    except (av.FFmpegError, IndexError) as error:
        raise VideoUnreadableError(f"{path.name}: {error}") from error


def rate(path: Path) -> float:
    """Return how many pictures a second of a film has. Raises VideoUnreadableError."""
    try:
        with av.open(str(path)) as container:
            return float(cast("Any", container.streams.video[0].average_rate))
    except (av.FFmpegError, IndexError, TypeError) as error:
        raise VideoUnreadableError(f"{path.name}: {error}") from error


def _as_planes(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame as yuv420p of even sides, whatever a foreign film is coded as."""
    width, height = frame.width & ~1, frame.height & ~1
    if frame.format.name == "yuv420p" and (width, height) == (frame.width, frame.height):
        return frame
    return frame.reformat(width, height, "yuv420p")


def from_frame(frame: av.VideoFrame) -> Planes:
    """Copy a yuv420p frame of the codec library's own into planes."""
    arrays = []
    for n, plane in enumerate(frame.planes[:3]):
        height = frame.height if n == 0 else frame.height // 2
        width = frame.width if n == 0 else frame.width // 2
        rows = np.frombuffer(cast("Any", plane), np.uint8).reshape(-1, plane.line_size)
        arrays.append(rows[:height, :width].copy())
    return Planes(*arrays)
