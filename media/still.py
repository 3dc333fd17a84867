"""Still pictures as files: PNG, and JPEG within a byte limit. The same input, the same bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Bytes = NDArray[Any]

_BEST, _WORST = 95, 20
_FULL_CHROMA = 80  # from this quality on, JPEG keeps full colour resolution


class ByteLimitError(ValueError):
    """Even the lowest quality is larger than the limit."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a picture comes from, written into its file: plain text, and an XMP packet."""

    comment: str = ""
    xmp: bytes = b""


def encode_png(bgr: Bytes, stamp: Stamp | None = None) -> bytes:
    """Return a PNG of a (height, width, 3 or 4) uint8 BGR(A) picture."""
    info = PngImagePlugin.PngInfo()
    if stamp is not None:
        if stamp.comment:
            info.add_itxt("Comment", stamp.comment)
        if stamp.xmp:
            info.add_itxt("XML:com.adobe.xmp", stamp.xmp.decode())
    buffer = io.BytesIO()
    _image(bgr).save(buffer, "PNG", compress_level=4, pnginfo=info)
    return buffer.getvalue()


def encode_jpeg(bgr: Bytes, limit: int, stamp: Stamp | None = None) -> bytes:
    """Return the best progressive JPEG of at most `limit` bytes, or raise ByteLimitError."""
    low, high, best = _WORST, _BEST, b""
    while low <= high:
        quality = (low + high + 1) // 2
        data = _jpeg(bgr, quality, stamp or Stamp())
        if len(data) <= limit:
            low, best = quality + 1, data
        else:
            high = quality - 1
    if not best:
        raise ByteLimitError(f"{bgr.shape[1]} x {bgr.shape[0]} does not fit {limit} bytes")
    return best


def _jpeg(bgr: Bytes, quality: int, stamp: Stamp) -> bytes:
    buffer = io.BytesIO()
    extra: dict[str, Any] = {}
    if stamp.comment:
        extra["comment"] = stamp.comment.encode()
    if stamp.xmp:
        extra["xmp"] = stamp.xmp
    _image(bgr[..., :3]).save(
        buffer,
        "JPEG",
        quality=quality,
        optimize=True,
        progressive=True,
        subsampling="4:4:4" if quality >= _FULL_CHROMA else "4:2:0",
        **extra,
    )
    return buffer.getvalue()


def _image(bgr: Bytes) -> Image.Image:
    swap = cv2.COLOR_BGRA2RGBA if bgr.shape[2] == 4 else cv2.COLOR_BGR2RGB  # noqa: PLR2004 - has alpha
    return Image.fromarray(cv2.cvtColor(bgr, swap))


def read_bgra(path: Path) -> Bytes:
    """Read any picture file as straight-alpha BGRA uint8; OSError when it is none."""
    with Image.open(path) as image:
        return np.asarray(cv2.cvtColor(np.asarray(image.convert("RGBA")), cv2.COLOR_RGBA2BGRA))
