"""Plates as the film needs them: at its size and rate, whatever a model delivered."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

import av
import cv2
import numpy as np

from contracts.errors import MediaRejectedError
from media.decode import frames, from_frame
from media.pixels import Planes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from fractions import Fraction
    from pathlib import Path

    from numpy.typing import NDArray

_SAMPLES = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """Size in px, frames per second and number of frames."""

    width: int
    height: int
    fps: float
    frames: int


def shape_of(path: Path) -> Shape:
    """Read a plate's shape; raise MediaRejectedError for what is no film."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = cast("Fraction", stream.average_rate)
            count = stream.frames or sum(1 for p in container.demux(stream) if p.pts is not None)
            return Shape(stream.width, stream.height, float(rate), count)
    except (av.FFmpegError, IndexError, TypeError) as error:
        raise MediaRejectedError(f"plate {path.name} is no film: {error}", field="plate") from error


def samples(path: Path, width: int, height: int, seconds: float) -> list[NDArray[np.uint8]]:
    """Return a few pictures of the first `seconds` of a plate, BGR at the film's size.

    Only key frames are decoded: they stand every two seconds and cost next to nothing. Raises
    MediaRejectedError for what is no film.
    """
    try:
        found = [fitted(picture, width, height).to_bgr() for picture in _key_frames(path, seconds)]
    except (av.FFmpegError, IndexError) as error:
        raise MediaRejectedError(f"plate {path.name} is no film: {error}", field="plate") from error
    if not found:
        raise MediaRejectedError(f"plate {path.name} has no picture", field="plate")
    return found


def _key_frames(path: Path, seconds: float) -> Iterator[Planes]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        for frame in islice(container.decode(stream), _SAMPLES):
            if frame.time is not None and frame.time > seconds:
                return
            yield from_frame(frame)


def reader(width: int, height: int, fps: int) -> Callable[[Path, int, int], Iterator[Planes]]:
    """Return `read(path, first, count)`: pictures of a plate on the film's clock, at its size.

    A plate of another rate is shown at its own speed; one that ends early holds its last picture.
    """
    known: dict[Path, Shape] = {}

    def read(path: Path, first: int, count: int) -> Iterator[Planes]:
        shape = known.setdefault(path, shape_of(path)) if path not in known else known[path]
        step = shape.fps / fps
        wanted = [min(round((first + n) * step), shape.frames - 1) for n in range(count)]
        source = frames(path, wanted[0], wanted[-1] + 1)
        at, current = wanted[0] - 1, None
        for index in wanted:
            while at < index:
                picture = next(source, None)
                if picture is None:
                    break
                at, current = at + 1, fitted(picture, width, height)
            if current is None:
                raise MediaRejectedError(f"plate {path.name} ends too early", field="plate")
            yield current.copy()

    return read


def fitted(picture: Planes, width: int, height: int) -> Planes:
    """Return a picture that covers the frame, its middle kept; unchanged if it fits already."""
    if (picture.width, picture.height) == (width, height):
        return picture
    scale = max(width / picture.width, height / picture.height)
    wide = max(width, round(picture.width * scale / 2) * 2)
    tall = max(height, round(picture.height * scale / 2) * 2)
    left, top = (wide - width) // 4 * 2, (tall - height) // 4 * 2

    def resized(plane: NDArray[np.uint8], part: int) -> NDArray[np.uint8]:
        whole = cv2.resize(plane, (wide // part, tall // part), interpolation=cv2.INTER_AREA)
        rows = slice(top // part, (top + height) // part)
        columns = slice(left // part, (left + width) // part)
        return np.ascontiguousarray(whole[rows, columns])

    return Planes(resized(picture.y, 1), resized(picture.u, 2), resized(picture.v, 2))
