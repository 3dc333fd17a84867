"""Rows of a layout, stacked from top to bottom and drawn where they come to stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.composer import fit
from services.composer.boxes import Box
from services.composer.motion import STAGGER, Layer, Motion
from services.composer.page import anchored
from services.composer.piece import block
from services.composer.typeface import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.composer.fit import Setting
    from services.composer.page import Page

    Draw = Callable[[float, float], list[Layer]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its height and the space before it in px, and how it is drawn.

    `draw(top, enter)` gets the top of the row in px and the second at which it comes in;
    `beats` is how many staggers it takes until the next row may come in.
    """

    height: float
    gap: float
    draw: Draw
    beats: float = 1.0


def type_row(
    page: Page, setting: Setting, colour: str, gap: float, *, motion: Motion = Motion.REVEAL
) -> Row:
    """Return a row of lines of type, each of which comes in a stagger after the one before."""

    def draw(top: float, enter: float) -> list[Layer]:
        pieces = block(setting, page.start, top, colour, page.align)
        return [
            Layer(piece, motion, enter + n * STAGGER, backwards=page.rtl)
            for n, piece in enumerate(pieces)
        ]

    return Row(setting.height, gap, draw, beats=len(setting.lines))


def height(rows: Sequence[Row]) -> float:
    """Return the height of rows with the gaps between them, px."""
    return sum(row.height for row in rows) + sum(row.gap for row in rows[1:])


def stacked(page: Page, rows: Sequence[Row], enter: float) -> list[Layer]:
    """Draw rows as one block, anchored in the type box; the first comes in at `enter` seconds."""
    return placed(rows, anchored(page, height(rows)), enter)


def placed(rows: Sequence[Row], top: float, enter: float) -> list[Layer]:
    """Draw rows from `top` downwards."""
    layers: list[Layer] = []
    for n, row in enumerate(rows):
        top += row.gap if n else 0.0
        layers += row.draw(top, enter)
        top += row.height
        enter += row.beats * STAGGER
    return layers


def headline(page: Page, words: str, role: Role, room: float, largest: float) -> Setting:
    """Fit a headline into the type box's width and `room` px of height; sizes in units."""
    box = Box(page.box.left, 0, page.box.right, room)
    u = page.unit
    if role is Role.DISPLAY:
        return fit.display(page.display(words), box, largest=largest * u, least=40 * u)
    return fit.fit(words, role, box, largest=largest * u, least=40 * u, most_lines=4)


def small(  # the one place that knows how secondary type is fitted
    page: Page, words: str, role: Role, size: float, *, lines: int = 2, extra: float = 0.0
) -> Setting:
    """Fit secondary type of `size` units; it may shrink by a third before it is refused."""
    u = page.unit
    box = Box(page.box.left, 0, page.box.right, 10_000)
    return fit.fit(
        words, role, box, largest=size * u, least=size * u * 0.66, most_lines=lines, extra=extra
    )
