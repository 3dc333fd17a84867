"""How a variant makes pictures: its manifest's parameters, read and checked. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from inference import parameters
from services.umo.sight import MULTIPLE

if TYPE_CHECKING:
    from contracts.manifest import Manifest
    from inference.sizes import Size

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]`.

    `adapter_file` is UMO's LoRA for this model, which counts `adapter_strength` times; `merged`
    adds it to the weights, which costs nothing at each step. `guidance` is by the text, or what the
    model was distilled with; `image_guidance` by the references. A picture has `min_pixels` to
    `max_pixels`: a smaller one is made larger, and reduced. It looks at `most_pictures` at most,
    each of up to `reference_pixels`, its longer side up to `reference_side`; UNO has
    `lone_side` of a picture that it is shown alone.
    """

    pipeline: Literal["omnigen2", "uno"]
    adapter_file: Annotated[str, msgspec.Meta(min_length=1)]
    adapter_strength: Annotated[float, msgspec.Meta(gt=0, le=2)] = 1.0
    merged: bool = True
    steps: Positive
    guidance: Annotated[float, msgspec.Meta(ge=1)]
    image_guidance: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    max_tokens: Positive
    min_pixels: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_pixels: Positive
    most_pictures: Positive
    reference_pixels: Positive
    reference_side: Positive
    lone_side: Positive
    negative_prompt: str = ""


def recipe_of(manifest: Manifest) -> Recipe:
    """Return a variant's recipe; raises InvalidRequestError naming the parameter that is wrong."""
    return parameters.read(manifest, Recipe)


def enlarged(size: Size, min_pixels: int) -> Size:
    """Return a size of the same aspect with at least so many pixels, and room for a token."""
    scale = max(1.0, math.sqrt(min_pixels / (size.width * size.height)), MULTIPLE / min(size))
    return type(size)(math.ceil(size.width * scale), math.ceil(size.height * scale))
