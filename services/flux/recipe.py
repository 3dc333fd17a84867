"""How a variant makes pictures: its manifest's parameters, read and checked. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from inference import parameters
from inference.sizes import Size, fit

if TYPE_CHECKING:
    from contracts.manifest import Manifest

Kind = Literal["klein", "flux", "z_image", "qwen_image", "qwen_edit", "container"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]`.

    `guidance` is what the model was distilled with or its classifier-free guidance; `true_cfg`
    above 1 computes a second, negative prompt for models that only know the former. Sides are
    multiples of `multiple`, a picture has `min_pixels` to `max_pixels`; `sizes`, if given, are all
    that there are (`1024x1024 1248x832`). `condition_pixels` are what all pictures that the model
    is shown may have together. `finished`, of a server, is `path=value` in the answer of a picture
    that was not withheld.
    """

    pipeline: Kind
    steps: Annotated[int, msgspec.Meta(ge=1)]
    guidance: float
    true_cfg: float
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    multiple: Annotated[int, msgspec.Meta(ge=1)]
    min_pixels: Annotated[int, msgspec.Meta(ge=0)]
    max_pixels: Annotated[int, msgspec.Meta(ge=0)]
    condition_pixels: Annotated[int, msgspec.Meta(ge=0)] = 0
    sizes: Annotated[str, msgspec.Meta(pattern=r"\A(\d+x\d+( \d+x\d+)*)?\Z")] = ""
    finished: Annotated[str, msgspec.Meta(pattern=r"\A([^=]+=[^=]+)?\Z")] = ""


def recipe_of(manifest: Manifest) -> Recipe:
    """Return a variant's recipe; raises InvalidRequestError naming the parameter that is wrong."""
    return parameters.read(manifest, Recipe)


def size_for(recipe: Recipe, width: int, height: int) -> Size:
    """Return the size that the model makes for a picture of `width` x `height` pixels."""
    if recipe.sizes:
        known = [Size(*map(int, size.split("x"))) for size in recipe.sizes.split()]
        return min(known, key=lambda size: abs(math.log(size.width * height / size.height / width)))
    least = math.sqrt(recipe.min_pixels / (width * height)) * min(width, height)
    return fit(
        width,
        height,
        multiple=recipe.multiple,
        max_pixels=recipe.max_pixels,
        min_side=math.ceil(least),
    )
