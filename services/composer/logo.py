"""The brand's own logo, as a piece, and the ground it can be seen on. It is never recoloured.

What a ground has to contrast with is the logo's outline: the colours that meet the ground. What
lies inside is drawn to be seen on the logo itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from contracts.colour import luminance
from contracts.errors import MediaRejectedError
from media.colour import bgr, distance
from media.still import read_bgra
from services.composer.boxes import Box
from services.composer.inks import luminances, percentile_contrast
from services.composer.motion import Layer
from services.composer.piece import Piece, panel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from contracts.brief import Palette
    from services.composer.inks import Backdrop

LOGO_CONTRAST = 2.5
"""Least contrast of a logo's outline to its ground: less than type's, for a mark is no text."""

_OPAQUE = 8  # alpha up to which a pixel counts as empty margin
_SOLID = 128  # alpha from which a pixel counts as the logo's own colour
_TONES = 20  # samples of the outline, evenly by luminance
_LOST = 10.0  # per cent of the outline that may merge with the ground: a dot, a fine serif
_CHIP_PAD, _CHIP_ROUND = 0.26, 0.22  # of the logo's height
_LAST_RESORT = ("#FFFFFF", "#101010")


def logo_of(path: Path) -> Piece:
    """Return the logo cut to its ink, premultiplied; raise MediaRejectedError if it has none."""
    try:
        pixels = read_bgra(path)
    except OSError as error:
        raise MediaRejectedError(f"the logo is no picture: {error}", field="look.logo") from error
    rows = np.flatnonzero((pixels[..., 3] > _OPAQUE).any(axis=1))
    columns = np.flatnonzero((pixels[..., 3] > _OPAQUE).any(axis=0))
    if not rows.size:
        raise MediaRejectedError("the logo is empty", field="look.logo")
    cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = cut[..., 3:].astype(np.uint16)
    colour = (cut[..., :3] * alpha + 127) // 255
    drawn = np.concatenate([colour, alpha], axis=-1).astype(np.uint8)
    box = Box(0, 0, drawn.shape[1], drawn.shape[0])
    return Piece(drawn, 0, 0, box, tones=outline_tones(cut))


def outline_tones(pixels: NDArray[np.uint8]) -> tuple[float, ...]:
    """Return the relative luminances of a logo's outline, evenly sampled, from dark to light.

    `pixels` is straight BGRA. A picture without transparency brings its own ground: no tones.
    """
    solid = (pixels[..., 3] >= _SOLID).astype(np.uint8)
    if solid.all():
        return ()
    around = cv2.copyMakeBorder(solid, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(around, np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    edge = pixels[(solid > inner)][:, :3]
    if not len(edge):
        edge = pixels[pixels[..., 3] > _OPAQUE][:, :3]
    shares = (np.arange(_TONES) + 0.5) / _TONES * 100
    found = np.percentile(luminances(edge.astype(np.float32)), shares)
    return tuple(round(float(tone), 4) for tone in found)


def stands(tones: Sequence[float], ground: str) -> float:
    """Return the contrast that all but a little of a logo's outline keeps to a plain ground."""
    ground_tone = np.array([luminance(ground)], np.float32)
    return percentile_contrast(np.array(tones, np.float32), ground_tone, _LOST)


def grounds(palette: Palette, tones: Sequence[float]) -> list[str]:
    """Return the palette's colours on which a logo is seen, the one with most contrast first.

    White or near-black where the palette has none.
    """
    every = (palette.paper, palette.ink, palette.secondary, palette.accent, palette.primary)
    for colours in (every, _LAST_RESORT):
        seen = [c for c in colours if stands(tones, c) >= LOGO_CONTRAST]
        if seen:
            return sorted(seen, key=lambda c: -stands(tones, c))
    return [max((*every, *_LAST_RESORT), key=lambda c: stands(tones, c))]


def grounded(
    layers: Sequence[Layer], backdrop: Backdrop, palette: Palette, veil: tuple[str, float]
) -> list[Layer]:
    """Return layers with a quiet chip behind every logo that its backdrop would swallow.

    `veil` is the scrim's colour and its strength. Of the palette's colours that serve, the chip
    takes the one nearest to what is behind it.
    """
    out: list[Layer] = []
    for layer in layers:
        piece = layer.piece
        if piece.tones:
            behind = backdrop.pixels(piece.ink.grown(4))
            behind = behind * np.float32(1 - veil[1]) + np.array(
                bgr(veil[0]), np.float32
            ) * np.float32(veil[1])
            tones = np.array(piece.tones, np.float32)
            if percentile_contrast(tones, luminances(behind), _LOST) < LOGO_CONTRAST:
                middle = np.median(behind, axis=0)
                around = "#" + "".join(f"{int(v):02X}" for v in middle[::-1])
                colour = min(grounds(palette, piece.tones), key=lambda c: distance(c, around))
                out.append(replace(layer, piece=chip(piece, colour, backdrop)))
        out.append(layer)
    return out


def chip(logo: Piece, colour: str, frame: Backdrop) -> Piece:
    """Draw the plate that a logo stands on; it hangs a little out of the type box."""
    tall = logo.ink.height
    box = logo.ink.grown(_CHIP_PAD * tall).within(Box(0, 0, frame.width, frame.height))
    return replace(panel(box, colour, radius=_CHIP_ROUND * tall), ground="")


def placed_logo(logo: Piece, box: Box) -> Piece:
    """Return the logo as large as it goes in the middle of a box (px)."""
    rows, columns = logo.pixels.shape[:2]
    scale = min(box.width / columns, box.height / rows)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    pixels = np.asarray(cv2.resize(logo.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    across, down = box.middle
    x, y = round(across - size[0] / 2), round(down - size[1] / 2)
    return replace(logo, pixels=pixels, x=x, y=y, ink=Box(x, y, x + size[0], y + size[1]))
