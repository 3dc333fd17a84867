"""Pictures of a request as the API takes them: JPEG in a data URI, of a size that models take."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from contracts.errors import InvalidRequestError, TooLargeError
from inference import inputs
from inference.output import cover
from inference.sizes import Size
from services.hailuo.rules import LEAST_SIDE, MOST_BYTES, NARROWEST, WIDEST

if TYPE_CHECKING:
    from PIL import Image

    from bus.worker.model import Files
    from contracts.artifacts import ArtifactRef

_LONGEST_SIDE = 2048
_QUALITY = 95


def frame(files: Files, ref: ArtifactRef, size: tuple[int, int], *, field: str) -> str:
    """Return a first or last frame as a data URI, cropped to the film's aspect."""
    image = inputs.picture(files, ref, field=field)
    check_aspect(*size, field="width")
    return _uri(cover(image, Size(*size)), field)


def reference(files: Files, ref: ArtifactRef, *, field: str) -> str:
    """Return a picture whole, as a data URI; raises InvalidRequestError for an aspect too long."""
    image = inputs.picture(files, ref, field=field)
    check_aspect(image.width, image.height, field=field)
    scale = max(1.0, LEAST_SIDE / min(image.size))
    scale = min(scale, _LONGEST_SIDE / max(image.size))
    if scale != 1.0:
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    return _uri(image, field)


def check_aspect(width: int, height: int, *, field: str) -> None:
    """Raise InvalidRequestError(field) for a picture that is longer than 5:2 or taller than 2:5."""
    if not NARROWEST <= width / height <= WIDEST:
        raise InvalidRequestError(
            f"a picture of {width} x {height} is not between 2:5 and 5:2", field=field
        )


def _uri(image: Image.Image, field: str) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    body = file.getvalue()
    if len(body) > MOST_BYTES:
        raise TooLargeError(f"a picture has {len(body)} bytes, more than is taken", field=field)
    return "data:image/jpeg;base64," + base64.b64encode(body).decode("ascii")
