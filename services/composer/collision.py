"""Two things in one place: found from their ink boxes, before anything is encoded."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from contracts.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.composer.boxes import Box
    from services.composer.piece import Piece

_ROUNDING = 1.5  # px: baselines stand on whole pixels
_TOUCH = 0.06  # of the smaller type size that two boxes of one block may share: swashes, marks


class CollisionError(InvalidRequestError):
    """Two pieces of type overlap, or one leaves the safe area."""


def check(pieces: Sequence[Piece], safe: Box | None, where: str) -> None:
    """Raise CollisionError if type overlaps type, or stands outside the safe area (if given)."""
    type_pieces = [piece for piece in pieces if piece.words]
    for one, other in combinations(type_pieces, 2):
        slack = max(_ROUNDING, _TOUCH * min(one.size, other.size))
        if one.ink.grown(-slack).overlaps(other.ink.grown(-slack)):
            raise CollisionError(
                f"{where}: {one.words[:40]!r} and {other.words[:40]!r} overlap", field="work"
            )
    if safe is None:
        return
    for piece in type_pieces:
        # A hanging quote stands outside the box by design, by less than its own size.
        if not safe.contains(piece.ink, slack=2 + 0.02 * safe.width):
            raise CollisionError(
                f"{where}: {piece.words[:40]!r} leaves the safe area", field="work"
            )
