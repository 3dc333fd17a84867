"""A film from its links: each rendered or recalled, written as a piece, and all joined.

Frames of a link that is done are not held: what stays of it are a file and what the next one begins
on, so that memory does not grow with the film.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from bus.worker.model import Media
from inference import output
from inference.sizes import Size
from media.encode import Quality, VideoSpec, encode, even_segments
from media.join import join_mp4
from media.mux import write_mp4
from media.pixels import Planes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from bus.worker.model import SegmentFiles
    from contracts.requests import GenerateVideo
    from inference.steps import Steps
    from services.longcat.chain import Link
    from services.longcat.order import Order

PIECE, ENDING = "piece", "ending"


class Pictures(Protocol):
    """What a link has become."""

    @property
    def frames(self) -> NDArray[Any]:
        """Return the link's own pictures, (n, h, w, 3) uint8."""

    def save_ending(self, path: Path) -> None:
        """Write what the next link needs."""


class Renderer(Protocol):
    """What makes a link's pictures."""

    def running(self) -> AbstractContextManager[None]:
        """Have links rendered within the block."""

    def steps(self, link: Link) -> int:
        """Return how many steps a link takes."""

    def render(
        self,
        order: Order,
        number: int,
        seed: int,
        before: Path | None,
        callback: Callable[..., Any],
    ) -> Pictures:
        """Make a link of an order."""


class Work(NamedTuple):
    """A film that is being made: what for, of what, and where its files go."""

    request: GenerateVideo
    order: Order
    files: SegmentFiles
    steps: Steps

    @property
    def spec(self) -> VideoSpec:
        """How its pictures are coded."""
        request = self.request
        return VideoSpec(request.width, request.height, request.fps, Quality.PLATE)


def make(work: Work, renderer: Renderer) -> list[Path]:
    """Render what was not rendered before; return the film's pieces in their order.

    A film of several links keeps each one as it is done, and goes on from what was kept.
    """
    pieces: list[Path] = []
    before: Path | None = None
    kept = len(work.order.links) > 1
    with renderer.running():
        for number, link in enumerate(work.order.links):
            found = work.files.recall(work.order.keys[number]) if kept else []
            if found:
                work.steps.advance("recall", renderer.steps(link))
            else:
                made = _rendered(work, renderer, number, before)
                found = work.files.checkpoint(work.order.keys[number], made) if kept else made
            parts = {media.name: media.path for media in found}
            pieces += [parts[PIECE]] if PIECE in parts else []
            if before is not None:
                before.unlink(missing_ok=True)  # the next one begins on this one
            before = parts[ENDING]
    return pieces


def _rendered(work: Work, renderer: Renderer, number: int, before: Path | None) -> list[Media]:
    """Return a link's files: its piece of the film, and what the next one begins on."""
    request, order = work.request, work.order
    made = renderer.render(order, number, request.seed, before, work.steps.callback)
    ending = work.files.new(".safetensors")
    made.save_ending(ending)
    files = [Media(path=ending, media_type="application/octet-stream", name=ENDING)]
    per_frame = len(made.frames) // order.links[number].used
    first = order.links[number].first * per_frame
    start, end = order.clock.before(first), order.clock.before(first + len(made.frames))
    if end == start:
        return files  # so short that no moment of the film falls into it
    path = work.files.new(".mp4")
    _write(path, work, [(order.clock.at(n) - first) for n in range(start, end)], made.frames)
    piece = Media(
        path=path,
        media_type="video/mp4",
        name=PIECE,
        width=request.width,
        height=request.height,
        seconds=(end - start) / request.fps,
        fps=float(request.fps),
    )
    return [piece, *files]


def _write(path: Path, work: Work, chosen: list[int], frames: NDArray[Any]) -> None:
    """Write some of the frames as a film of the size that was asked for."""
    size = Size(work.request.width, work.request.height)

    def paint(first: int, end: int) -> Iterator[Planes]:
        for source in chosen[first:end]:
            yield Planes.from_bgr(output.pixels(output.cover(frames[source], size))[..., ::-1])

    # One worker: a process that holds a device must not fork.
    stream = encode(
        paint,
        even_segments(len(chosen)),
        len(chosen),
        work.spec,
        report=lambda _done: work.steps.advance("encode", 0),
        workers=1,
    )
    write_mp4(path, stream)


def join(work: Work, pieces: list[Path], facts: dict[str, str]) -> Media:
    """Return the whole film, exactly as long as was asked for."""
    path = work.files.new(".mp4")
    tags = {"comment": output.comment(facts)}
    count = join_mp4(path, pieces, fps=work.request.fps, frames=work.order.total, tags=tags)
    return Media(
        path=path,
        media_type="video/mp4",
        name="video",
        metadata=facts,
        width=work.request.width,
        height=work.request.height,
        seconds=count / work.request.fps,
        fps=float(work.request.fps),
    )
