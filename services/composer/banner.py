"""Banners: laid out natively for their shape, legible at one pixel per pixel.

A banner is too small for the film's system of units: sizes here are px. It shows the brand, a
short headline and the button; offer and legal line where there is room for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.composer import fit
from services.composer.boxes import Box
from services.composer.endcard import button
from services.composer.fit import Setting, TooSmallError
from services.composer.logo import placed_logo
from services.composer.page import capitals
from services.composer.piece import Align, Piece, block
from services.composer.typeface import Role

if TYPE_CHECKING:
    from contracts.script import EndCard
    from services.composer.inks import Inks
    from services.composer.page import Page

_PADDING = 3.05  # type sizes that a button holds beside its words: its sides and the arrow
_STRIP = 3.0  # from this aspect ratio on, everything stands side by side
_LEGAL_STRIP = 120  # px: lower strips have no room for a legal line
_LEAST_HEADLINE, _LEAST_BUTTON, _LEAST_LEGAL = 13.0, 9.5, 8.0


def banner(page: Page, words: str, card: EndCard, inks: Inks, logo: Piece | None) -> list[Piece]:
    """Set a banner in the page's type box; raise TooSmallError if it holds too much text."""
    if page.box.width > page.box.height * _STRIP:
        try:
            return _strip(page, words, card, inks, logo)
        except TooSmallError:
            return _sliver(page, card, inks, logo)
    return _column(page, words, card, inks, logo)


def _brand(
    page: Page, card: EndCard, inks: Inks, logo: Piece | None, box: Box, size: float
) -> list[Piece]:
    """Set the brand at the start of a box, in its vertical middle; `size` in px at most."""
    if logo is not None:
        rows, columns = logo.pixels.shape[:2]
        wide = min(box.width, columns / rows * size)
        left = box.right - wide if page.rtl else box.left
        middle = box.middle[1]
        return [placed_logo(logo, Box(left, middle - size / 2, left + wide, middle + size / 2))]
    setting = fit.fit(
        capitals(card.brand), Role.DISPLAY, box, largest=size, least=_LEAST_BUTTON, most_lines=1
    )
    top = box.top + (box.height - setting.height) / 2
    start = box.right if page.rtl else box.left
    return block(setting, start, top, inks.text, page.align)


def _button(words: str, wide: float, size: float) -> Setting:
    """Fit a button's words so that the whole button is at most `wide` px."""
    unit = fit.fit(words, Role.STRONG, Box(0, 0, 1e4, 1e4), largest=100, least=1, most_lines=1)
    size = min(size, wide / (unit.width / 100 + _PADDING))
    if size < _LEAST_BUTTON:
        raise TooSmallError(words, size, _LEAST_BUTTON)
    return Setting((words,), Role.STRONG, size, size)


