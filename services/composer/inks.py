"""Which colours type is set in: measured against the picture it really stands on.

Contrast follows WCAG 2.2. The picture's pixels behind every line are sampled over the whole shot;
the worst of them decides. Where neither ink nor paper is legible, a soft scrim is laid under the
type, and where even that does not help, no film is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from contracts.colour import contrast, luminance, rgb
from contracts.errors import InvalidRequestError
from media.colour import distance
from services.composer.piece import recoloured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from contracts.brief import Palette
    from services.composer.boxes import Box
    from services.composer.piece import Piece

LARGE_CONTRAST, SMALL_CONTRAST = 3.0, 4.5
"""Least contrast of large type and of small type (WCAG 2.2, AA)."""

LARGE_SHARE = 0.034
"""Type from this share of the frame's short side up counts as large."""

LARGE_PIXELS = 18.7
"""Bold type from this size in px up counts as large where it is seen pixel by pixel: in banners."""

_SCRIMS = (0.0, 0.28, 0.42, 0.56, 0.70, 0.84)
_OUTLIERS = 4.0  # per cent of a line's background that may be worse: grain and tiny lights
_APART = 0.12  # OKLab distance from which a second colour reads as a second colour


class IllegibleError(InvalidRequestError):
    """Type cannot be made legible on this picture, whatever its colour and scrim."""

    def __init__(self, words: str, found: float, needed: float) -> None:
        self.words, self.found, self.needed = words, found, needed
        super().__init__(
            f"{words[:60]!r} would have a contrast of {found:.1f}, {needed:.1f} is needed",
            field="work",
        )


@dataclass(frozen=True, slots=True)
class Inks:
    """The colours of one layout, `#RRGGBB`; `scrim` is the strength of the veil, 0 to 1."""

    text: str
    accent: str
    button: str
    on_button: str
    veil: str
    scrim: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a layout becomes legible: its inks, lines in another ink (by place), lines on a scrim."""

    inks: Inks
    repainted: Mapping[int, str] = field(default_factory=dict)
    veiled: tuple[Box, ...] = ()

    def applied(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return a layout drawn in `inks` with its repainted lines repainted."""
        return [
            recoloured(piece, self.repainted[n]) if n in self.repainted else piece
            for n, piece in enumerate(pieces)
        ]


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What type stands on: small BGR pictures of the shot at several times, one size."""

    pictures: tuple[NDArray[np.uint8], ...]
    width: int
    height: int

    def pixels(self, box: Box) -> NDArray[np.float32]:
        """Return the pixels behind a box (px of the full frame) as (n, 3) BGR."""
        parts = []
        for picture in self.pictures:
            rows, columns = picture.shape[:2]
            x0 = int(np.clip(box.left / self.width * columns, 0, columns - 1))
            y0 = int(np.clip(box.top / self.height * rows, 0, rows - 1))
            x1 = int(np.clip(np.ceil(box.right / self.width * columns), x0 + 1, columns))
            y1 = int(np.clip(np.ceil(box.bottom / self.height * rows), y0 + 1, rows))
            parts.append(picture[y0:y1, x0:x1].reshape(-1, 3))
        return np.concatenate(parts).astype(np.float32)


def backdrop(pictures: Sequence[NDArray[np.uint8]]) -> Backdrop:
    """Return the backdrop of BGR pictures of equal size, kept at an eighth."""
    height, width = pictures[0].shape[:2]
    small = (max(2, width // 8), max(2, height // 8))
    kept = tuple(
        np.asarray(cv2.resize(p, small, interpolation=cv2.INTER_AREA), np.uint8) for p in pictures
    )
    return Backdrop(kept, width, height)


def luminances(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the relative luminances of (n, 3) BGR pixels, 0 to 255."""
    scaled = pixels / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004  # sRGB's own figure
    return np.asarray(linear @ np.array([0.0722, 0.7152, 0.2126], np.float32), np.float32)


def worst_contrast(colour: str, pixels: NDArray[np.float32]) -> float:
    """Return the contrast that all but a few outliers of the background keep to `colour`."""
    mine = np.array([luminance(colour)], np.float32)
    return percentile_contrast(mine, luminances(pixels), _OUTLIERS)


def percentile_contrast(
    mine: NDArray[np.float32], theirs: NDArray[np.float32], outliers: float
) -> float:
    """Return the contrast that every pair of luminances keeps, but for `outliers` per cent."""
    one, other = mine[:, None] + np.float32(0.05), theirs[None, :] + np.float32(0.05)
    return float(np.percentile(np.maximum(one, other) / np.minimum(one, other), outliers))


def _veiled(pixels: NDArray[np.float32], inks: Inks) -> NDArray[np.float32]:
    blue_last = np.array(rgb(inks.veil)[::-1], np.float32)
    return np.asarray(pixels * (1 - inks.scrim) + blue_last * inks.scrim, np.float32)


