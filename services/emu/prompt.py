"""What Emu3.5 is told: the system line, the user's words, and the pictures to look at, as tokens.

    begin "You are a helpful assistant for t2i task. USER: a red bottle ASSISTANT: " answer

Guidance compares with the same line without the task and the words, but with the pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from services.emu.vocabulary import ANSWER, BEGIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.emu.vocabulary import Ids, Vocabulary

Task = Literal["t2i", "x2i"]
Codes = list[list[int]]
"""A picture's codes, row by row."""


class Grid(NamedTuple):
    """A picture's size in tokens."""

    height: int
    width: int

    @property
    def tokens(self) -> int:
        """How many tokens it takes from its begin to its end, both included."""
        sized = len(str(self.height)) + 1 + len(str(self.width)) + 1
        return 1 + sized + self.height * self.width + self.height


class Prompt(NamedTuple):
    """The ids to go on from, and those that guidance goes on from."""

    ids: list[int]
    unguided: list[int]


def prompt_of(
    vocabulary: Vocabulary, text: str, task: Task, pictures: Sequence[Codes] = ()
) -> Prompt:
    """Return the prompt of a task. `t2i` shows the pictures after the words, `x2i` before them."""
    shown = [picture_ids(vocabulary.ids, codes) for codes in pictures]
    tokens = [token for picture in shown for token in picture]
    begin, answer = vocabulary.special[BEGIN], vocabulary.special[ANSWER]
    opening = f"You are a helpful assistant for {task} task. USER: "
    ending = " ASSISTANT: "
    # Words that touch are tokens together, so that only a picture or an end parts them.
    if not tokens:
        said = vocabulary.encode(f"{opening}{text}{ending}")
    elif task == "x2i":
        said = vocabulary.encode(opening) + tokens + vocabulary.encode(f"{text}{ending}")
    else:
        said = vocabulary.encode(f"{opening}{text}") + tokens + vocabulary.encode(ending)
    bare = "You are a helpful assistant. USER: "
    if tokens:
        unguided = vocabulary.encode(bare) + tokens + vocabulary.encode(ending)
    else:
        unguided = vocabulary.encode(f"{bare}{ending}")
    return Prompt([begin, *said, answer], [begin, *unguided, answer])


def picture_ids(ids: Ids, codes: Codes) -> list[int]:
    """Return a picture as tokens: begin, size, rows with an end between two, end."""
    rows = [[ids.visual + code for code in row] for row in codes]
    written = rows[0] + [token for row in rows[1:] for token in (ids.row_end, *row)]
    sized = size_ids(ids, Grid(len(codes), len(codes[0])))
    return [ids.picture_begin, *sized, *written, ids.picture_end]


def size_ids(ids: Ids, grid: Grid) -> list[int]:
    """Return a size as it stands before a picture's rows, with the token that closes it."""
    height = [ids.digits[int(digit)] for digit in str(grid.height)]
    width = [ids.digits[int(digit)] for digit in str(grid.width)]
    return [*height, ids.star, *width, ids.picture_sized]
