"""Flat label art for a product's form: brand, product line, size and a motif in the palette.

The picture wraps around the form. u runs from left to right, the front stands at u = 0.5, the
back at u = 0 (and 1): the picture is seamless there. All that is read lies within u 0.34 to 0.66,
which a camera in front of a round form sees without much foreshortening; v runs from the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bus.worker.model import Media
from contracts.colour import contrast
from contracts.locale import direction_of
from media.colour import distance, toned
from media.still import encode_png
from services.composer import fit, motif
from services.composer.boxes import Box
from services.composer.inks import SMALL_CONTRAST
from services.composer.logo import grounds, logo_of, placed_logo
from services.composer.page import capitals
from services.composer.piece import Align, block, laid, panel
from services.composer.typeface import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from bus.worker.model import Files, Report
    from contracts.requests import LabelWork
    from services.composer.piece import Piece

FRONT_U = 0.5
"""Where the middle of the label's front lies, 0 to 1 from left to right."""

READ_U = 0.30
"""Width of what is read, as a share of the label's width, around `FRONT_U`."""

_BAND_TOP, _BAND_BOTTOM = 0.60, 0.77
_MOTIF_V, _MOTIF_RADIUS = 0.335, 0.40
_RINGS_STAND_OUT = 3.0
_LEAST_STAND_OUT = 1.8  # contrast from which the band stands off the ground


def label(work: LabelWork, report: Report, files: Files) -> Iterator[Media]:
    """Yield the label art of one product as PNG."""
    report(0, 1, "label")
    logo = logo_of(files.path(work.logo)) if work.logo else None
    path = files.new(".png")
    path.write_bytes(encode_png(art(work, logo)))
    report(1, 1, "label")
    yield Media(
        path=path,
        media_type="image/png",
        name="label",
        width=work.width,
        height=work.height,
        metadata={"front_u": str(FRONT_U), "alt": f"{work.brand} {work.product}".strip()},
    )


def art(work: LabelWork, logo: Piece | None = None) -> NDArray[np.uint8]:
    """Draw the label, (height, width, 3) BGR."""
    inks = colours(work, logo)
    tall = work.height
    star = direction_of(work.locale) == "rtl"
    picture = motif.ground(work.width, work.height, inks.ground, inks.shade)
    for u in (FRONT_U, 0.0):
        place = motif.Place(u * work.width, _MOTIF_V * tall, _MOTIF_RADIUS * tall)
        motif.draw(picture, place, inks.motif, inks.core, star=star)
    band = Box(0, _BAND_TOP * tall, work.width, _BAND_BOTTOM * tall)
    inside = band.grown(-0.022 * tall)
    rule = max(2.0, 0.006 * tall)
    pieces = [
        panel(band, inks.band),
        panel(Box(0, band.top - 1.5 * rule, work.width, band.top), inks.ground),
        panel(Box(0, band.bottom + 2 * rule, work.width, band.bottom + 3 * rule), inks.motif),
        panel(Box(0, 0.955 * tall, work.width, tall), inks.band),
    ]
    if logo is None:
        pieces += _centred(capitals(work.brand), Role.DISPLAY, inside, inks.brand)
    else:
        pieces.append(placed_logo(logo, _column(work, inside)))
    below = Box(0, _BAND_BOTTOM * tall + 0.045 * tall, work.width, 0.865 * tall)
    line = product_line(work)
    if line:
        pieces += _centred(capitals(line), Role.STRONG, below, inks.words, extra=0.10)
    if work.detail:
        foot = Box(0, below.bottom + 0.025 * tall, work.width, 0.935 * tall)
        pieces += _centred(work.detail, Role.TEXT, foot, inks.words, extra=0.04)
    laid(picture, pieces)
    return picture


def colours(work: LabelWork, logo: Piece | None = None) -> motif.Inks:
    """Choose the label's colours from the palette so that all that is read can be read."""
    p = work.palette
    ground = p.primary
    every = (p.ink, p.paper, p.accent, p.secondary)
    words = max((p.ink, p.paper), key=lambda c: contrast(c, ground))
    rings = p.secondary
    if contrast(rings, ground) < _RINGS_STAND_OUT:
        rings = max((p.paper, p.secondary), key=lambda c: contrast(c, ground))
    standing = [c for c in (p.ink, p.paper) if contrast(c, ground) >= _LEAST_STAND_OUT]
    # The band is dark on a light ground and light on a dark one.
    band = max(standing or every, key=lambda c: contrast(c, ground))
    if logo is not None and logo.tones:
        band = _band_for(logo, work)
    brand = next(
        (c for c in (p.paper, p.ink, p.secondary) if contrast(c, band) >= SMALL_CONTRAST), "#FFFFFF"
    )
    core = max(every, key=lambda c: min(distance(c, ground), distance(c, rings)))
    return motif.Inks(ground, toned(ground, lightness=-0.035), rings, core, band, brand, words)


def _band_for(logo: Piece, work: LabelWork) -> str:
    """Return the colour of the band that shows the logo best, off the ground where it can be."""
    seen = grounds(work.palette, logo.tones)
    ground = work.palette.primary
    return next((c for c in seen if contrast(c, ground) >= _LEAST_STAND_OUT), seen[0])


def product_line(work: LabelWork) -> str:
    """Return the product's name without the brand that stands above it anyway."""
    words = [word for word in work.product.split() if word.casefold() != work.brand.casefold()]
    line = " ".join(words)
    return line.removeprefix(work.brand).strip() or work.product


def _column(work: LabelWork, box: Box) -> Box:
    half = READ_U / 2 * work.width
    middle = FRONT_U * work.width
    return Box(middle - half, box.top, middle + half, box.bottom)


def _centred(words: str, role: Role, box: Box, colour: str, *, extra: float = 0.0) -> list[Piece]:
    """Set words as large as they go, in the middle of the front."""
    middle = (box.left + box.right) * FRONT_U
    half = READ_U / 2 * (box.right - box.left)
    room = Box(middle - half, box.top, middle + half, box.bottom)
    setting = fit.fit(words, role, room, largest=1e4, least=1, most_lines=1, extra=extra)
    top = box.top + (box.height - setting.height) / 2
    return block(setting, middle, top, colour, Align.CENTRE)
