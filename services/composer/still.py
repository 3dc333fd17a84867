"""Stills: the key visual with type over it, for feeds and stories, and banners at exact size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from bus.worker.model import Media
from contracts.artifacts import ArtifactRef
from contracts.errors import MediaRejectedError
from contracts.locale import direction_of, language_of
from contracts.requests import FilmShot
from contracts.script import ShotKind
from media.still import ByteLimitError, Stamp, encode_jpeg, encode_png, read_bgra
from services.composer import banner, inks, overlay
from services.composer.endcard import end_card
from services.composer.film import CAPITAL_LANGUAGES, LONGEST_CAPITALS
from services.composer.logo import logo_of
from services.composer.motion import Layer, Motion
from services.composer.page import Page, pixels, type_area
from services.composer.piece import laid
from services.composer.typeset import Ground, LayoutError, typeset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from bus.worker.model import Files, Report
    from contracts.requests import StillWork
    from services.composer.inks import Inks
    from services.composer.piece import Piece

_NO_FILE = ArtifactRef(key="none", sha256="0" * 64, media_type="", size_bytes=0)


def still(work: StillWork, report: Report, files: Files) -> Iterator[Media]:
    """Yield one finished still: PNG where it keeps the byte limit, else JPEG.

    Raises InvalidRequestError (or one of its kinds) for type that cannot be set legibly.
    """
    report(0, 1, "still")
    logo = logo_of(files.path(work.look.logo)) if work.look.logo else None
    picture = finished(work, picture_of(files.path(work.picture), work.width, work.height), logo)
    stamp = Stamp(comment="Draft" if work.look.draft else "")
    data, kind, suffix = encoded(picture, work.max_bytes, stamp, small=work.banner)
    path = files.new(suffix)
    path.write_bytes(data)
    report(1, 1, "still")
    card = work.end_card
    yield Media(
        path=path,
        media_type=kind,
        name="still",
        width=work.width,
        height=work.height,
        metadata={
            "alt": f"{card.brand}: {work.headline} {card.call_to_action}".strip()[:500],
            "locale": work.look.locale,
        },
    )


def picture_of(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """Return a key visual as (height, width, 3) BGR that covers the frame."""
    try:
        found = read_bgra(path)[..., :3]
    except OSError as error:
        raise MediaRejectedError(f"the picture is none: {error}", field="picture") from error
    rows, columns = found.shape[:2]
    scale = max(width / columns, height / rows)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    if size != (columns, rows):
        found = np.asarray(cv2.resize(found, size, interpolation=cv2.INTER_AREA), np.uint8)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(found[top : top + height, left : left + width])


def finished(work: StillWork, picture: NDArray[np.uint8], logo: Piece | None) -> NDArray[np.uint8]:
    """Set the type over the picture (changed in place) and return it."""
    page = _page(work)

    def draw(on: Page, colours: Inks) -> list[Layer]:
        if work.banner:
            pieces = banner.banner(on, work.headline, work.end_card, colours, logo)
            return [Layer(piece, Motion.CUT, 0.0) for piece in pieces]
        return end_card(on, _as_shot(work), work.end_card, colours, logo=logo, enter=0)

    large = inks.LARGE_PIXELS if work.banner else None
    ground = Ground(inks.backdrop([picture]), work.look.palette, large)
    layers = typeset(page, draw, ground, f"still {work.width} x {work.height}")
    laid(picture, [layer.piece for layer in layers])
    if work.look.draft and not work.banner:
        laid(picture, overlay.draft_tag(page, work.look.palette))
    return picture


def _page(work: StillWork) -> Page:
    safe = pixels(work.look.safe, work.width, work.height)
    box = type_area(pixels(work.type_box, work.width, work.height), safe, "work.type_box")
    focus = pixels(work.focus, work.width, work.height) if work.focus else None
    language = language_of(work.look.locale)
    return Page(
        work.width,
        work.height,
        box,
        safe,
        focus,
        rtl=direction_of(work.look.locale) == "rtl",
        caps=language in CAPITAL_LANGUAGES and len(work.headline) <= LONGEST_CAPITALS,
    )


def _as_shot(work: StillWork) -> FilmShot:
    """Return the shot that a still is set as: an end card whose headline is the hook."""
    return FilmShot(
        name="still",
        kind=ShotKind.END,
        seconds=1,
        plate=_NO_FILE,
        type_box=work.type_box,
        headline=work.headline,
    )


def encoded(
    picture: NDArray[np.uint8], limit: int, stamp: Stamp, *, small: bool
) -> tuple[bytes, str, str]:
    """Return (bytes, media type, suffix): PNG for banners that fit as such, JPEG otherwise."""
    if small:
        data = encode_png(picture, stamp)
        if len(data) <= limit:
            return data, "image/png", ".png"
    try:
        return encode_jpeg(picture, limit, stamp), "image/jpeg", ".jpg"
    except ByteLimitError as error:
        raise LayoutError(str(error), field="work.max_bytes") from error
