"""Draw one shot as a textless moving plate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bus.worker.model import Media
from contracts.errors import InvalidRequestError
from media.encode import Quality, VideoSpec, encode, even_segments
from media.mux import Extras, write_mp4
from media.pixels import Planes
from media.scenes.direction import check, mean_colour, scene_of, stage_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bus.worker.model import Files, Report
    from contracts.manifest import Manifest
    from contracts.requests import GenerateVideo
    from media.scenes.stage import Scene, Stage

LABEL = "Draft animatic"
"""Written into every file, so that nobody takes a draft for the finished film."""


class Model:
    """The draft engine for `generate_video.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load(self) -> None:
        """Nothing to load: scenes are drawn, not generated from weights."""

    def run(self, request: GenerateVideo, report: Report, files: Files) -> Iterator[Media]:
        """Yield the shot as near lossless H.264, BT.709, without sound."""
        if request.width % 2 or request.height % 2:
            raise InvalidRequestError("4:2:0 video has even sides", field="width")
        check(request.art)
        frames = max(1, round(request.seconds * request.fps))
        size = (request.width, request.height)
        report(0, frames, "scene")
        stage = stage_of(
            request.art,
            request.prompt,
            size,
            seconds=frames / request.fps,
            seed=request.seed,
            find=files.path,
        )
        name, scene = scene_of(request.art, stage)
        spec = VideoSpec(*size, request.fps, Quality.PLATE)

        def paint(first: int, end: int) -> Iterator[Planes]:
            planes = Planes.blank(*size)
            for n in range(first, end):
                scene.paint(planes, n / request.fps)
                yield planes

        stream = encode(
            paint,
            even_segments(frames),
            frames,
            spec,
            report=lambda done: report(done, frames, "frames"),
        )
        path = files.new(".mp4")
        write_mp4(path, stream, Extras(tags={"comment": LABEL}))
        yield Media(
            path=path,
            media_type="video/mp4",
            name="video",
            width=request.width,
            height=request.height,
            seconds=frames / request.fps,
            fps=float(request.fps),
            metadata={"scene": name, "quiet_rgb": quiet_colour(scene, stage)},
        )


def quiet_colour(scene: Scene, stage: Stage) -> str:
    """Return the mean colour of the place for type, in the middle of the shot."""
    planes = Planes.blank(stage.width, stage.height)
    scene.paint(planes, stage.seconds / 2)
    q = stage.quiet
    if q is None:
        return mean_colour(planes.mean_bgr())
    box = (
        q.left / stage.width,
        q.top / stage.height,
        q.width / stage.width,
        q.height / stage.height,
    )
    return mean_colour(planes.mean_bgr(box))
