"""A layout brought onto its picture: legible, apart, safe; by a calmer place before by a scrim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from contracts.errors import InvalidRequestError
from services.composer import inks
from services.composer.collision import check
from services.composer.fit import TooSmallError
from services.composer.inks import IllegibleError
from services.composer.logo import grounded
from services.composer.motion import Layer, Motion
from services.composer.veil import veil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contracts.brief import Palette
    from services.composer.inks import Backdrop, Inks, Verdict
    from services.composer.page import Page

    Draw = Callable[[Page, Inks], list[Layer]]

_TRIMS = (0.06, 0.12, 0.18)  # of the type box's height


class LayoutError(InvalidRequestError):
    """The text does not fit its type box at a legible size."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a layout stands on; `large` is the px from which type is large, None for a film's."""

    backdrop: Backdrop
    palette: Palette
    large: float | None = None


def typeset(page: Page, draw: Draw, ground: Ground, where: str) -> list[Layer]:
    """Return the layers of a layout, scrim included, in the first place where all can be read.

    Where a line would need a scrim in the type box as given (it lies across a table's edge, say), a
    type box that ends a little higher is tried, then one that begins lower. Raises LayoutError,
    IllegibleError or CollisionError, naming `where`.
    """
    page, verdict = _place(page, draw, ground, where)
    layers = draw(page, verdict.inks)
    pieces = verdict.applied([layer.piece for layer in layers])
    check(pieces, page.safe, where)
    under = veil(verdict, page.width, page.height)
    drawn = [replace(layer, piece=piece) for layer, piece in zip(layers, pieces, strict=True)]
    scrim = (verdict.inks.veil, verdict.inks.scrim if under else 0.0)
    return [
        *(Layer(piece, Motion.CUT, 0.0) for piece in under),
        *grounded(drawn, ground.backdrop, ground.palette, scrim),
    ]


def _place(page: Page, draw: Draw, ground: Ground, where: str) -> tuple[Page, Verdict]:
    found: tuple[Page, Verdict] | None = None
    first: InvalidRequestError | None = None
    for tried in _places(page):
        try:
            verdict = _verdict(tried, draw, ground)
        except TooSmallError as error:
            first = first or LayoutError(f"{where}: {error}", field="work")
            continue
        except IllegibleError as error:
            first = first or error
            continue
        if not verdict.veiled:
            return tried, verdict
        found = found or (tried, verdict)
    if found is not None:
        return found
    raise first or LayoutError(f"{where}: no place for its type", field="work")


def _verdict(page: Page, draw: Draw, ground: Ground) -> Verdict:
    return inks.legible(
        lambda colours: [layer.piece for layer in draw(page, colours)],
        ground.backdrop,
        ground.palette,
        large=ground.large,
    )


def _places(page: Page) -> Iterator[Page]:
    yield page
    box = page.box
    for trim in _TRIMS:
        yield replace(page, box=replace(box, bottom=box.bottom - trim * box.height))
    for trim in _TRIMS:
        yield replace(page, box=replace(box, top=box.top + trim * box.height))
