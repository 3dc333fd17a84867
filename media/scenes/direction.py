"""From an art direction, as requests carry it, to a stage and its scene."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from contracts.brief import Form as BriefForm
from contracts.errors import InvalidRequestError
from media.colour import bgr
from media.form import form_named
from media.scenes import SCENES, build
from media.scenes.stage import Area, Colours, Stage, free_area
from media.scenes.subject import Picture, Product
from media.still import read_bgra

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contracts.artifacts import ArtifactRef
    from contracts.brief import Palette
    from contracts.requests import ArtDirection, Box
    from contracts.requests import Subject as Wanted
    from media.scenes.stage import Scene
    from media.scenes.subject import Subject

    Find = Callable[[ArtifactRef], Path]

_LEAST_SIDE = 0.02  # of the frame: a smaller box is a mistake


def check(art: ArtDirection) -> None:
    """Raise InvalidRequestError for a scene that is unknown or a box without room."""
    if art.scene and art.scene not in SCENES:
        known = ", ".join(sorted(SCENES))
        raise InvalidRequestError(f"no scene {art.scene!r}; there are {known}", field="art.scene")
    for name in ("focus", "quiet"):
        box: Box | None = getattr(art, name)
        if box is not None and min(box.w, box.h) < _LEAST_SIDE:
            raise InvalidRequestError(f"art.{name} has no room", field=f"art.{name}")


def stage_of(
    art: ArtDirection,
    prompt: str,
    size: tuple[int, int],
    *,
    seconds: float,
    seed: int,
    find: Find,
) -> Stage:
    """Return the stage for a frame of `size` pixels. `find` gives input artifacts as files."""
    width, height = size
    quiet = _area(art.quiet, width, height)
    colours = colours_of(art.palette)
    return Stage(
        width,
        height,
        seconds,
        colours,
        _area(art.focus, width, height) or free_area(width, height, quiet),
        quiet,
        seed,
        None if art.subject is None else subject_of(art.subject, colours, find),
        frozenset(re.findall(r"\w+", f"{prompt} {art.mood}".casefold())),
    )


def scene_of(art: ArtDirection, stage: Stage) -> tuple[str, Scene]:
    """Return the scene's name and the scene, made ready to be drawn."""
    name = art.scene or ("rings" if stage.subject is None else "studio")
    return name, build(name, stage)


def colours_of(palette: Palette) -> Colours:
    """Return a brief's palette as the scenes take it."""
    return Colours(palette.primary, palette.secondary, palette.ink, palette.paper, palette.accent)


def subject_of(wanted: Wanted, colours: Colours, find: Find) -> Subject | None:
    """Return what the picture is about: the user's picture before a modelled form."""
    if wanted.picture is not None:
        try:
            return Picture(read_bgra(find(wanted.picture)))
        except OSError as error:
            raise InvalidRequestError(
                f"the product's picture cannot be read: {error}", field="art.subject.picture"
            ) from None
    if wanted.form is BriefForm.SERVICE:
        return None
    if wanted.label is None:
        art = np.empty((64, 128, 3), np.uint8)
        art[...] = bgr(colours.primary)
    else:
        art = np.ascontiguousarray(read_bgra(find(wanted.label))[..., :3])
    return Product(form_named(wanted.form.value), art, colours)


def _area(box: Box | None, width: int, height: int) -> Area | None:
    if box is None:
        return None
    return Area(
        box.x * width,
        box.y * height,
        min(1.0, box.x + box.w) * width,
        min(1.0, box.y + box.h) * height,
    )


def mean_colour(bgr_mean: tuple[int, ...]) -> str:
    """Return a B G R triple as `#RRGGBB`."""
    b, g, r = bgr_mean
    return f"#{r:02X}{g:02X}{b:02X}"
