"""The brand's own logo, as a piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from contracts.errors import MediaRejectedError
from media.still import read_bgra
from services.composer.boxes import Box
from services.composer.piece import Piece

if TYPE_CHECKING:
    from pathlib import Path

_OPAQUE = 8  # alpha up to which a pixel counts as empty margin


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
    cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint16)
    alpha = cut[..., 3:]
    colour = (cut[..., :3] * alpha + 127) // 255
    drawn = np.concatenate([colour, alpha], axis=-1).astype(np.uint8)
    return Piece(drawn, 0, 0, Box(0, 0, drawn.shape[1], drawn.shape[0]))


def placed_logo(logo: Piece, box: Box) -> Piece:
    """Return the logo as large as it goes in the middle of a box (px)."""
    rows, columns = logo.pixels.shape[:2]
    scale = min(box.width / columns, box.height / rows)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    pixels = np.asarray(cv2.resize(logo.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    across, down = box.middle
    x, y = round(across - size[0] / 2), round(down - size[1] / 2)
    return Piece(pixels, x, y, Box(x, y, x + size[0], y + size[1]))
