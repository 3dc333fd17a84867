"""The typographic templates of shots: hook, statement, product, statistics, end card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.script import ShotKind
from services.composer.endcard import end_card
from services.composer.fit import TooSmallError
from services.composer.motion import Motion
from services.composer.stack import Row, headline, height, small, stacked, type_row
from services.composer.statistics import statistics
from services.composer.typeface import Role

if TYPE_CHECKING:
    from contracts.requests import FilmShot
    from contracts.script import EndCard
    from services.composer.inks import Inks
    from services.composer.motion import Layer
    from services.composer.page import Page
    from services.composer.piece import Piece

KICKER_TRACKING = 0.14
_HEADLINE_SHARE = 0.4  # of the type box, before lesser rows give way
_LARGEST = {ShotKind.HOOK: 240, ShotKind.STATEMENT: 176, ShotKind.PRODUCT: 190}


def scene(
    page: Page, shot: FilmShot, card: EndCard, inks: Inks, *, logo: Piece | None, enter: float
) -> list[Layer]:
    """Set the type of one shot; `enter` is the second at which the first line may come in.

    Raises TooSmallError where the type box cannot hold the text at a legible size.
    """
    if shot.kind is ShotKind.END:
        return end_card(page, shot, card, inks, logo=logo, enter=enter)
    if shot.kind is ShotKind.STATS and shot.stats:
        return statistics(page, shot, inks, enter=enter)
    return _statement(page, shot, inks, enter)


def kicker_row(page: Page, words: str, inks: Inks) -> Row:
    """Return the small line above a headline."""
    setting = small(page, page_caps(words), Role.STRONG, 32, lines=2, extra=KICKER_TRACKING)
    return type_row(page, setting, inks.text, 0.0, motion=Motion.FADE)


def page_caps(words: str) -> str:
    """Return a kicker in capitals: small letters with wide tracking fall apart."""
    return words.upper()


def _statement(page: Page, shot: FilmShot, inks: Inks, enter: float) -> list[Layer]:
    """Set a kicker, a headline as large as it goes, and a line of support.

    Where the headline would be left with less than its share, support goes, then the kicker.
    """
    u = page.unit
    above, below = _lesser_rows(page, shot, inks)
    if not shot.headline:
        return stacked(page, [*above, *below], enter)
    role = Role.ACCENT if shot.kind is ShotKind.STATEMENT else Role.DISPLAY
    room = _left_over(page, above, below)
    setting = headline(page, shot.headline, role, room, _LARGEST.get(shot.kind, 176))
    return stacked(page, [*above, type_row(page, setting, inks.text, 40 * u), *below], enter)


def _lesser_rows(page: Page, shot: FilmShot, inks: Inks) -> tuple[list[Row], list[Row]]:
    """Return the rows above and below a headline, as many as leave it its share of the box."""
    for kicker, support in ((shot.kicker, shot.support), (shot.kicker, ""), ("", shot.support)):
        try:
            above = [kicker_row(page, kicker, inks)] if kicker else []
            below = [_support_row(page, support, inks)] if support else []
        except TooSmallError:
            continue
        if _left_over(page, above, below) >= _HEADLINE_SHARE * page.box.height:
            return above, below
    return [], []


def _support_row(page: Page, words: str, inks: Inks) -> Row:
    setting = small(page, words, Role.TEXT, 43, lines=3)
    return type_row(page, setting, inks.text, 50 * page.unit, motion=Motion.FADE)


def _left_over(page: Page, above: list[Row], below: list[Row]) -> float:
    """Return the height that other rows leave to the headline, their gaps counted."""
    room = page.box.height
    room -= height(above) + 44 * page.unit if above else 0
    room -= height(below) + 50 * page.unit if below else 0
    return room
