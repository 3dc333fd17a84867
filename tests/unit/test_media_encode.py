"""Films: the same bytes on any number of cores, and pictures that come back as they went in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from media.decode import VideoUnreadableError, frames
from media.encode import Quality, SegmentError, Stream, VideoSpec, encode, even_segments
from media.mux import Caption, Extras, write_mp4
from media.pixels import Planes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit
SPEC = VideoSpec(64, 48, 30, Quality.PLATE)
FRAMES = 40
ROOT = Path(__file__).parents[2]


def paint(first: int, end: int) -> Iterator[Planes]:
    planes = Planes.blank(64, 48)
    for n in range(first, end):
        planes.y[...] = 40 + 4 * n
        yield planes


def film(workers: int, spec: VideoSpec = SPEC) -> Stream:
    return encode(paint, even_segments(FRAMES, 9), FRAMES, spec, workers=workers)


@pytest.mark.parametrize("quality", Quality)
def test_the_number_of_workers_never_changes_the_bytes(quality: Quality, tmp_path: Path) -> None:
    spec = VideoSpec(64, 48, 30, quality)
    files = []
    for workers in (1, 3):
        path = tmp_path / f"{workers}.mp4"
        write_mp4(path, film(workers, spec))
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_every_frame_comes_back_in_order_across_segments(tmp_path: Path) -> None:
    write_mp4(tmp_path / "film.mp4", film(2))
    levels = [int(planes.y.mean().round()) for planes in frames(tmp_path / "film.mp4")]
    assert levels == [40 + 4 * n for n in range(FRAMES)]


@pytest.mark.parametrize(("first", "end"), [(0, 3), (7, 12), (23, 40)])
def test_decoding_can_begin_anywhere(first: int, end: int, tmp_path: Path) -> None:
    write_mp4(tmp_path / "film.mp4", film(1))
    levels = [int(p.y.mean().round()) for p in frames(tmp_path / "film.mp4", first, end)]
    assert levels == [40 + 4 * n for n in range(first, end)]


def test_the_file_is_tagged_carries_sound_and_captions_and_starts_fast(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    sound = np.zeros((48_000, 2), np.float32)
    sound[:, 0] = np.sin(np.arange(48_000) / 20) / 2
    captions = [Caption(0.2, 0.9, "Grüße — مرحبا")]
    extras = Extras(sound, captions, "deu", {"title": "T", "comment": "Draft animatic"})
    write_mp4(path, film(1), extras)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == "Draft animatic"
        assert "creation_time" not in container.metadata
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_trc, context.color_range) == (1, 1, 1)
        assert container.streams.audio[0].metadata["language"] == "deu"
        decoded = sum(frame.samples for frame in container.decode(audio=0))
        assert decoded >= 48_000
    with av.open(str(path)) as container:
        texts = [bytes(packet)[2:] for packet in container.demux(subtitles=0) if packet.size > 2]
    assert texts == [captions[0].text.encode()]


def test_a_painter_that_fails_says_so_and_leaves_nobody_behind() -> None:
    def broken(first: int, end: int) -> Iterator[Planes]:
        if first:
            raise RuntimeError("no paint left")
        yield from paint(first, end)

    with pytest.raises(SegmentError, match="no paint left"):
        encode(broken, [0, 20], FRAMES, SPEC, workers=2)


def test_a_painter_with_too_few_pictures_is_found_out() -> None:
    with pytest.raises(SegmentError, match="3 pictures"):
        encode(lambda first, _: paint(first, first + 3), [0], FRAMES, SPEC, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_reports_count_up_to_all_frames_and_can_stop_the_work(workers: int) -> None:
    heard: list[int] = []
    encode(paint, [0, 20], FRAMES, SPEC, workers=workers, report=heard.append)
    assert sorted(heard) == heard
    assert heard[-1] == FRAMES

    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        encode(paint, [0, 20], FRAMES, SPEC, workers=workers, report=stop)


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "import os, sys\n"
        "from media.encode import Quality, VideoSpec, encode\n"
        "from media.pixels import Planes\n"
        "def paint(first, end):\n"
        "    os.write(1, b'%d\\n' % os.getpid())\n"
        "    while True:\n"
        "        yield Planes.blank(64, 48)\n"
        "encode(paint, [0, 9], 10**9, VideoSpec(64, 48, 30, Quality.PLATE), workers=2)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        started = [int(parent.stdout.readline()) for _ in range(2)]
        assert len(set(started)) == 2
        parent.kill()
        # The pipe's last writers are the workers: it ends when they do.
        assert parent.stdout.read() == ""


def test_segments_cover_a_film_evenly() -> None:
    assert even_segments(100, 45) == [0, 33, 66]
    assert even_segments(1) == [0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"not a film")
    with pytest.raises(VideoUnreadableError):
        next(frames(tmp_path / "film.mp4"))
