"""How a variant edits: its manifest's parameters, read and checked. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import msgspec

from contracts.errors import InvalidRequestError
from inference import parameters
from inference.sizes import Size, fit

if TYPE_CHECKING:
    from contracts.manifest import Manifest

MULTIPLE = 16
"""Of both sides: the autoencoder's 8 pixels in patches of 2."""
_FRAMES_STEP = 4
"""Frames come in fours, and one."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]`.

    `adapter` is the part that holds the distilled LoRA, empty for none. In the first
    `reasoning_steps` the model imagines a film of `frames` from the picture to its edit; then only
    the two ends go on. 0 imagines nothing in between. `pixels` are those of the picture that it
    works on, whatever size is asked for: what it was trained at.
    """

    steps: Annotated[int, msgspec.Meta(ge=1)]
    guidance: Annotated[float, msgspec.Meta(ge=1)]
    flow_shift: Annotated[float, msgspec.Meta(gt=0)]
    reasoning_steps: Annotated[int, msgspec.Meta(ge=0)]
    frames: Annotated[int, msgspec.Meta(ge=5)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    pixels: Annotated[int, msgspec.Meta(ge=256)]
    adapter: str
    adapter_file: str
    adapter_strength: float

    @property
    def reasoning(self) -> str:
        """What is imagined on the way, for people; empty for nothing."""
        if not self.reasoning_steps:
            return ""
        return f"{self.reasoning_steps} of {self.steps} steps over {self.frames} frames"


def size_for(recipe: Recipe, width: int, height: int) -> Size:
    """Return the size that the model works at for a picture of `width` x `height` pixels."""
    scale = math.sqrt(recipe.pixels / (width * height))
    least = math.ceil(min(width, height) * scale)
    return fit(width, height, multiple=MULTIPLE, max_pixels=recipe.pixels, min_side=least)


def recipe_of(manifest: Manifest) -> Recipe:
    """Return a variant's recipe; raises InvalidRequestError naming the parameter that is wrong."""
    recipe = parameters.read(manifest, Recipe)
    if recipe.frames % _FRAMES_STEP != 1:
        raise _wrong(manifest, "frames come in fours, and one", "model.parameters.frames")
    if recipe.reasoning_steps > recipe.steps:
        raise _wrong(
            manifest,
            f"{recipe.reasoning_steps} of {recipe.steps} steps cannot be",
            "model.parameters.reasoning_steps",
        )
    if recipe.adapter and recipe.adapter not in manifest.model.parts:
        raise _wrong(manifest, f"no part {recipe.adapter!r}", "model.parameters.adapter")
    return recipe


def _wrong(manifest: Manifest, words: str, field: str) -> InvalidRequestError:
    return InvalidRequestError(f"{manifest.name}: [model.parameters]: {words}", field=field)
