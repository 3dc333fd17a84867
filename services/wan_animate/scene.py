"""What is asked of the model: read and checked before anything else is done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from contracts.errors import InvalidRequestError
from contracts.manifest import Feature
from inference import inputs, output, sizes
from services.wan_animate.plan import Rules, Runs, runs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bus.worker.model import Files
    from contracts.manifest import LimitSection
    from contracts.requests import AnimateCharacter
    from inference.sizes import Size

PROMPT = "The person of the picture moves as in the video."
"""What the model is told where the request says nothing."""
TRACKS = ("pose", "face")
"""What a tracker must have made of the driving video for a model that does not read it raw."""
SCENERY = ("background", "mask")
"""What it must have made of it too, where somebody in it is replaced."""

_FACE_SIDE = 512
_HEAD_ROOM = (0.5, 0.25)  # where a picture is cut to another aspect: a person's head is further up


class Scene(NamedTuple):
    """A film to be made, of `frames` at the model's rate, as long as its driving video.

    `films` are the driving video and its tracks by their field, as the runs need them: lists of
    pictures, all of one length.
    """

    prompt: str
    negative_prompt: str
    size: Size
    character: Image.Image
    films: dict[str, list[Image.Image]]
    frames: int
    runs: Runs
    seconds: float


def read(request: AnimateCharacter, files: Files, rules: Rules, limits: LimitSection) -> Scene:
    """Return the scene. Raises InvalidInputErrors that name the field."""
    output.even(request.width, request.height)
    wanted = _wanted(request, limits)
    size = sizes.fit(
        request.width,
        request.height,
        multiple=rules.multiple,
        max_pixels=rules.max_pixels,
        min_side=rules.min_side,
    )
    character = inputs.picture(files, request.character, field="character")
    most = math.floor(limits.max_seconds * rules.fps)
    films = {
        field: inputs.read_film(
            files.path(getattr(request, field)),
            field=field,
            fps=rules.fps,
            most_frames=most,
            scaled=_scaled(field, size),
        )
        for field in wanted
    }
    frames = len(films["driving"].frames)
    for field, film in films.items():
        if abs(len(film.frames) - frames) > 1:
            raise InvalidRequestError(f"{field} is not as long as the driving video", field=field)
    runs = runs_of(frames, rules)
    return Scene(
        prompt=request.prompt.strip() or PROMPT,
        negative_prompt=request.negative_prompt,
        size=size,
        character=ImageOps.fit(
            character, (size.width, size.height), Image.Resampling.LANCZOS, centering=_HEAD_ROOM
        ),
        films={
            field: _lengthened(film.frames, runs.driving_frames) for field, film in films.items()
        },
        frames=frames,
        runs=runs,
        seconds=films["driving"].seconds,
    )


def _wanted(request: AnimateCharacter, limits: LimitSection) -> list[str]:
    """Return the fields of the films that are needed; refuse what the model cannot do."""
    replaces = request.mode == "replace"
    if replaces and Feature.REPLACEMENT not in limits.features:
        raise InvalidRequestError("the model cannot put a person into a video", field="mode")
    if Feature.RAW_DRIVING in limits.features:
        return ["driving"]
    needed = [*TRACKS, *(SCENERY if replaces else ())]
    for field in needed:
        if getattr(request, field) is None:
            raise InvalidRequestError(
                f"the model needs what a tracker made of the driving video: {field}", field=field
            )
    return ["driving", *needed]


def _scaled(field: str, size: Size) -> Any:  # noqa: ANN401 - a function of a picture
    """Return what makes a frame no larger than it is needed.

    The driving video is only made smaller, whole: nobody's feet are cut off. Tracks are cut as the
    film is.
    """
    if field == "driving":
        return lambda frame: ImageOps.contain(frame, (size.width, size.height))
    if field == "face":
        return lambda frame: output.cover(frame, sizes.Size(_FACE_SIDE, _FACE_SIDE))
    return lambda frame: output.cover(frame, size)


def _lengthened(film: NDArray[Any], frames: int) -> list[Image.Image]:
    """Return a film's pictures, so many of them: the last one stays."""
    chosen = np.minimum(np.arange(frames), len(film) - 1)
    return [Image.fromarray(film[n]) for n in chosen]
