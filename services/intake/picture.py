"""Pictures: decoded whole, turned upright, brought to sRGB, and encoded anew without metadata."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageCms, ImageOps

from contracts.errors import MediaRejectedError
from services.intake.cleaned import Clean
from services.intake.magic import Kind

if TYPE_CHECKING:
    from pathlib import Path

MAX_PIXELS = 50_000_000
MAX_SIDE = 16_384
MIN_SIDE = 8
JPEG_QUALITY = 95
_OPAQUE = 255

# Our own limit is checked on the header, before a pixel is decoded; Pillow's only warns at first.
Image.MAX_IMAGE_PIXELS = None


def clean_picture(kind: Kind, source: Path, target: Path) -> Clean:
    """Write the picture as PNG, or as JPEG if it was one; MediaRejectedError when it may not be."""
    with Image.open(source, formats=[kind.value]) as opened:
        _check_header(opened)
        opened.load()
        pixels = _bare(_srgb(ImageOps.exif_transpose(opened)))
    lowest = pixels.getchannel("A").getextrema()[0]
    alpha = isinstance(lowest, (int, float)) and lowest < _OPAQUE
    if kind is Kind.JPEG:
        # As little loss as JPEG has; PNG would make a photograph five times as large.
        pixels.convert("RGB").save(target, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        (pixels if alpha else pixels.convert("RGB")).save(target, "PNG")
    return Clean(
        media_type="image/jpeg" if kind is Kind.JPEG else "image/png",
        width=pixels.width,
        height=pixels.height,
        labels={"alpha": "yes" if alpha else "no"},
    )


def _check_header(opened: Image.Image) -> None:
    width, height = opened.size
    if getattr(opened, "n_frames", 1) > 1:
        raise MediaRejectedError("the picture is animated; a still one is needed")
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise MediaRejectedError(
            f"the picture is {width} x {height}; sides are {MIN_SIDE} to {MAX_SIDE} pixels"
        )
    if width * height > MAX_PIXELS:
        raise MediaRejectedError(
            f"the picture has {width * height} pixels; at most {MAX_PIXELS} are accepted"
        )


def _srgb(picture: Image.Image) -> Image.Image:
    """Return the picture in sRGB: its profile goes with the other metadata."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    mode = "RGBA" if picture.mode in ("RGBA", "LA", "PA") else "RGB"
    srgb = ImageCms.createProfile("sRGB")
    try:
        turned = ImageCms.profileToProfile(picture, BytesIO(profile), srgb, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a profile that cannot be read says nothing about the pixels
    return turned or picture


def _bare(picture: Image.Image) -> Image.Image:
    """Return 8-bit RGBA, without anything that the file carried beside its pixels."""
    if picture.mode.startswith("I"):  # 16 bits per sample: keep the upper eight
        picture = picture.point(lambda value: value / 256).convert("L")
    bare = picture.convert("RGBA")
    bare.info.clear()
    return bare
