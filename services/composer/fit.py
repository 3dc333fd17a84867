"""The largest balanced setting of a text in a box.

All ways of breaking the text into lines are weighed: the type size they allow, how even the
lines are, whether a line ends on a small word or the last one is an orphan. Breaks that the
writer asked for (newlines) are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from services.composer import text as type_
from services.composer.typeface import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.composer.boxes import Box

_MANY_WORDS = 12
_ORPHAN = 0.34
_LONELY = 0.5  # of the widest line
_CLEARANCE, _LOOSEST = 0.03, 1.22
# Words that should not stand at the end of a line; they belong to what follows.
_LEANING = frozenset(
    {
        *("a", "an", "the", "of", "to", "in", "on", "at", "by", "for", "and", "or", "but", "with"),
        *("your", "our", "from", "as", "is", "der", "die", "das", "den", "dem", "ein", "eine"),
        *("im", "am", "zu", "und", "oder", "mit", "von", "vom", "für", "auf", "bis", "le", "la"),
        *("les", "un", "une", "des", "du", "de", "à", "au", "aux", "et", "ou", "en", "sur", "pour"),
        *("par", "votre", "nos", "el", "los", "las", "y", "o", "con", "il", "e", "di", "het"),
        *("في", "من", "على", "إلى", "عن", "كما", "و", "أو", "ما", "لا"),
    }
)
_ENDS = (".", "!", "?", ":", ";", ",", "،", "؟", "؛", "…", "—")


class TooSmallError(Exception):
    """A text would have to be set below its smallest legible size to fit its box."""

    def __init__(self, text: str, size: float, least: float) -> None:
        self.text, self.size, self.least = text, size, least
        super().__init__(f"{text!r} would be set at {size:.0f} px, below {least:.0f} px")


@dataclass(frozen=True, slots=True)
class Setting:
    """Lines of type at one size. `leading` is the distance of baselines in px."""

    lines: tuple[str, ...]
    role: Role
    size: float
    leading: float
    extra: float = 0.0

    @property
    def top(self) -> float:
        """How far ink rises above the first baseline, px."""
        return -type_.ink(self.lines[0], self.role, self.extra).top * self.size

    @property
    def bottom(self) -> float:
        """How far ink falls below the last baseline, px."""
        return type_.ink(self.lines[-1], self.role, self.extra).bottom * self.size

    @property
    def height(self) -> float:
        """Ink height of the block, px."""
        return self.top + self.bottom + self.leading * (len(self.lines) - 1)

    @property
    def width(self) -> float:
        """Ink width of the widest line, px."""
        return max(_width(line, self.role, self.extra) for line in self.lines) * self.size


def _width(line: str, role: Role, extra: float = 0.0) -> float:
    box = type_.ink(line, role, extra)
    return box.right - box.left


def breaks(words: list[str], most: int) -> Iterator[tuple[str, ...]]:
    """Every way to break `words` into at most `most` lines; long texts are filled greedily."""
    if len(words) > _MANY_WORDS:
        yield from _filled(words, most)
        return
    for count in range(min(most, len(words))):
        for cuts in combinations(range(1, len(words)), count):
            edges = (0, *cuts, len(words))
            yield tuple(" ".join(words[a:b]) for a, b in pairwise(edges))


def _filled(words: list[str], most: int) -> Iterator[tuple[str, ...]]:
    total = sum(map(len, words)) + len(words) - 1
    for count in range(1, most + 1):
        for slack in (1.0, 1.06, 1.14, 1.25):
            goal, lines = total / count * slack, [[words[0]]]
            for word in words[1:]:
                filled = len(" ".join(lines[-1]))
                if filled + 1 + len(word) / 2 > goal and len(lines) < count:
                    lines.append([word])
                else:
                    lines[-1].append(word)
            yield tuple(" ".join(line) for line in lines)


def ugliness(lines: tuple[str, ...], widths: list[float], each: float = 0.025) -> float:
    """Return 0 for a handsome break; each fault, and `each` line, costs a share of the size."""
    widest = max(widths)
    uneven = sum(1 - w / widest for w in widths) / len(widths)
    cost = 0.24 * uneven + each * len(lines)
    for line in lines[:-1]:
        word = line.rsplit(" ", 1)[-1].lower().strip("\u2019'")
        # "28. Februar", "400 ml": a number belongs to what it counts.
        if word in _LEANING or word.rstrip(".,").isdigit():
            cost += 0.18 if " " in line else 0.36
        if line.endswith(_ENDS):
            cost -= 0.09
    for line, width in list(zip(lines, widths, strict=True))[1:-1]:
        # "The sun / sets / the table.": a short word alone between longer lines.
        if " " not in line and width < _LONELY * widest and not line.endswith(_ENDS):
            cost += 0.24
    last = lines[-1]
    if len(lines) > 1 and " " not in last and widths[-1] < _ORPHAN * widest:
        cost += 0.14
    return cost


def _candidates(text: str, most: int) -> Iterator[tuple[str, ...]]:
    parts = [part.split() for part in text.split("\n") if part.strip()]
    if len(parts) > 1:
        yield tuple(" ".join(part) for part in parts)
        return
    yield from breaks(parts[0], most)


def fit(
    text: str,
    role: Role,
    box: Box,
    *,
    largest: float,
    least: float,
    most_lines: int = 5,
    extra: float = 0.0,
) -> Setting:
    """Return the largest handsome setting of `text` within `box` (px).

    `largest` and `least` bound the type size in px. Raises TooSmallError when even the best
    break needs a size below `least`, MissingGlyphError when the faces cannot spell the text.
    """
    # Running text wants few lines; a headline wants its sense.
    each = 0.14 if role in {Role.TEXT, Role.STRONG, Role.NOTE} else 0.025
    best: tuple[tuple[bool, float], Setting] | None = None
    for lines in _candidates(text, most_lines):
        # Advances first: they are cheap and rule out most breaks.
        widths = [type_.advance(line, role, extra) for line in lines]
        share = 1 / (1 + max(-0.5, ugliness(lines, widths, each)))
        size = min(largest, box.width / max(widths))
        if best is not None and (size >= least, size * share) <= best[0]:
            continue
        step = _leading(lines, role, extra)
        setting = _within(Setting(lines, role, size, step * size, extra), box, largest)
        # What is legible at all comes before what is handsome.
        rank = (setting.size >= least, setting.size * share)
        if best is None or rank > best[0]:
            best = (rank, setting)
    if best is None:
        raise TooSmallError(text, 0, least)
    if best[1].size < least:
        raise TooSmallError(text, best[1].size, least)
    return best[1]


def _leading(lines: tuple[str, ...], role: Role, extra: float) -> float:
    """Return the distance of baselines in em: tight, but marks never touch descenders."""
    step = type_.leading(lines[0], role)
    boxes = [type_.ink(line, role, extra) for line in lines]
    gaps = [upper.bottom - lower.top for upper, lower in pairwise(boxes)]
    needed = max(gaps, default=0.0) + _CLEARANCE
    return max(step, min(needed, step * _LOOSEST))


def _within(setting: Setting, box: Box, largest: float) -> Setting:
    """Scale a setting so that its ink fills the box, and no more."""
    scale = min(box.width / setting.width, box.height / setting.height, largest / setting.size)
    size = setting.size * scale
    return Setting(setting.lines, setting.role, size, setting.leading * scale, setting.extra)


def display(text: str, box: Box, *, largest: float, least: float, most_lines: int = 4) -> Setting:
    """Fit a headline in the display face, in its narrow cut where long words gain much by it."""
    settings = []
    for role, worth in ((Role.DISPLAY, 1.0), (Role.NARROW, 0.88)):
        try:
            one = fit(text, role, box, largest=largest, least=least, most_lines=most_lines)
        except TooSmallError as error:
            failure = error
        else:
            settings.append((one.size * worth, one))
    if not settings:
        raise failure
    return max(settings, key=lambda pair: pair[0])[1]
