"""What lies over the whole film, shots and wipes alike: captions and the draft tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.colour import contrast, luminance
from services.composer import captions
from services.composer import text as type_
from services.composer.boxes import Box
from services.composer.fit import Setting
from services.composer.inks import SMALL_CONTRAST
from services.composer.motion import Layer, Motion
from services.composer.piece import Align, Piece, line, panel, spans
from services.composer.typeface import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.brief import Palette
    from services.composer.captions import Group, Token
    from services.composer.page import Page

DRAFT = "DRAFT"
_SIZE, _LEAST = 46, 30
_PILL_OPACITY = 0.90
_DARK = 0.08  # relative luminance up to which a colour serves as the captions' ground


def caption_colours(palette: Palette) -> tuple[str, str, str]:
    """Return ground, text and highlight of captions; both are legible on the ground."""
    ground = palette.ink if luminance(palette.ink) <= _DARK else "#101010"
    text = palette.paper if contrast(palette.paper, ground) >= 2 * SMALL_CONTRAST else "#FFFFFF"
    shades = (palette.secondary, palette.primary, palette.accent)
    readable = [c for c in shades if contrast(c, ground) >= SMALL_CONTRAST]
    return ground, text, readable[0] if readable else text


def caption_groups(page: Page, spoken: Sequence[Sequence[Token]]) -> list[Group]:
    """Break what is spoken into groups that fit the page's type box (the captions' box)."""
    size = _caption_size(page)
    room = (page.box.width - 1.7 * size) / size
    return captions.groups(spoken, lambda words: type_.advance(words, Role.STRONG), room)


def _caption_size(page: Page) -> float:
    return max(_LEAST * page.unit, min(_SIZE * page.unit, page.box.height / 1.9))


def caption_layers(page: Page, shown: Sequence[Group], palette: Palette) -> list[Layer]:
    """Set every group as a line on a pill, the spoken word highlighted."""
    return [layer for group in shown for layer in _group(page, group, palette)]


def _group(page: Page, group: Group, palette: Palette) -> list[Layer]:
    ground, text, highlight = caption_colours(palette)
    size = _caption_size(page)
    wide = type_.advance(group.text, Role.STRONG) * size
    box_room = page.box.width - 1.2 * size
    if wide > box_room:  # one long word: smaller rather than cut
        size *= box_room / wide
        wide = box_room
    across, down = page.box.middle
    tall = 1.78 * size if not type_.joined(group.text) else 2.0 * size
    half = wide / 2 + 0.62 * size
    top = min(max(down - tall / 2, page.box.top), page.box.bottom - tall)
    pill = panel(
        Box(across - half, top, across + half, top + tall),
        ground,
        radius=0.36 * size,
        opacity=_PILL_OPACITY,
    )
    layers = [Layer(pill, Motion.CUT, group.start, group.end)]
    baseline = top + tall / 2 + (0.30 if type_.joined(group.text) else 0.36) * size
    starts = [token.start for token in group.tokens]
    for n in range(len(group.tokens)):
        first = group.start if n == 0 else starts[n]
        last = starts[n + 1] if n + 1 < len(starts) else group.end
        if last <= first:
            continue
        parts = tuple(_parts(group, n, text, highlight))
        words = spans(parts, Role.STRONG, size, (across, baseline), text)
        layers.append(Layer(words, Motion.CUT, first, last))
    return layers


def _parts(group: Group, spoken: int, text: str, highlight: str) -> list[tuple[str, str]]:
    parts = []
    for n, token in enumerate(group.tokens):
        if n:
            parts.append((" ", text))
        parts.append((token.text, highlight if n == spoken else text))
    return parts


def draft_tag(page: Page, palette: Palette) -> list[Piece]:
    """Draw the tag in the margin below the safe area, where no type ever stands or passes."""
    u = page.unit
    ground, text, _ = caption_colours(palette)
    size = 17 * u
    # Room for the tag in the frame's lower margin, whatever the platform's safe area leaves.
    tall = min(1.9 * size, 0.8 * (page.height - page.safe.bottom))
    size = tall / 1.9
    if size < 4:  # noqa: PLR2004  # px: thumbnails in tests; smaller than anyone could see
        return []
    extra = 0.12
    wide = type_.advance(DRAFT, Role.STRONG, extra) * size + 1.6 * size
    right = page.width - 0.045 * page.width
    bottom = page.height - max(0.012 * page.height, (page.height * 0.05 - tall) / 2)
    box = Box(right - wide, bottom - tall, right, bottom)
    if page.rtl:
        box = Box(page.width - box.right, box.top, page.width - box.left, box.bottom)
    setting = Setting((DRAFT,), Role.STRONG, size, size, extra)
    across, down = box.middle
    label = line(DRAFT, setting, across, down + 0.36 * size, text, Align.CENTRE)
    return [panel(box, ground, radius=tall / 2, opacity=0.62), label]
