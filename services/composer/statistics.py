"""Figures that prove: a headline, and rows of large figure, unit and label between hairlines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.composer import fit
from services.composer.boxes import Box
from services.composer.fit import Setting
from services.composer.motion import STAGGER, Layer, Motion
from services.composer.page import anchored
from services.composer.piece import Align, block, line, panel
from services.composer.stack import Row, headline, height, placed, type_row
from services.composer.typeface import Role

if TYPE_CHECKING:
    from contracts.requests import FilmShot
    from contracts.script import Stat
    from services.composer.inks import Inks
    from services.composer.page import Page

_TWO_COLUMNS = 1.25  # a type box this much wider than high sets headline beside figures
_FIGURE, _UNIT, _LABEL = 190, 90, 41
_LEAST_FIGURE = 30  # units; smaller, and a figure is no longer the point of the shot
_ROW = 236  # units that a row takes at most


def statistics(page: Page, shot: FilmShot, inks: Inks, *, enter: float) -> list[Layer]:
    """Set the headline and one row for each statistic, beside or below it."""
    box = page.box
    beside = box.width > box.height * _TWO_COLUMNS and bool(shot.headline)
    if not beside:
        return _below(page, shot, inks, enter)
    gutter = 0.07 * box.width
    middle = box.left + 0.46 * box.width
    first, second = (
        Box(box.left, box.top, middle, box.bottom),
        Box(middle + gutter, box.top, box.right, box.bottom),
    )
    if page.rtl:
        first, second = (
            Box(box.right - (middle - box.left), box.top, box.right, box.bottom),
            Box(box.left, box.top, box.right - (middle + gutter - box.left), box.bottom),
        )
    left, right = _on(page, first), _on(page, second)
    setting = headline(left, shot.headline, Role.DISPLAY, first.height, 150)
    title = [type_row(left, setting, inks.text, 0.0)]
    rows = _rows(right, shot.stats, inks, min(second.height, _ROW * page.unit * len(shot.stats)))
    # Both columns begin at one height: the hairline aligns with the headline's top.
    top = anchored(page, max(height(title), height(rows)))
    return placed(title, top, enter) + placed(rows, top, enter + STAGGER)


def _on(page: Page, box: Box) -> Page:
    return type(page)(page.width, page.height, box, page.safe, page.focus, page.rtl, page.caps)


def _below(page: Page, shot: FilmShot, inks: Inks, enter: float) -> list[Layer]:
    u, rows = page.unit, []
    room = page.box.height
    if shot.headline:
        # Figures are the point of this shot: the headline leaves them more than half the box.
        setting = headline(page, shot.headline, Role.DISPLAY, 0.40 * room, 150)
        rows.append(type_row(page, setting, inks.text, 0.0))
        room -= setting.height + 44 * u
    figures = _rows(page, shot.stats, inks, min(room, _ROW * u * len(shot.stats)))
    gap = 44 * u
    figures[0] = Row(figures[0].height, gap, figures[0].draw, figures[0].beats)
    layers = [*rows, *figures]
    return placed(layers, anchored(page, height(layers)), enter)


def _rows(page: Page, stats: list[Stat], inks: Inks, room: float) -> list[Row]:
    """Return one row for each statistic, all figures in one size."""
    each = room / len(stats)
    u = page.unit
    size = min(_FIGURE * u, each * 0.80)
    for stat in stats:
        size = min(size, _largest_figure(page, stat))
    if size < 56 * u:  # below this a figure is no longer the point of the shot
        raise fit.TooSmallError(stats[0].value, size, 56 * u)
    return [_row(page, stat, inks, size, each) for stat in stats]


def _largest_figure(page: Page, stat: Stat) -> float:
    """Return the size at which figure and unit leave 45 % of the width to the label."""
    box = Box(0, 0, page.box.width * (0.55 if stat.label else 1.0), 10_000)
    whole = f"{stat.value} {stat.unit}".strip()
    return fit.fit(whole, Role.DISPLAY, box, largest=10_000, least=1, most_lines=1).size


def _row(page: Page, stat: Stat, inks: Inks, size: float, each: float) -> Row:
    u = page.unit
    rule = max(2.0, 2.5 * u)

    def draw(top: float, enter: float) -> list[Layer]:
        hair = panel(Box(page.box.left, top, page.box.right, top + rule), inks.text, opacity=0.45)
        layers = [Layer(hair, Motion.GROW, enter, backwards=page.rtl)]
        cap = size * 0.70
        baseline = top + rule + (each - rule - cap) / 2 + cap
        figure = Setting((stat.value,), Role.DISPLAY, size, size)
        piece = line(stat.value, figure, page.start, baseline, inks.text, page.align)
        layers.append(Layer(piece, Motion.REVEAL, enter + 0.05))
        edge = piece.ink.left if page.rtl else piece.ink.right
        if stat.unit:
            unit = Setting((stat.unit,), Role.DISPLAY, size * _UNIT / _FIGURE, size)
            x = edge + (-1 if page.rtl else 1) * size * 0.09
            piece = line(stat.unit, unit, x, baseline, inks.accent, page.align)
            layers.append(Layer(piece, Motion.REVEAL, enter + 0.12))
            edge = piece.ink.left if page.rtl else piece.ink.right
        if stat.label:
            layers += _label(page, stat.label, inks, edge, baseline, enter + 0.18)
        return layers

    return Row(each, 0.0, draw, beats=1.3)


def _label(  # the label needs to know what its row has used up
    page: Page, words: str, inks: Inks, edge: float, baseline: float, enter: float
) -> list[Layer]:
    """Set the label at the row's far end, its last line on the figure's baseline."""
    u = page.unit
    gap = 40 * u
    span = (page.box.left, edge - gap) if page.rtl else (edge + gap, page.box.right)
    box = Box(span[0], 0, span[1], 10_000)
    setting = fit.fit(words, Role.TEXT, box, largest=_LABEL * u, least=20 * u, most_lines=3)
    align = Align.LEFT if page.rtl else Align.RIGHT
    top = baseline - setting.leading * (len(setting.lines) - 1) - setting.top
    pieces = block(setting, page.end, top, inks.text, align)
    return [Layer(piece, Motion.FADE, enter) for piece in pieces]
