"""How Emu3.5 makes pictures: its manifest's parameters, read and checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from inference import parameters

if TYPE_CHECKING:
    from contracts.manifest import Manifest


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]`. `guidance` without, `edit_guidance` with pictures to look at; `area` in
    pixels, of what is made and of what is looked at.
    """

    guidance: Annotated[float, msgspec.Meta(ge=1)]
    edit_guidance: Annotated[float, msgspec.Meta(ge=1)]
    top_k: Annotated[int, msgspec.Meta(ge=0)]
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)]
    temperature: Annotated[float, msgspec.Meta(gt=0)]
    area: Annotated[int, msgspec.Meta(ge=4096)]
    max_pictures: Annotated[int, msgspec.Meta(ge=0)]


def recipe_of(manifest: Manifest) -> Recipe:
    """Return the recipe; raises InvalidRequestError naming the parameter that is wrong."""
    return parameters.read(manifest, Recipe)
