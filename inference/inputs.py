"""Pictures, films and sounds of a request, read as models want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.errors import MediaRejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from bus.worker.model import Files
    from contracts.artifacts import ArtifactRef
    from media.pcm import Samples

MOST_PIXELS = 8192 * 8192
"""Of a picture; a larger one is refused before it is decoded."""


class Film(NamedTuple):
    """A film's pictures, (n, height, width, 3) RGB uint8, and how many of them a second has."""

    frames: NDArray[Any]
    fps: float

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.frames) / self.fps


def picture(files: Files, ref: ArtifactRef, *, field: str) -> Image.Image:
    """Return an input picture as RGB, upright; what is transparent is laid on white.

    Raises MediaRejectedError(field) for a file that is none, or is too large when decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(files.path(ref)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise MediaRejectedError(
                    f"a picture of {image.width} x {image.height} is too large", field=field
                )
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaRejectedError(f"it is no picture: {error}", field=field) from error
    ground = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(ground, upright).convert("RGB")


def film(files: Files, ref: ArtifactRef, *, field: str, most_frames: int) -> Film:
    """Return an input film's pictures; raises MediaRejectedError(field) if it is none or longer."""
    import numpy as np

    from media import decode

    path = files.path(ref)
    pictures: list[NDArray[Any]] = []
    try:
        fps = decode.rate(path)
        for planes in decode.frames(path):
            if len(pictures) == most_frames:
                raise MediaRejectedError(
                    f"the film has more than {most_frames} pictures", field=field
                )
            pictures.append(planes.to_bgr()[..., ::-1])
    except (decode.VideoUnreadableError, ValueError) as error:
        raise MediaRejectedError(f"it is no film: {error}", field=field) from error
    if not pictures:
        raise MediaRejectedError("the film has no pictures", field=field)
    return Film(np.stack(pictures), fps)


def sound(files: Files, ref: ArtifactRef, *, field: str) -> Samples:
    """Return an input sound, a WAVE file, as (n, 2) float32 at 48 kHz.

    Raises MediaRejectedError(field).
    """
    from media.audio import read_sound
    from media.wav import WavError

    try:
        return read_sound(files.path(ref))
    except WavError as error:
        raise MediaRejectedError(f"it is no sound: {error}", field=field) from error
