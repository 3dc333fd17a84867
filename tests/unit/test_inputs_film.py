"""Films of a request: read at a model's rate and size, and their ends."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bus.worker.child import JobFiles
from contracts.artifacts import ArtifactRef
from contracts.errors import MediaRejectedError
from inference import inputs
from media.encode import Quality, VideoSpec, encode
from media.mux import Extras, write_mp4
from media.pixels import Planes

pytestmark = pytest.mark.unit

FRAMES = 20
STEP = 12
"""Of brightness between one frame and the next: what tells them apart."""
REF = ArtifactRef(key="t/sha256/a", sha256="a" * 64, media_type="video/mp4", size_bytes=1)


@functools.cache
def film(fps: int, frames: int = FRAMES) -> Path:
    """A film whose frames are grey, each brighter than the one before."""

    def paint(first: int, end: int) -> Iterator[Planes]:
        for number in range(first, end):
            yield Planes.from_bgr(np.full((16, 32, 3), 8 + STEP * number, np.uint8))

    path = Path(tempfile.mkdtemp()) / "film.mp4"
    stream = encode(paint, [0], frames, VideoSpec(32, 16, fps, Quality.PLATE), workers=1)
    write_mp4(path, stream, Extras())
    return path


def shown(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[int]:
    """Which frame of the film each picture is."""
    return [round((float(frame.mean()) - 8) / STEP) for frame in frames]


@pytest.mark.parametrize("fps", [10, 16, 24, 30, 60])
@pytest.mark.parametrize("wanted", [12.0, 16.0, 24.0, 60.0])
def test_of_every_moment_the_nearest_frame_is_read(fps: int, wanted: float) -> None:
    read = inputs.read_film(film(fps), fps=wanted, most_frames=999)
    assert abs(len(read.frames) - FRAMES / fps * wanted) <= 0.5
    expected = [int((n + 0.5) / wanted * fps + 1e-9) for n in range(len(read.frames))]
    assert shown(read.frames) == expected
    assert read.fps == wanted
    assert read.seconds == pytest.approx(FRAMES / fps)


def test_at_its_own_rate_it_is_all_there() -> None:
    read = inputs.read_film(film(16), most_frames=FRAMES)
    assert shown(read.frames) == list(range(FRAMES))
    assert read.seconds == FRAMES / 16


def test_a_film_shorter_than_one_frame_of_the_rate_is_one_frame() -> None:
    read = inputs.read_film(film(60, 1), fps=12, most_frames=9)
    assert shown(read.frames) == [0]


def test_frames_are_made_as_small_as_they_are_needed() -> None:
    def half(picture: Image.Image) -> Image.Image:
        return picture.resize((16, 8))

    assert inputs.read_film(film(16), most_frames=99, scaled=half).frames.shape[1:] == (8, 16, 3)


def test_more_frames_than_may_be_are_refused_by_their_field() -> None:
    with pytest.raises(MediaRejectedError, match="more than 19") as caught:
        inputs.read_film(film(16), field="driving", most_frames=FRAMES - 1)
    assert caught.value.field == "driving"


@given(count=st.integers(1, 8), fps=st.sampled_from([8.0, 12.0, 16.0, 24.0]))
@settings(deadline=None)
def test_an_ending_is_the_last_frames_at_a_rate(count: int, fps: float) -> None:
    files = JobFiles({REF.sha256: str(film(16))}, Path())
    ending = inputs.ending(files, REF, field="continue_from", count=count, fps=fps)
    back = [round(n * 16 / fps) for n in reversed(range(count))]
    assert shown(ending) == [FRAMES - 1 - n for n in back]


def test_an_ending_of_a_film_that_is_too_short_begins_on_its_first_frame() -> None:
    files = JobFiles({REF.sha256: str(film(16, 2))}, Path())
    ending = inputs.ending(files, REF, field="continue_from", count=5, fps=16)
    assert shown(ending) == [0, 0, 0, 0, 1]


def test_an_ending_of_what_is_no_film_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    files = JobFiles({REF.sha256: str(tmp_path / "junk")}, tmp_path)
    with pytest.raises(MediaRejectedError) as caught:
        inputs.ending(files, REF, field="continue_from", count=5, fps=16)
    assert caught.value.field == "continue_from"
