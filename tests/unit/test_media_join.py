"""Films that were coded alike become one, without coding again."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from media import decode
from media.encode import Quality, VideoSpec, encode, even_segments
from media.join import join_mp4
from media.mux import write_mp4
from media.pixels import Planes

pytestmark = pytest.mark.unit

SPEC = VideoSpec(64, 48, 10, Quality.PLATE)


def piece(path: Path, tones: Sequence[int | NDArray[np.uint8]]) -> Path:
    """A film of one tone after the other."""

    def paint(first: int, end: int) -> Iterator[Planes]:
        for tone in tones[first:end]:
            yield Planes.from_bgr(np.broadcast_to(np.uint8(tone), (48, 64, 3)).copy())

    stream = encode(paint, even_segments(len(tones)), len(tones), SPEC, workers=1)
    write_mp4(path, stream)
    return path


def tones_of(path: Path) -> list[int]:
    return [int(p.to_bgr().mean().round()) for p in decode.frames(path)]


@pytest.fixture
def pieces(tmp_path: Path) -> list[Path]:
    tones = [[20, 40, 60], [80], list(range(90, 190))]
    return [piece(tmp_path / f"{n}.mp4", found) for n, found in enumerate(tones)]


def test_the_pictures_are_those_of_the_films_in_their_order(
    pieces: list[Path], tmp_path: Path
) -> None:
    made = tmp_path / "made.mp4"
    assert join_mp4(made, pieces, fps=10, frames=1000, tags={"comment": "by a model"}) == 104
    wanted = [tone for path in pieces for tone in tones_of(path)]
    assert tones_of(made) == wanted
    with av.open(str(made)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate) == (104, 10)
        assert float(stream.duration * stream.time_base) == pytest.approx(10.4)
        assert container.metadata["comment"] == "by a model"


def test_it_ends_where_it_shall_and_says_if_it_is_shorter(
    pieces: list[Path], tmp_path: Path
) -> None:
    made = tmp_path / "made.mp4"
    assert join_mp4(made, pieces, fps=10, frames=50, tags={}) == 50
    assert tones_of(made) == [tone for path in pieces for tone in tones_of(path)][:50]
    assert join_mp4(made, pieces[:1], fps=10, frames=50, tags={}) == 3


def test_the_same_films_make_the_same_bytes(pieces: list[Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        join_mp4(tmp_path / name, pieces, fps=10, frames=104, tags={"comment": "x"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    def peak_kib() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
    loud = piece(tmp_path / "loud.mp4", list(noise))
    join_mp4(tmp_path / "short", [loud] * 2, fps=10, frames=10**6, tags={})
    before = peak_kib()
    join_mp4(tmp_path / "long", [loud] * 600, fps=10, frames=10**6, tags={})
    size_kib = (tmp_path / "long").stat().st_size // 1024
    assert size_kib > 20_000
    assert peak_kib() - before < size_kib / 2, "the film is not held"
