"""Emu3.5's tokens: Qwen2's pre-tokenisation, byte pairs by rank, and the special ones after them.

The vocabulary lies in two files: `*.tiktoken`, a line `base64 rank` for each ordinary token, and
`*vision_tokens.txt`, a line for each special token beyond those that are the same in every release.
Nothing of it is remote code.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from bus.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Qwen2's: contractions, words with what stands before them, single digits, signs, line ends, gaps.
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_EXTRAS = 205
_FIXED = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *(f"<|extra_{n}|>" for n in range(_EXTRAS)),
)

PADDING = "<|endoftext|>"
BEGIN = "<|extra_203|>"
END = "<|extra_204|>"
ANSWER = "<|extra_100|>"
ROW_END = "<|extra_200|>"
PICTURE_BEGIN = "<|image start|>"
PICTURE_SIZED = "<|image token|>"
PICTURE_END = "<|image end|>"
_FIRST_VISUAL = "<|visual token 000000|>"


class Ids(NamedTuple):
    """The ids of the tokens that have a part in the writing of a picture.

    `digits` are those of "0" to "9"; a visual token's id is `visual` + its code.
    """

    begin: int
    end: int
    padding: int
    row_end: int
    picture_begin: int
    picture_sized: int
    picture_end: int
    star: int
    digits: tuple[int, ...]
    visual: int


class Vocabulary:
    """Text to ids and back. A special token is one where the program puts it, never in a text."""

    def __init__(self, ranks: dict[bytes, int], special: Iterable[str]) -> None:
        """Give each token its number; `special` are the ones of the second file, in its order."""
        import tiktoken

        names = (*_FIXED, *special)
        self.special = {name: len(ranks) + n for n, name in enumerate(names)}
        self._encoding = tiktoken.Encoding(
            "emu3.5", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=self.special
        )
        digits = tuple(self._one(str(n)) for n in range(10))
        self.ids = Ids(
            begin=self._special(BEGIN),
            end=self._special(END),
            padding=self._special(PADDING),
            row_end=self._special(ROW_END),
            picture_begin=self._special(PICTURE_BEGIN),
            picture_sized=self._special(PICTURE_SIZED),
            picture_end=self._special(PICTURE_END),
            star=self._one("*"),
            digits=digits,
            visual=self._special(_FIRST_VISUAL),
        )

    @property
    def size(self) -> int:
        """How many ids there are."""
        return int(self._encoding.n_vocab)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; what looks like a special token is text like any other."""
        return list(self._encoding.encode_ordinary(unicodedata.normalize("NFC", text)))

    def encode_marked(self, text: str) -> list[int]:
        """Return the ids of a text in which special tokens are meant as such. Never a user's."""
        normal = unicodedata.normalize("NFC", text)
        return list(self._encoding.encode(normal, allowed_special="all"))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens by their names."""
        return str(self._encoding.decode(list(ids)))

    def _one(self, text: str) -> int:
        found = self._encoding.encode_ordinary(text)
        if len(found) != 1:
            raise WeightsError(f"the vocabulary has no token of its own for {text!r}")
        return int(found[0])

    def _special(self, name: str) -> int:
        if name not in self.special:
            raise WeightsError(f"the vocabulary lacks {name}")
        return self.special[name]


def read(folder: Path) -> Vocabulary:
    """Return the vocabulary of a folder; raises WeightsError for files that lack or are damaged."""
    try:
        ranks = _ranks(_only(folder, "*.tiktoken"))
        special = _only(folder, "*vision_tokens.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder.name}: the vocabulary cannot be read: {error}") from error
    return Vocabulary(ranks, [name for name in special if name])


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise WeightsError(f"{folder.name} has {len(found)} files {pattern}, not one")
    return found[0]


def _ranks(path: Path) -> dict[bytes, int]:
    """Read the ranks here: tiktoken's own reader keeps a copy where anybody may write."""
    ranks = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        token, _, rank = line.partition(b" ")
        try:
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from None
    return ranks