def _strip(page: Page, words: str, card: EndCard, inks: Inks, logo: Piece | None) -> list[Piece]:
    """Set headline with the brand above it, and the button at the far end."""
    box, tall = page.box, page.box.height
    pieces: list[Piece] = []
    far = 0.0
    if card.call_to_action:
        setting = _button(card.call_to_action, 0.36 * box.width, min(26.0, 0.22 * tall + 4))
        high = 2.3 * setting.size
        wide = setting.width + _PADDING * setting.size
        start = box.left + wide if page.rtl else box.right - wide
        top = box.top + (tall - high) / 2
        pieces += button(page, setting, inks, start, top, high)
        far = wide + 0.25 * tall
    room = (
        Box(box.left + far, box.top, box.right, box.bottom)
        if page.rtl
        else Box(box.left, box.top, box.right - far, box.bottom)
    )
    brand = Box(room.left, room.top, room.right, room.top + 0.24 * tall)
    name = _brand(page, card, inks, logo, brand, min(28.0, 0.26 * tall))
    small: list[Piece] = []
    foot = room.bottom
    if card.legal and tall >= _LEGAL_STRIP:
        small = _foot(page, card.legal, room, inks)
        foot = min(p.ink.top for p in small) - 0.05 * tall
    middle = Box(room.left, brand.bottom + 0.10 * tall, room.right, foot)
    title = _headline(page, words, middle, inks, lines=2)
    # Brand and headline are one block in the middle of the strip.
    spare = max(0, int(foot - max(p.ink.bottom for p in title)))
    middled = [piece.moved(0, spare // 2) for piece in (*name, *title)]
    return [*pieces, *middled, *small]


def _sliver(page: Page, card: EndCard, inks: Inks, logo: Piece | None) -> list[Piece]:
    """Set brand and button alone: what a strip too small for a headline can say."""
    box, tall = page.box, page.box.height
    setting = _button(card.call_to_action or card.brand, 0.62 * box.width, 0.3 * tall)
    high = min(tall, 2.3 * setting.size)
    wide = setting.width + _PADDING * setting.size
    start = box.left + wide if page.rtl else box.right - wide
    pieces = button(page, setting, inks, start, box.top + (tall - high) / 2, high)
    left, right = (box.left + wide + 8, box.right) if page.rtl else (box.left, start - 8)
    return [*pieces, *_brand(page, card, inks, logo, Box(left, box.top, right, box.bottom), 24)]


def _column(page: Page, words: str, card: EndCard, inks: Inks, logo: Piece | None) -> list[Piece]:
    """Set brand, headline, offer and button from top to bottom."""
    box = page.box
    unit = min(box.width / 10, box.height / 9)
    brand = Box(box.left, box.top, box.right, box.top + 1.1 * unit)
    pieces = _brand(page, card, inks, logo, brand, unit)
    head = len(pieces)
    foot = box.bottom
    if card.legal:
        try:
            legal = _foot(page, card.legal, Box(box.left, brand.bottom, box.right, foot), inks)
        except TooSmallError:
            legal = []
        if legal:
            pieces += legal
            foot = min(p.ink.top for p in legal) - 0.45 * unit
    if card.call_to_action:
        setting = _button(card.call_to_action, box.width, max(_LEAST_BUTTON + 1.5, 0.95 * unit))
        high = 2.2 * setting.size
        start = box.right if page.rtl else box.left
        pieces += button(page, setting, inks, start, foot - high, high)
        foot -= high + 0.6 * unit
    top = brand.bottom + 0.55 * unit
    if card.offer and foot - top > 6.5 * unit:
        room = Box(box.left, 0, box.right, 1e4)
        offer = fit.fit(card.offer, Role.NOTE, room, largest=1.15 * unit, least=11, most_lines=3)
        pieces += block(offer, page.start, foot - offer.height, inks.text, page.align)
        foot -= offer.height + 0.95 * unit
    room = Box(box.left, top, box.right, foot)
    title = _headline(page, words, room, inks, lines=6)
    # What the headline leaves over is shared out: half above the block, the rest below it.
    spare = max(0, int(foot - max(p.ink.bottom for p in title) - 0.6 * unit))
    lower = [piece.moved(0, -spare) for piece in pieces[head:]]
    whole = [*pieces[:head], *title, *lower]
    return [piece.moved(0, spare // 2) for piece in whole]


def _headline(page: Page, words: str, room: Box, inks: Inks, *, lines: int) -> list[Piece]:
    """Set a headline at the top of a box."""
    setting = fit.display(
        page.display(words),
        room,
        largest=0.42 * page.height if page.box.width > page.box.height * _STRIP else 64,
        least=_LEAST_HEADLINE,
        most_lines=lines,
    )
    start = room.right if page.rtl else room.left
    return block(setting, start, room.top, inks.text, page.align)


def _foot(page: Page, words: str, room: Box, inks: Inks) -> list[Piece]:
    """Set the legal line at the bottom of a box."""
    setting = fit.fit(
        words,
        Role.TEXT,
        Box(room.left, 0, room.right, room.height * 0.35),
        largest=10.5,
        least=_LEAST_LEGAL,
        most_lines=4,
    )
    align = Align.RIGHT if page.rtl else Align.LEFT
    start = room.right if page.rtl else room.left
    return block(setting, start, room.bottom - setting.height, inks.text, align)
