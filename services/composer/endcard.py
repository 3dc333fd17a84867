"""The end card: brand, last word, offer, button, address and the legal line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.composer import fit
from services.composer.boxes import Box
from services.composer.fit import Setting
from services.composer.logo import placed_logo
from services.composer.motion import Layer, Motion
from services.composer.page import capitals
from services.composer.piece import arrow, line, panel
from services.composer.stack import Row, headline, height, small, stacked, type_row
from services.composer.typeface import Role

if TYPE_CHECKING:
    from contracts.requests import FilmShot
    from contracts.script import EndCard
    from services.composer.inks import Inks
    from services.composer.page import Page
    from services.composer.piece import Piece

_TIGHTER = (1.0, 0.9, 0.8, 0.7, 0.62, 0.54, 0.46)
_URL_FROM = 0.6  # tighter than this an end card does without its address
_AIR = 0.42  # of the headline's size, between it and what follows
_LONGEST_ADDRESS = 34  # characters
_LEAST_HEADLINE = 0.32  # of the type box, before secondary rows shrink


def end_card(  # one argument for each thing that an end card is made of
    page: Page, shot: FilmShot, card: EndCard, inks: Inks, *, logo: Piece | None, enter: float
) -> list[Layer]:
    """Set the end card in the type box; secondary rows shrink before the headline does."""
    words = shot.headline or card.tagline
    bare = words.strip(" .").casefold()
    named = f"{bare} ".startswith(f"{card.brand.casefold()} ")
    if bare == card.brand.casefold() and logo is not None:
        words = ""  # the logo says it
    failure: fit.TooSmallError | None = None
    for scale in _TIGHTER:
        try:
            # A headline that begins with the brand's name needs no brand above it.
            above = [] if named and logo is None else _above(page, card, inks, scale, logo)
            below = _below(page, card, inks, scale)
            used = height(above) + height(below)
            u = page.unit * scale
            room = page.box.height - used - 100 * u
            if not words:
                return stacked(page, [*above, *below], enter)
            if room < _LEAST_HEADLINE * page.box.height and scale > _TIGHTER[-1]:
                continue
            setting = headline(page, words, Role.DISPLAY, 0.93 * room, 190)
        except fit.TooSmallError as error:
            failure = error
            continue
        rows = [*above, type_row(page, setting, inks.text, 44 * u), *below]
        spare = page.box.height - height(rows)
        if below:
            # Large type needs more air below it than the rows have among themselves.
            air = min(max(0.0, spare), max(0.0, _AIR * setting.size - below[0].gap))
            rows[-len(below)] = replace(below[0], gap=below[0].gap + air)
        return stacked(page, rows, enter)
    raise failure or fit.TooSmallError(words, 0, 0)


def _above(page: Page, card: EndCard, inks: Inks, scale: float, logo: Piece | None) -> list[Row]:
    if logo is not None:
        tall = 84 * page.unit * scale

        def draw(top: float, enter: float) -> list[Layer]:
            at = fitted(logo, page, top, tall)
            return [Layer(at, Motion.FADE, enter)]

        return [Row(tall, 0.0, draw)]
    words = capitals(card.brand)
    return [type_row(page, small(page, words, Role.DISPLAY, 60 * scale, lines=3), inks.text, 0.0)]


def fitted(logo: Piece, page: Page, top: float, tall: float) -> Piece:
    """Return the logo `tall` px high (or as wide as the type box), where lines begin."""
    rows, columns = logo.pixels.shape[:2]
    wide = min(page.box.width, columns * tall / rows)
    left = page.box.right - wide if page.rtl else page.box.left
    return placed_logo(logo, Box(left, top, left + wide, top + tall))


def _below(page: Page, card: EndCard, inks: Inks, scale: float) -> list[Row]:
    u, rows = page.unit * scale, []
    if card.offer:
        setting = small(page, card.offer, Role.NOTE, 58 * scale, lines=4)
        rows.append(type_row(page, setting, inks.text, 44 * u))
    if card.call_to_action:
        rows.append(button_row(page, card.call_to_action, inks, max(26.0, 42 * scale), 52 * u))
    if card.url and scale >= _URL_FROM:
        setting = small(page, shown(card.url), Role.STRONG, 32 * scale, lines=1)
        rows.append(type_row(page, setting, inks.text, 32 * u, motion=Motion.FADE))
    if card.legal:
        # The law wants it read: it is the last to shrink.
        setting = small(page, card.legal, Role.TEXT, max(20.0, 28 * scale), lines=14)
        rows.append(type_row(page, setting, inks.text, 34 * u, motion=Motion.FADE))
    return rows


def shown(url: str) -> str:
    """Return an address as it is shown: no scheme, no last slash, no path too long to read."""
    address = url.partition("://")[2].removeprefix("www.").rstrip("/") or url
    return address if len(address) <= _LONGEST_ADDRESS else address.partition("/")[0]


def button_row(page: Page, words: str, inks: Inks, size: float, gap: float) -> Row:
    """Return a call to action as a button with an arrow; `size` of its type in units."""
    u = page.unit
    inside = Box(0, 0, page.box.width - 3.6 * size * u, 10_000)
    setting = fit.fit(words, Role.STRONG, inside, largest=size * u, least=15 * u, most_lines=1)
    tall = 2.3 * setting.size

    def draw(top: float, enter: float) -> list[Layer]:
        pieces = button(page, setting, inks, page.start, top, tall)
        return [Layer(piece, Motion.FADE, enter) for piece in pieces]

    return Row(tall, gap, draw)


def button(  # what a button is made of
    page: Page, setting: Setting, inks: Inks, start: float, top: float, tall: float
) -> list[Piece]:
    """Draw a button that begins at `start` px, `tall` px high: fill, words, arrow."""
    size = setting.size
    side, gap, head = 0.86 * size, 0.46 * size, 0.62 * size
    wide = setting.width + 2 * side + gap + head * 1.35
    left = start - wide if page.rtl else start
    fill = panel(Box(left, top, left + wide, top + tall), inks.button, radius=tall / 2)
    words = setting.lines[0]
    # Centred on the height of its letters, not on the line's.
    baseline = top + tall / 2 + (0.36 if not page.rtl else 0.22) * size
    x = left + wide - side if page.rtl else left + side
    label = line(words, setting, x, baseline, inks.on_button, page.align)
    tip = left + side if page.rtl else left + wide - side - head * 1.35
    point = Box(tip, top + (tall - head) / 2, tip + head * 1.35, top + (tall + head) / 2)
    return [fill, label, arrow(point, inks.on_button, backwards=page.rtl)]
