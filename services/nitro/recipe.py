"""How a variant makes pictures: its manifest's parameters, read and checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from contracts.errors import InvalidRequestError
from inference import parameters

if TYPE_CHECKING:
    from contracts.manifest import Manifest

Positive = Annotated[int, msgspec.Meta(ge=1)]

_GROUPED = 16
"""Tokens that four subregions of chunks of four are made of: any number of tokens is a multiple."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """`[model.parameters]`.

    `file` is the checkpoint in the model's repository, `adapter` the folder of a LoRA beside it,
    none if empty. It makes squares of `side` pixels, `most_at_once` of them in one batch, and
    attends within `subregions` where it was trained so. `guidance` up to 1 is none.
    """

    file: str
    adapter: str = ""
    side: Positive
    subregions: bool
    steps: Positive
    guidance: Annotated[float, msgspec.Meta(ge=0)]
    max_tokens: Positive
    most_at_once: Positive = 1

    @property
    def avoids(self) -> bool:
        """Whether a negative prompt changes anything."""
        return self.guidance > 1


def recipe_of(manifest: Manifest) -> Recipe:
    """Return a variant's recipe; raises InvalidRequestError naming the parameter that is wrong."""
    found = parameters.read(manifest, Recipe)
    if found.subregions and found.max_tokens % _GROUPED:
        raise InvalidRequestError(
            f"{manifest.name}: max_tokens is a multiple of {_GROUPED} where subregions are",
            field=f"{parameters.FIELD}.max_tokens",
        )
    return found