def needed_contrast(size: float, large: float) -> float:
    """Return the least contrast of type of `size` px, where `large` px and more are large."""
    return LARGE_CONTRAST if size >= large else SMALL_CONTRAST


def faults(
    pieces: Sequence[Piece], ground: Backdrop, inks: Inks, large: float
) -> dict[int, IllegibleError]:
    """Return an error for every line, by its place, that cannot be read on its background."""
    panels = [p for p in pieces if p.ground]
    found = {}
    for n, piece in enumerate(pieces):
        if not piece.colour:
            continue
        under = [p for p in panels if p.ink.contains(piece.ink, slack=2)]
        if under:
            ratio = contrast(piece.colour, under[-1].ground)
        else:
            ratio = worst_contrast(piece.colour, _veiled(ground.pixels(piece.ink.grown(4)), inks))
        needed = needed_contrast(piece.size, large)
        if ratio < needed:
            found[n] = IllegibleError(piece.words, ratio, needed)
    return found


def candidates(palette: Palette, pixels: NDArray[np.float32]) -> list[Inks]:
    """Return all colourings of a layout on these background pixels, the best first.

    Ink and paper without scrim come first, the one with more contrast before the other; then both
    with ever stronger scrims.
    """
    sides = sorted(
        ((palette.ink, palette.paper), (palette.paper, palette.ink)),
        key=lambda side: -worst_contrast(side[0], pixels),
    )
    return [
        _coloured_for(palette, text, veil, scrim, pixels)
        for scrim in _SCRIMS
        for text, veil in sides
    ]


def _coloured_for(
    palette: Palette, text: str, veil: str, scrim: float, pixels: NDArray[np.float32]
) -> Inks:
    plain = Inks(text, text, palette.primary, text, veil, scrim)
    ground = _veiled(pixels, plain)
    accent = next(
        (
            colour
            for colour in (palette.secondary, palette.primary, palette.accent)
            if worst_contrast(colour, ground) >= LARGE_CONTRAST and distance(colour, text) > _APART
        ),
        text,
    )
    mean = np.median(ground, axis=0)
    middle = f"#{int(mean[2]):02X}{int(mean[1]):02X}{int(mean[0]):02X}"
    button, on_button = button_colours(palette, middle)
    return replace(plain, accent=accent, button=button, on_button=on_button)


def button_colours(palette: Palette, ground: str) -> tuple[str, str]:
    """Return fill and text of a button that stands out from `ground` and can be read."""
    for fill in (palette.primary, palette.secondary, palette.accent, palette.ink, palette.paper):
        words = max((palette.ink, palette.paper), key=lambda c: contrast(c, fill))
        if distance(fill, ground) > _APART and contrast(fill, words) >= SMALL_CONTRAST:
            return fill, words
    return palette.ink, palette.paper


def legible(
    draw: Callable[[Inks], list[Piece]],
    ground: Backdrop,
    palette: Palette,
    *,
    large: float | None = None,
) -> Verdict:
    """Return the first colouring of a layout in which every line can be read.

    One ink for all lines is best. Where only lesser lines stand on another tone than the headline
    (a legal line over a table's edge), they alone change ink; next comes a scrim, under those
    lines only that need it. `draw` sets the layout in given colours; `large` is the size in px from
    which type counts as large, by default a share of the frame. Raises IllegibleError when nothing
    will do.
    """
    if large is None:
        large = LARGE_SHARE * min(ground.width, ground.height)
    plain = Inks(palette.ink, palette.ink, palette.primary, palette.ink, palette.paper)
    probe = [piece.ink for piece in draw(plain) if piece.colour]
    if not probe:
        return Verdict(plain)
    pixels = np.concatenate([ground.pixels(box) for box in probe])
    worst: dict[int, IllegibleError] = {}
    for inks in candidates(palette, pixels):
        pieces = draw(inks)
        bare = faults(pieces, ground, replace(inks, scrim=0.0), large)
        if inks.scrim == 0:
            worst = bare
            if (repainted := _repainted(pieces, bare, ground, inks, large)) is not None:
                return Verdict(inks, repainted)
        elif not (worst := faults(pieces, ground, inks, large)):
            return Verdict(inks, {}, tuple(pieces[n].ink for n in bare))
    raise next(iter(worst.values()))


def _repainted(
    pieces: Sequence[Piece],
    bad: Mapping[int, IllegibleError],
    ground: Backdrop,
    inks: Inks,
    large: float,
) -> dict[int, str] | None:
    """Return the bad lines in the opposite ink; None if that cures not all, or not the main one."""
    main = max((n for n, p in enumerate(pieces) if p.colour), key=lambda n: pieces[n].size)
    if main in bad:
        return None
    turned = dict.fromkeys(bad, inks.veil)
    tried = [recoloured(p, turned[n]) if n in turned else p for n, p in enumerate(pieces)]
    return turned if not faults(tried, ground, inks, large) else None
