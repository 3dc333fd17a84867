"""What is asked of the model: read and checked before anything else is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from inference import inputs, output, shot, sizes
from services.cosmos.plan import OVERLAP, Rules, Segment, segments_of

if TYPE_CHECKING:
    from PIL import Image

    from bus.worker.model import Files
    from contracts.manifest import Feature
    from contracts.requests import GenerateVideo
    from inference.sizes import Size


class Shot(NamedTuple):
    """A shot to be made: in what size and pieces, and the pictures that it begins on, of that size.

    `begins` is the request's field that they came from, empty if there are none.
    """

    prompt: str
    negative_prompt: str
    size: Size
    segments: list[Segment]
    given: list[Image.Image]
    begins: str

    @property
    def frames(self) -> int:
        """How many frames the pieces make together."""
        return sum(segment.frames - segment.kept_from for segment in self.segments)


def read(request: GenerateVideo, files: Files, rules: Rules, features: list[Feature]) -> Shot:
    """Return the shot. `features` are what the service can do; what it cannot is refused.

    Raises InvalidInputErrors that name the field.
    """
    output.even(request.width, request.height)
    shot.refuse(request, features)
    shot.check_subject(request, files)
    prompt = shot.prompt_of(request)
    size = sizes.fit(
        request.width,
        request.height,
        multiple=rules.multiple,
        max_pixels=rules.max_pixels,
        min_side=rules.min_side,
    )
    begins = next((f for f in ("first_frame", "continue_from") if getattr(request, f)), "")
    count = {"": 0, "first_frame": 1, "continue_from": OVERLAP}[begins]
    segments = segments_of(request.seconds, rules, given=count)
    pictures = _given(request, files, rules)
    return Shot(
        prompt=prompt,
        negative_prompt=request.negative_prompt,
        size=size,
        segments=segments,
        given=[output.cover(picture, size) for picture in pictures],
        begins=begins,
    )


def _given(request: GenerateVideo, files: Files, rules: Rules) -> list[Image.Image]:
    """Return the pictures that the shot begins on, in their own size and the model's rate."""
    from PIL import Image

    if request.first_frame is not None:
        return [inputs.picture(files, request.first_frame, field="first_frame")]
    if request.continue_from is None:
        return []
    frames = inputs.ending(
        files, request.continue_from, field="continue_from", count=OVERLAP, fps=rules.fps
    )
    return [Image.fromarray(frame) for frame in frames]
