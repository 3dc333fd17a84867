"""Which shots a film has, by its length and by what the brief can fill."""

from __future__ import annotations

import msgspec

from contracts.brief import Brief, named_shots
from contracts.script import ShotKind

KINDS = {
    "hook": ShotKind.HOOK,
    "tension": ShotKind.STATEMENT,
    "promise": ShotKind.STATEMENT,
    "product": ShotKind.PRODUCT,
    "detail": ShotKind.PRODUCT,
    "proof": ShotKind.STATS,
    "life": ShotKind.STATEMENT,
    "moment": ShotKind.STATEMENT,
    "offer": ShotKind.STATEMENT,
    "end": ShotKind.END,
}
"""Every shot by name, in the order of the film. Figures follow `detail`; breaths lie between."""

_IMPORTANCE = (
    "hook",
    "end",
    "product",
    "promise",
    "proof",
    "life",
    "tension",
    "offer",
    "detail",
    "moment",
)
_BREATH_AFTER = ("promise", "detail", "life", "tension", "proof", "moment", "hook", "product")
FIGURE, BREATH = "figure", "breath"
_FIGURES_FROM = 2
"""With one fact, a shot of its own would only say what the proof says."""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What the brief can fill: its figures, whether it has an offer, shots set by hand."""

    figures: int
    has_offer: bool
    by_hand: list[str]


def by_hand(brief: Brief) -> list[str]:
    """Return the shots that the brief names and that can be filled: a film must have them first."""
    named = set(named_shots(brief))
    named -= set() if brief.product.facts else {"proof"}
    named -= set() if brief.offer else {"offer"}
    return [name for name in KINDS if name in brief.headlines or name in named]


def kind_of(name: str) -> ShotKind:
    """Return the typographic template of a shot."""
    if name.startswith(FIGURE):
        return ShotKind.STATS
    return ShotKind.STATEMENT if name.startswith(BREATH) else KINDS[name]


def importance(board: Board) -> list[str]:
    """Return the shots that can be filled, those first that a short film must have."""
    order = list(dict.fromkeys(["hook", "end", *board.by_hand, *_IMPORTANCE]))
    missing = set() if board.figures or "proof" in board.by_hand else {"proof"}
    missing |= set() if board.has_offer or "offer" in board.by_hand else {"offer"}
    figures = board.figures if board.figures >= _FIGURES_FROM else 0
    return [n for n in order if n not in missing] + [f"{FIGURE}{i + 1}" for i in range(figures)]


def storyboard(count: int, board: Board) -> list[str]:
    """Return the names of `count` shots in the film's order.

    A film longer than its words has wordless shots: pictures and music, never filler.
    """
    chosen = set(importance(board)[:count])
    figures = sorted((n for n in chosen if n.startswith(FIGURE)), key=lambda n: int(n[6:]))
    shots = []
    for name in KINDS:
        shots += [name] if name in chosen else []
        shots += figures if name == "detail" else []
    after = [name for name in _BREATH_AFTER if name in chosen] + figures
    for number in range(count - len(shots)):
        anchor = shots.index(after[number % len(after)])
        shots.insert(anchor + 1, f"{BREATH}{number + 1}")
    return shots
