"""The soft scrim under type that neither ink nor paper alone makes legible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.composer.boxes import Box, around
from services.composer.piece import Piece, coloured

if TYPE_CHECKING:
    from services.composer.inks import Verdict


def veil(verdict: Verdict, width: int, height: int) -> list[Piece]:
    """Draw the scrim that a verdict asks for, if any: full strength behind the type, soft outside.

    It grows to the edges of the frame that it is near to, so that it reads as light, not as a box.
    """
    if not verdict.veiled:
        return []
    type_box = around(verdict.veiled)
    soft = 0.16 * min(width, height)
    reach = Box(
        0.0 if type_box.left < width * 0.30 else type_box.left,
        0.0 if type_box.top < height * 0.30 else type_box.top,
        width if type_box.right > width * 0.70 else type_box.right,
        height if type_box.bottom > height * 0.85 else type_box.bottom,
    )
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)
    across = np.maximum(np.maximum(reach.left - x, x - reach.right), 0) / soft
    down = np.maximum(np.maximum(reach.top - y, y - reach.bottom), 0) / soft
    far = np.hypot(across[None, :], down[:, None])
    near = np.clip(1 - far, 0, 1)
    smooth = near * near * (3 - 2 * near) * verdict.inks.scrim * 255
    # A fixed dither keeps the long, flat slope from banding.
    noise = np.random.default_rng(7).random((height, width), np.float32)
    coverage = np.floor(smooth + noise * (smooth > 0)).clip(0, 255).astype(np.uint8)
    rows, columns = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
    y0, y1, x0, x1 = rows[0] & ~1, rows[-1] + 1, columns[0] & ~1, columns[-1] + 1
    cut = coloured(coverage[y0:y1, x0:x1], verdict.inks.veil)
    return [Piece(cut, int(x0), int(y0), Box(x0, y0, x1, y1))]
