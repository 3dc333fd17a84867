"""Draw one textless key visual."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bus.worker.model import Media
from media.pixels import Planes
from media.scenes.direction import check, mean_colour, scene_of, stage_of
from media.still import Stamp, encode_png

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from bus.worker.model import Files, Report
    from contracts.manifest import Manifest
    from contracts.requests import Box, GenerateImage

LABEL = "Draft animatic"
"""Written into every file, so that nobody takes a draft for the finished picture."""

_SECONDS = 4.0
_MOMENT = 0.5  # of the shot: everything has arrived, and the product shows its front
_FINE_SIDE = 900  # pixels that the shorter side is drawn with at least, before it is made smaller


class Model:
    """The draft engine for `generate_image.v1`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load(self) -> None:
        """Nothing to load: scenes are drawn, not generated from weights."""

    def run(self, request: GenerateImage, report: Report, files: Files) -> Iterator[Media]:
        """Yield each picture as PNG of exactly the size asked for."""
        check(request.art)
        total = 2 * request.count
        report(0, total, "scene")
        for done, (name, seed) in enumerate(request.pictures.items()):
            scene, planes = _drawn(request, seed, files)
            report(2 * done + 1, total, "picture")
            # At twice the size the colour planes are as fine as the picture: 4:2:0 loses nothing.
            target = (request.width, request.height)
            picture = cv2.resize(planes.to_bgr(), target, interpolation=cv2.INTER_AREA)
            path = files.new(".png")
            path.write_bytes(encode_png(picture, Stamp(comment=LABEL)))
            report(2 * done + 2, total, "picture" if done + 1 == request.count else "scene")
            yield Media(
                path=path,
                media_type="image/png",
                name=name,
                width=request.width,
                height=request.height,
                metadata={"scene": scene, "quiet_rgb": _mean(picture, request.art.quiet)},
            )


def _drawn(request: GenerateImage, seed: int, files: Files) -> tuple[str, Planes]:
    """Return a scene's name, and the scene as it looks in the middle of its time."""
    fine = oversampling(request.width, request.height)
    size = (_even(request.width * fine), _even(request.height * fine))
    stage = stage_of(
        request.art, request.prompt, size, seconds=_SECONDS, seed=seed, find=files.path
    )
    name, scene = scene_of(request.art, stage)
    planes = Planes.blank(*size)
    scene.paint(planes, _SECONDS * _MOMENT)
    return name, planes


def oversampling(width: int, height: int) -> int:
    """Return how many times larger than asked a picture is drawn: the more, the smaller it is."""
    return max(2, min(4, math.ceil(_FINE_SIDE / min(width, height))))


def _mean(picture: NDArray[Any], box: Box | None) -> str:
    height, width = picture.shape[:2]
    if box is not None:
        left, top = int(box.x * width), int(box.y * height)
        picture = picture[
            top : max(top + 1, int((box.y + box.h) * height)),
            left : max(left + 1, int((box.x + box.w) * width)),
        ]
    return mean_colour(tuple(int(c) for c in np.rint(picture.reshape(-1, 3).mean(0))))


def _even(length: int) -> int:
    return length + length % 2
