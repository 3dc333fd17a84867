"""The film, its mask and its references as the model gets them, and what it made laid back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from contracts.errors import InvalidRequestError, MediaRejectedError
from inference import inputs, output, sizes
from media import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bus.worker.model import Files
    from contracts.artifacts import ArtifactRef
    from contracts.manifest import LimitSection
    from contracts.requests import EditVideo
    from inference.sizes import Size
    from services.ditto.recipe import Recipe
    from services.ditto.segments import Segment

    Frames = NDArray[Any]
    """Pictures, (n, height, width, 3) RGB uint8; of a mask (n, height, width), 0 to 1."""

_GREY = 128  # 0 to the model, whose pictures are -1 to 1: it sees nothing there
_WHITE = 128
_FEATHER = 1 / 120  # of the height: the soft edge inside a mask
_ASPECT = 0.02


class Footage(NamedTuple):
    """What a request brought. `mask` is as long as the film and as large, 1 where it may change."""

    film: inputs.Film
    mask: Frames | None
    references: list[Image.Image]

    @property
    def size(self) -> sizes.Size:
        """The film's own sides in pixels."""
        return sizes.Size(self.film.frames.shape[2], self.film.frames.shape[1])


def read(request: EditVideo, files: Files, limits: LimitSection) -> Footage:
    """Return a request's footage; raises MediaRejectedError and InvalidRequestError(field)."""
    if len(request.references) > limits.max_references:
        raise InvalidRequestError(f"{limits.max_references} references at most", field="references")
    references = [
        inputs.picture(files, ref, field=f"references[{n}]")
        for n, ref in enumerate(request.references)
    ]
    film = _film(files, request.video, "video", limits)
    if request.mask is None:
        return Footage(film, None, references)
    mask = _film(files, request.mask, "mask", limits)
    return Footage(film, _fitted(mask, film), references)


def _film(files: Files, ref: ArtifactRef, field: str, limits: LimitSection) -> inputs.Film:
    """Return a film within the limits: its first picture and its rate are looked at before."""
    path = files.path(ref)
    try:
        fps = decode.rate(path)
        first = next(decode.frames(path, 0, 1), None)
    except (decode.VideoUnreadableError, ValueError) as error:
        raise MediaRejectedError(f"it is no film: {error}", field=field) from error
    if first is not None and first.width * first.height > limits.max_pixels:
        raise InvalidRequestError(
            f"a film of {first.width} x {first.height}; at most {limits.max_pixels} pixels are "
            "worked on",
            field=field,
        )
    most = math.floor(limits.max_seconds * fps + 0.5)
    film = inputs.film(files, ref, field=field, most_frames=most)
    if len(film.frames) == 1:
        raise MediaRejectedError("it is one picture and no film", field=field)
    return film


def _fitted(mask: inputs.Film, film: inputs.Film) -> Frames:
    """Return a mask of the film's frames and size; raises InvalidRequestError(mask)."""
    (count, height, width), (high, wide) = film.frames.shape[:3], mask.frames.shape[1:3]
    if abs(mask.seconds - film.seconds) > 1 / min(mask.fps, film.fps):
        raise InvalidRequestError(
            f"the mask plays {mask.seconds:.2f} s, the film {film.seconds:.2f} s", field="mask"
        )
    if abs(wide / high - width / height) > _ASPECT * width / height:
        raise InvalidRequestError("the mask has another aspect than the film", field="mask")
    shown = output.nearest(len(mask.frames), mask.fps, fps=film.fps, count=count)
    white = (mask.frames[..., 1] >= _WHITE).astype(np.float32)
    return np.stack([cv2.resize(white[n], (width, height)) for n in shown])


class Scene(NamedTuple):
    """A film at the model's rate and size: what is told to the model frame by frame."""

    film: list[Image.Image]
    control: list[Image.Image]
    mask: list[Image.Image]

    def cut(self, segment: Segment, before: Sequence[Image.Image]) -> Scene:
        """Return one segment; it begins with the frames that were made `before` it, to be kept.

        Beyond the film's end its last frame stays.
        """
        kept = segment.kept
        shown = [min(segment.first + n, len(self.film) - 1) for n in range(kept, segment.frames)]
        held = list(before)[len(before) - kept :]
        black = [Image.new("L", self.film[0].size, 0)] * kept
        return Scene(
            held + [self.film[n] for n in shown],
            held + [self.control[n] for n in shown],
            black + [self.mask[n] for n in shown],
        )


def scene_of(footage: Footage, recipe: Recipe, size: Size, count: int) -> Scene:
    """Return a film's `count` frames at the model's rate, in pictures of `size`."""
    film = footage.film
    shown = output.nearest(len(film.frames), film.fps, fps=recipe.fps, count=count)
    pictures = [output.cover(film.frames[n], size) for n in shown]
    if footage.mask is None:
        white = Image.new("L", size, 255)
        seen = [_grey(p) for p in pictures] if recipe.control == "grey" else pictures
        return Scene(pictures, seen, [white] * count)
    masks = [_mask_of(footage.mask[n], size) for n in shown]
    seen = [_seen(p, m, recipe.masked) for p, m in zip(pictures, masks, strict=True)]
    return Scene(pictures, seen, masks)


def _mask_of(mask: Frames, size: Size) -> Image.Image:
    """Return a mask in black and white; a pixel that is white in part may change."""
    scaled = cv2.resize(mask, tuple(size), interpolation=cv2.INTER_AREA)
    return Image.fromarray(np.where(scaled > 0, 255, 0).astype(np.uint8))


def _seen(picture: Image.Image, mask: Image.Image, masked: str) -> Image.Image:
    """Return a picture as the model sees it: outside the mask the film itself."""
    if masked == "film":
        return picture
    inside = _grey(picture) if masked == "grey" else Image.new("RGB", picture.size, (_GREY,) * 3)
    return Image.composite(inside, picture, mask)


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L").convert("RGB")


def laid_back(footage: Footage, made: Frames, fps: float) -> Frames:
    """Return the film with what was made, `fps` frames a second, inside its mask alone.

    The edge is soft towards the inside: what the mask has in black is the film's to the pixel.
    """
    assert footage.mask is not None  # else there is nothing to lay it back into
    film, size = footage.film, footage.size
    shown = output.nearest(len(made), fps, fps=film.fps, count=len(film.frames))
    out = film.frames.copy()
    reach = max(1, round(size.height * _FEATHER))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    for n, source in enumerate(shown):
        hard = (footage.mask[n] > 0).astype(np.float32)
        # Outside the picture there is no edge: erosion there would let the film shine through.
        core = cv2.erode(hard, disc, borderType=cv2.BORDER_REPLICATE)
        soft = cv2.blur(core, (2 * reach + 1,) * 2, borderType=cv2.BORDER_REPLICATE) * hard
        new = np.asarray(output.cover(made[source], size), np.float32)
        mixed = out[n] + (new - out[n]) * soft[..., None]
        out[n] = np.rint(mixed).astype(np.uint8)
    return out
