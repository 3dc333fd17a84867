"""The page that a layout is set on: frame, safe area, type box, and the direction of reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import InvalidRequestError
from services.composer.boxes import Box
from services.composer.piece import Align

if TYPE_CHECKING:
    from contracts import requests

_LEAST_BOX = 0.02


@dataclass(frozen=True, slots=True)
class Page:
    """One layout's ground: everything in px of the frame.

    `unit` is a 1080th of the frame's short side: all sizes are multiples of it, so a layout is
    the same at every scale. `caps` says whether display type is set in capitals.
    """

    width: int
    height: int
    box: Box
    safe: Box
    focus: Box | None = None
    rtl: bool = False
    caps: bool = False

    @property
    def unit(self) -> float:
        """A 1080th of the short side, px."""
        return min(self.width, self.height) / 1080

    @property
    def align(self) -> Align:
        """Where lines begin."""
        return Align.RIGHT if self.rtl else Align.LEFT

    @property
    def start(self) -> float:
        """The edge of the type box at which lines begin, px."""
        return self.box.right if self.rtl else self.box.left

    @property
    def end(self) -> float:
        """The edge of the type box opposite to `start`, px."""
        return self.box.left if self.rtl else self.box.right

    def display(self, words: str) -> str:
        """Return a display text in the case it is set in."""
        return capitals(words) if self.caps else words


def capitals(words: str) -> str:
    """Return `words` in capitals; a capital sharp s stays one letter."""
    return words.replace("ß", "ẞ").upper()


def pixels(box: requests.Box, width: int, height: int) -> Box:
    """Return a box of fractions in px of a frame."""
    return Box(box.x * width, box.y * height, (box.x + box.w) * width, (box.y + box.h) * height)


def type_area(box: Box, safe: Box, field: str) -> Box:
    """Return the part of the type box that is safe; raise InvalidRequestError if none is left."""
    area = box.within(safe)
    least = _LEAST_BOX * min(safe.width, safe.height)
    if area.width < least or area.height < least:
        raise InvalidRequestError("the type box lies outside the safe area", field=field)
    return area


def anchored(page: Page, height: float) -> float:
    """Return the top of a block of `height` px in the type box.

    Beside the subject type stands in the middle, above it at the top, below it at the bottom.
    """
    box, room = page.box, max(0.0, page.box.height - height)
    if page.focus is None:
        return box.top + room * (0.5 if page.width > page.height else 0.0)
    across, down = page.focus.middle
    if across < box.left or across > box.right:
        return box.top + room / 2
    return box.top + (room if down < box.middle[1] else 0.0)
