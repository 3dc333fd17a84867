"""Pictures, films and sounds of a request, read as models want them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.errors import MediaRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from bus.worker.model import Files
    from contracts.artifacts import ArtifactRef
    from media.pcm import Samples
    from media.pixels import Planes

MOST_PIXELS = 8192 * 8192
"""Of a picture; a larger one is refused before it is decoded."""


class Film(NamedTuple):
    """A film's pictures, (n, height, width, 3) RGB uint8, and how many of them a second has."""

    frames: NDArray[Any]
    fps: float
    lasts: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it plays, in its own rate where it was read at another."""
        return self.lasts or len(self.frames) / self.fps


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
    return read_film(files.path(ref), field=field, most_frames=most_frames)


def read_film(
    path: Path,
    *,
    most_frames: int,
    field: str = "",
    fps: float = 0.0,
    scaled: Callable[[Image.Image], Image.Image] | None = None,
) -> Film:
    """Return the pictures of a film on the disk, at most `most_frames`; raises as `film` does.

    With `fps` they are so many a second, of every moment the nearest one; `scaled` makes each as
    large as it is needed, so that a long film never lies in memory in its own size.
    """
    import numpy as np

    from media import decode

    pictures: list[NDArray[Any]] = []
    number, planes = 0, None
    try:
        native = decode.rate(path)
        wanted = fps or native
        for number, planes in enumerate(decode.frames(path), start=1):
            # A frame is shown at every moment (n + 1/2) / wanted that lies within its time.
            until = math.ceil(number * wanted / native - 0.5)
            if until > most_frames:
                raise MediaRejectedError(
                    f"the film has more than {most_frames} pictures", field=field
                )
            if until > len(pictures):
                pictures += [_rgb(planes, scaled)] * (until - len(pictures))
    except (decode.VideoUnreadableError, ValueError) as error:
        raise MediaRejectedError(f"it is no film: {error}", field=field) from error
    if planes is None:
        raise MediaRejectedError("the film has no pictures", field=field)
    return Film(np.stack(pictures or [_rgb(planes, scaled)]), wanted, number / native)


def _rgb(planes: Planes, scaled: Callable[[Image.Image], Image.Image] | None) -> NDArray[Any]:
    import numpy as np
    from PIL import Image

    rgb = planes.to_bgr()[..., ::-1]
    return rgb if scaled is None else np.asarray(scaled(Image.fromarray(rgb)))


def ending(files: Files, ref: ArtifactRef, *, field: str, count: int, fps: float) -> NDArray[Any]:
    """Return a film's last `count` pictures, (count, height, width, 3) RGB uint8, `fps` a second.

    The last one is the film's last; a film that is too short begins on its first one several
    times. Raises MediaRejectedError(field) for a file that is none.
    """
    from collections import deque

    import numpy as np

    from media import decode

    path = files.path(ref)
    try:
        apart = decode.rate(path) / fps
        kept = deque(decode.frames(path), maxlen=math.ceil((count - 1) * apart) + 1)
    except (decode.VideoUnreadableError, ValueError) as error:
        raise MediaRejectedError(f"it is no film: {error}", field=field) from error
    if not kept:
        raise MediaRejectedError("the film has no pictures", field=field)
    last = len(kept) - 1
    chosen = [max(0, last - round(back * apart)) for back in reversed(range(count))]
    return np.stack([kept[n].to_bgr()[..., ::-1] for n in chosen])


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
