"""Which tokens may come next while a picture is written. Pure; one instance for one run.

Outside a picture: text. After its begin: the size, forced where it is known, else two digits, a
star, two digits; then rows of visual tokens with an end between two, and the picture's end.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from services.emu.prompt import Grid, size_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.emu.vocabulary import Ids

_UNKNOWN_SIZE = 5
"""Two digits, a star, two digits."""


class Kind(Enum):
    """What the next token is."""

    TEXT = auto()
    LAYOUT = auto()
    VISUAL = auto()


class Next(NamedTuple):
    """What may come next: any text, any visual token, or one of `among`."""

    kind: Kind
    among: tuple[int, ...] = ()


class Sheet:
    """Follows what is written, token by token, and says what may follow."""

    def __init__(self, ids: Ids, grid: Grid | None) -> None:
        """`grid` is the picture's size where it is known."""
        self._ids = ids
        self._grid = grid
        self._sizing: list[int] | None = None  # tokens of the size so far, in its place alone
        self._placed = -1  # tokens after the size; -1 outside of a picture's rows
        self._rows: Grid | None = None

    @property
    def in_picture(self) -> bool:
        """Whether what comes next belongs to a picture."""
        return self._sizing is not None or self._placed >= 0

    def next(self) -> Next:
        """Say what may come next."""
        if self._sizing is not None:
            return Next(Kind.LAYOUT, self._of_size(len(self._sizing)))
        if self._placed < 0:
            return Next(Kind.TEXT)
        assert self._rows is not None  # known once the size is written
        place, row = self._placed + 1, self._rows.width + 1
        if place == self._rows.height * row:
            return Next(Kind.LAYOUT, (self._ids.picture_end,))
        if place % row == 0:
            return Next(Kind.LAYOUT, (self._ids.row_end,))
        return Next(Kind.VISUAL)

    def write(self, token: int) -> None:
        """Take note of the token that was written."""
        ids = self._ids
        if token == ids.picture_begin:
            self._sizing, self._placed = [], -1
        elif token == ids.picture_end:
            self._sizing, self._placed = None, -1
        elif self._sizing is not None:
            if token == ids.picture_sized:
                self._rows = self._grid or _read(ids, self._sizing)
                self._sizing, self._placed = None, 0
            else:
                self._sizing.append(token)
        elif self._placed >= 0:
            self._placed += 1

    def _of_size(self, place: int) -> tuple[int, ...]:
        if self._grid is not None:
            return (size_ids(self._ids, self._grid)[place],)
        if place == _UNKNOWN_SIZE:
            return (self._ids.picture_sized,)
        tens, ones = self._ids.digits[1:], self._ids.digits
        return (tens, ones, (self._ids.star,), tens, ones)[place]


def _read(ids: Ids, tokens: Sequence[int]) -> Grid:
    """Return the size that was written."""
    star = tokens.index(ids.star)
    height, width = (
        int("".join(str(ids.digits.index(token)) for token in part))
        for part in (tokens[:star], tokens[star + 1 :])
    )
    return Grid(height, width)


def grids_in(ids: Ids, tokens: Sequence[int]) -> list[Grid]:
    """Return the sizes of all pictures in a prompt, in their order."""
    found = []
    for place, token in enumerate(tokens):
        if token == ids.picture_begin:
            end = tokens.index(ids.picture_sized, place)
            found.append(_read(ids, list(tokens[place + 1 : end])))
    return found


def grid_for(
    ids: Ids, unguided: Sequence[int], wanted: Grid | None, *, keep_last: bool
) -> Grid | None:
    """Return the size that a picture will have, None if the model chooses it.

    The wanted one, else that of the last picture shown; `keep_last` turns that round, as upstream
    has it where several are shown.
    """
    shown = grids_in(ids, unguided)
    last = shown[-1] if shown else None
    return (last or wanted) if keep_last else (wanted or last)


def codes_of(ids: Ids, tokens: Sequence[int]) -> list[list[int]]:
    """Return the codes of the last picture that was written, or begun, row by row."""
    start = len(tokens) - 1 - list(reversed(tokens)).index(ids.picture_sized)
    rows: list[list[int]] = [[]]
    for token in tokens[start + 1 :]:
        if token == ids.picture_end:
            break
        if token == ids.row_end:
            rows.append([])
        else:
            rows[-1].append(token - ids.visual)
    return rows
