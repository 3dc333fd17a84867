"""H.264 in closed segments: drawn and coded by forked workers, joined without coding again.

Segment boundaries come from the caller and depend on content alone, each segment is coded by one
thread, and no time or machine is written anywhere: the bytes are the same on any number of cores.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
import warnings
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np

from media.pixels import Planes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    Paint = Callable[[int, int], Iterable[Planes]]
    Report = Callable[[int], None]

_BT709 = 1  # the number of BT.709 in all three colour fields of H.264
_LIMITED = 1


class SegmentError(RuntimeError):
    """A worker failed; the message carries its traceback."""


class Quality(Enum):
    """What a picture stream is for, as x264 options."""

    PLATE = "plate"
    """Between two of our own steps: near lossless, quick to code and to decode."""
    DELIVERY = "delivery"
    """For the viewer."""

    @property
    def options(self) -> dict[str, str]:
        """Return the encoder's options, all of them independent of the machine."""
        return _OPTIONS[self]


# mbtree is off: on small pictures its choices for the last macroblocks were measured to differ
# from run to run.
_X264 = "mbtree=0:scenecut=0:open-gop=0:sliced-threads=0:force-cfr=1"
_OPTIONS = {
    Quality.PLATE: {
        "preset": "ultrafast",
        "tune": "fastdecode",
        "crf": "14",
        "x264-params": f"{_X264}:keyint=60:aq-mode=1",
    },
    # Without mbtree a look-ahead buys nothing here, and qcomp does what is left of its work:
    # pictures that others are made from, the resting plates above all, get the bits.
    Quality.DELIVERY: {
        "preset": "veryfast",
        "profile": "high",
        "crf": "21",
        "x264-params": f"{_X264}:keyint=60:rc-lookahead=0:b-adapt=0:qcomp=0.8",
    },
}


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """Size in even pixels, frames per second, and how carefully to code."""

    width: int
    height: int
    fps: int = 30
    quality: Quality = Quality.DELIVERY


@dataclass(frozen=True, slots=True)
class Coded:
    """One coded picture; times count frames from the start of the film."""

    data: bytes
    pts: int
    dts: int
    key: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """A coded film: its packets in decoding order and what made them."""

    spec: VideoSpec
    packets: tuple[Coded, ...]
    frames: int


