"""What is asked of the model: read and checked before anything else is done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from contracts.errors import InvalidRequestError
from inference import direction, inputs, output, shot, sizes
from inference.sizes import Size
from services.longcat.chain import Clock, Link, keys_of, links_of, parts_of

if TYPE_CHECKING:
    from PIL import Image

    from bus.worker.model import Files
    from contracts.manifest import Feature
    from contracts.requests import GenerateVideo
    from services.longcat.recipe import Recipe


class Order(NamedTuple):
    """A film to be made: its links with their keys, and in which size.

    `made` is the size that the model works in, `refined` the one that it is made finer in, if so.
    `given` are the pictures that the film begins on, of that size; `begins` is the request's field
    that they came from. `total` frames are shown, by the `clock`.
    """

    links: list[Link]
    keys: list[str]
    negative_prompt: str
    made: Size
    refined: Size | None
    given: list[Image.Image]
    begins: str
    clock: Clock
    total: int

    @property
    def frames(self) -> int:
        """How many frames of the model's own rate the film has."""
        return sum(link.used for link in self.links)


def read(request: GenerateVideo, files: Files, recipe: Recipe, features: list[Feature]) -> Order:
    """Return the order. `features` are what the service can do; what it cannot is refused.

    Raises InvalidInputErrors that name the field.
    """
    output.even(request.width, request.height)
    shot.check_subject(request, files)
    prompts = _prompts(request)
    shot.refuse(msgspec.structs.replace(request, prompt=prompts[0]), features)
    total = max(1, round(request.seconds * request.fps))
    clock = Clock(recipe.made_fps, request.fps)
    whole = math.ceil((clock.at(total - 1) + 1) / recipe.made_per_frame)
    parts = parts_of(prompts, request.segments, request.seconds, fps=recipe.fps, whole=whole)
    begins = next((f for f in ("first_frame", "continue_from") if getattr(request, f)), "")
    given = {"": 0, "first_frame": 1, "continue_from": recipe.overlap}[begins]
    # A first picture is the film's own first frame; the end of another film is not shown again.
    links = links_of(parts, recipe, given=given, skip=given if begins == "continue_from" else 0)
    made = _fitted(request, recipe.multiple, recipe.max_pixels, recipe.min_side)
    refined = None
    if recipe.refine:
        refined = _fitted(request, recipe.refine_multiple, recipe.refine_pixels)
    pictures = _given(request, files, recipe)
    return Order(
        links=links,
        keys=keys_of(_shared(request, recipe, made, refined), links),
        negative_prompt=request.negative_prompt or recipe.negative_prompt,
        made=made,
        refined=refined,
        given=[output.cover(picture, made) for picture in pictures],
        begins=begins,
        clock=clock,
        total=total,
    )


def _prompts(request: GenerateVideo) -> list[str]:
    """Return the whole prompt of every segment, or the one of a film without any."""
    if not request.segments:
        return [shot.prompt_of(request)]
    for number, segment in enumerate(request.segments):
        if not segment.prompt.strip():
            raise InvalidRequestError("it has no words", field=f"segments[{number}].prompt")
    whole = [direction.sentence(request.prompt)] if request.prompt.strip() else []
    texts = [" ".join([*whole, segment.prompt.strip()]) for segment in request.segments]
    further = msgspec.structs.replace(request, first_frame=None, continue_from=None)
    asked = [request, *[further] * (len(texts) - 1)]  # what it begins on, the first one tells
    return [
        shot.prompt_of(msgspec.structs.replace(one, prompt=text))
        for one, text in zip(asked, texts, strict=True)
    ]


def _fitted(request: GenerateVideo, multiple: int, most: int, least_side: int = 0) -> Size:
    return sizes.fit(
        request.width, request.height, multiple=multiple, max_pixels=most, min_side=least_side
    )


def _shared(
    request: GenerateVideo, recipe: Recipe, made: Size, refined: Size | None
) -> dict[str, object]:
    """Return what the bytes of every link depend on, but for the links before it."""
    refs = (request.first_frame, request.continue_from)
    return {
        "recipe": msgspec.to_builtins(recipe),
        "size": [request.width, request.height],
        "fps": request.fps,
        "made": list(made),
        "refined": list(refined or ()),
        "seed": request.seed,
        "negative_prompt": request.negative_prompt or recipe.negative_prompt,
        "begins": [ref.sha256 if ref else "" for ref in refs],
    }


def _given(request: GenerateVideo, files: Files, recipe: Recipe) -> list[Image.Image]:
    """Return the pictures that the film begins on, in their own size and the model's rate."""
    from PIL import Image

    if request.first_frame is not None:
        return [inputs.picture(files, request.first_frame, field="first_frame")]
    if request.continue_from is None:
        return []
    frames = inputs.ending(
        files, request.continue_from, field="continue_from", count=recipe.overlap, fps=recipe.fps
    )
    return [Image.fromarray(frame) for frame in frames]
