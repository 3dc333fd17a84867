"""A product's solids and skins: the shared form, dressed in the palette and the label art."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from contracts.brief import Palette
from contracts.colour import rgb
from contracts.errors import InvalidRequestError
from media.form import Form, Material, Tint
from media.lathe import Part, parts
from services.draft_mesh.glb import Image, Skin, Solid

_STEPS = 96
_MOST_PIXELS = 40_000_000
_SIDES = (256, 2048)  # of a texture: power of two, neither a smear nor a burden to a phone
_FULL_TURN = 360.0

# Metallic and roughness of a part. Print on a can is ink on bright metal, elsewhere on card.
_FINISH = {
    Material.METAL: (1.0, 0.26),
    Material.PRINT: (0.0, 0.5),
    Material.PLASTIC: (0.0, 0.38),
    Material.PAPER: (0.0, 0.85),
    Material.GLASS: (0.0, 0.04),
}
_PRINT_ON_METAL = (0.55, 0.34)
_STEEL = (0.78, 0.79, 0.81)
_LIQUID_DEPTH = 0.55  # what is in a bottle is darker than the colour that stands for it


def dress(form: Form, palette: Palette, image: Image | None) -> Iterator[Solid]:
    """Yield a form's solids, standing at height 0; `image` goes where it carries label art."""
    metal_body = any(band.material is Material.METAL for band in form.bands)
    turned = parts(form, _STEPS)
    ground = np.array([0, min(part.vertices[:, 1].min() for part in turned), 0], np.float32)
    for part in turned:
        textured = part.labelled and image is not None
        skin = _skin(part, palette, textured=textured, on_metal=metal_body and not form.wall)
        length = np.linalg.norm(part.normals, axis=1, keepdims=True)
        yield Solid(
            name=part.name,
            positions=part.vertices - ground,
            normals=(part.normals / length).astype(np.float32),
            faces=part.faces,
            uv=part.uv if textured else None,
            skin=skin,
        )


def label_image(path: Path, form: Form, palette: Palette) -> Image:
    """Return label art as a texture: opaque PNG, sides powers of two.

    Transparent art lies on the palette's primary colour. Raises InvalidRequestError for a file
    that is no picture, or too large a one.
    """
    try:
        with Picture.open(path) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise InvalidRequestError(
                    f"the label has {picture.width}x{picture.height} pixels; at most "
                    f"{_MOST_PIXELS:,} can be used",
                    field="label",
                )
            art = picture.convert("RGBA")
    except (OSError, ValueError, Picture.DecompressionBombError):
        raise InvalidRequestError(
            "the label is not a picture that can be read", field="label"
        ) from None
    ground = Picture.new("RGBA", art.size, (*rgb(palette.primary), 255))
    flat = Picture.alpha_composite(ground, art).convert("RGB")
    size = (_power_of_two(art.width), _power_of_two(art.height))
    if size != art.size:
        flat = flat.resize(size, Picture.Resampling.LANCZOS)
    encoded = io.BytesIO()
    flat.save(encoded, "PNG", optimize=False, compress_level=6)
    return Image(encoded.getvalue(), "image/png", repeats=form.wrap.degrees >= _FULL_TURN)


def _power_of_two(side: int) -> int:
    low, high = _SIDES
    return int(min(high, max(low, 2 ** round(np.log2(side)))))


def _skin(part: Part, palette: Palette, *, textured: bool, on_metal: bool) -> Skin:
    metallic, roughness = _FINISH[part.material]
    if part.material is Material.PRINT and on_metal:
        metallic, roughness = _PRINT_ON_METAL
    glass = part.material is Material.GLASS
    # A texture brings its colour; the factor would only dim it. Glass takes its tint from what
    # it holds.
    colour = (1.0, 1.0, 1.0) if textured or glass else _colour(part.tint, palette)
    name = "label art" if textured else f"{part.material} {part.tint}"
    return Skin(
        name=name,
        colour=colour,
        metallic=metallic,
        roughness=roughness,
        textured=textured,
        transmission=0.96 if glass else 0.0,
        ior=1.52 if glass else 1.5,
    )


def _colour(tint: Tint, palette: Palette) -> tuple[float, float, float]:
    """Return a part's linear colour."""
    if tint is Tint.STEEL:
        return _STEEL
    if tint is Tint.LIQUID:
        red, green, blue = _linear(palette.primary)
        return red * _LIQUID_DEPTH, green * _LIQUID_DEPTH, blue * _LIQUID_DEPTH
    return _linear(getattr(palette, tint.value))


def _linear(colour: str) -> tuple[float, float, float]:
    values = np.array(rgb(colour)) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - the sRGB curve's own numbers
    red, green, blue = (float(v) for v in linear)
    return red, green, blue