def even_segments(frames: int, longest: int = 45) -> list[int]:
    """Return the first frames of segments of nearly equal length, for a stretch of one content."""
    count = max(1, -(-frames // longest))
    return [frames * n // count for n in range(count)]


def workers_here() -> int:
    """Return how many workers this process may use at once."""
    return len(os.sched_getaffinity(0))


def video_context(spec: VideoSpec) -> av.VideoCodecContext:
    """Return an encoder for `spec`, tagged BT.709, single-threaded."""
    context = av.CodecContext.create("libx264", "w")
    tune_context(context, spec)
    return context


def tune_context(context: av.VideoCodecContext, spec: VideoSpec) -> None:
    """Set everything about an encoder that `spec` decides."""
    context.width, context.height = spec.width, spec.height
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(spec.fps)
    context.time_base = Fraction(1, spec.fps)
    context.thread_count = 1
    context.color_primaries = context.color_trc = context.colorspace = _BT709
    context.color_range = _LIMITED
    context.flags |= av.codec.context.Flags.global_header
    context.options = {**spec.quality.options, "threads": "1"}


def encode(
    paint: Paint,
    starts: Sequence[int],
    frames: int,
    spec: VideoSpec,
    *,
    report: Report = lambda _: None,
    workers: int | None = None,
) -> Stream:
    """Draw and code a film of `frames` pictures.

    `paint(first, end)` yields the pictures of one segment; it runs in a forked worker and may
    reuse the picture it yields. `starts` are the first frames of the segments, beginning with 0.
    `report` hears, here, how many frames are done, and may raise to stop the work.
    """
    bounds = list(zip(starts, [*starts[1:], frames], strict=True))
    count = min(len(bounds), workers or workers_here())
    if count > 1:
        parts = _fork(paint, bounds, spec, report, count)
    else:
        done = 0
        parts = {}
        for n, (first, end) in enumerate(bounds):
            parts[n] = _segment(paint, first, end, spec, _offset(report, done))
            done += end - first
    packets = tuple(packet for n in range(len(bounds)) for packet in parts[n])
    return Stream(spec, packets, frames)


def _segment(paint: Paint, first: int, end: int, spec: VideoSpec, report: Report) -> list[Coded]:
    context = video_context(spec)
    coded: list[Coded] = []

    def keep(packets: Iterable[av.Packet[Any]]) -> None:
        for packet in packets:
            pts, dts = cast("int", packet.pts), cast("int", packet.dts)
            coded.append(Coded(bytes(packet), first + pts, first + dts, packet.is_keyframe))

    painted = 0
    for n, planes in enumerate(paint(first, end)):
        frame = to_frame(planes)
        frame.pts, frame.time_base = n, Fraction(1, spec.fps)
        keep(context.encode(frame))
        painted += 1
        report(painted)
    if painted != end - first:
        raise SegmentError(f"segment {first}..{end} has {painted} pictures")
    keep(context.encode(None))
    return coded


def to_frame(planes: Planes) -> av.VideoFrame:
    """Copy planes into a frame of the codec library's own."""
    frame = av.VideoFrame(planes.width, planes.height, "yuv420p")
    for plane, array in zip(frame.planes, (planes.y, planes.u, planes.v), strict=True):
        rows = np.frombuffer(cast("Any", plane), np.uint8).reshape(array.shape[0], plane.line_size)
        rows[:, : array.shape[1]] = array
    frame.color_range = cast("Any", _LIMITED)
    frame.colorspace = cast("Any", _BT709)
    return frame


def _fork(
    paint: Paint, bounds: list[tuple[int, int]], spec: VideoSpec, report: Report, count: int
) -> dict[int, list[Coded]]:
    """Hand segments out one by one, in order, to `count` forked workers.

    Forking shares what was prepared before drawing; it is safe as the workers only compute.
    """
    todo = list(range(len(bounds)))[::-1]
    parts: dict[int, list[Coded]] = {}
    drawn = dict.fromkeys(todo, 0)
    processes: list[BaseProcess] = []
    ends: list[Connection] = []
    try:
        for _ in range(count):
            process, end = _start(paint, bounds, spec, ends)
            processes.append(process)
            ends.append(end)
            end.send(todo.pop())
        while ends:
            for end in cast("list[Connection]", wait(ends)):
                try:
                    kind, n, value = end.recv()
                except EOFError:
                    raise SegmentError("a worker ended without a word") from None
                if kind == "error":
                    raise SegmentError(value)
                if kind == "drawn":
                    drawn[n] = value
                    report(sum(drawn.values()))
                    continue
                parts[n] = value
                if todo:
                    end.send(todo.pop())
                else:
                    end.send(None)
                    ends.remove(end)
                    end.close()
    finally:
        for process in processes:
            if len(parts) < len(bounds):
                process.terminate()
            process.join()
    return parts


def _start(
    paint: Paint, bounds: list[tuple[int, int]], spec: VideoSpec, others: Sequence[Connection]
) -> tuple[BaseProcess, Connection]:
    """Fork a worker; return it and our end of its pipe. `others` are our ends so far."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(
        target=_work, args=(there, [*others, here], paint, bounds, spec), daemon=True
    )
    with warnings.catch_warnings():
        # Python warns of forks in processes with threads; the workers only compute.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    there.close()
    return process, here


def _work(
    pipe: Connection,
    others: Sequence[Connection],
    paint: Paint,
    bounds: list[tuple[int, int]],
    spec: VideoSpec,
) -> None:
    for end in others:
        # A fork holds the parent's ends too; kept open they would hide that the parent is gone.
        end.close()
    try:
        while (n := pipe.recv()) is not None:
            first, end_frame = bounds[n]
            pipe.send(("coded", n, _segment(paint, first, end_frame, spec, _tell(pipe, n))))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    except BaseException:  # noqa: BLE001 - whatever it was, the parent must hear of it
        pipe.send(("error", 0, traceback.format_exc()))


def _tell(pipe: Connection, segment: int) -> Report:
    return lambda painted: pipe.send(("drawn", segment, painted))


def _offset(report: Report, done: int) -> Report:
    return lambda painted: report(done + painted)
