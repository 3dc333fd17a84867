"""How type moves: every layer of a shot at a given moment, laid over the picture in YUV.

Nothing is drawn here. Sprites are made once; a frame only blits the rectangles they cover, masked
where a line rises out of its own baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from media.pixels import Sprite, lay

if TYPE_CHECKING:
    from media.pixels import Planes
    from services.composer.piece import Piece

STAGGER = 0.12
"""Seconds between one line and the next."""

_REVEAL, _FADE, _GROW = 0.75, 0.45, 0.9
_SETTLED = 0.002


class Motion(StrEnum):
    """How a layer comes in."""

    REVEAL = "reveal"
    FADE = "fade"
    GROW = "grow"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Layer:
    """A piece that comes in at `enter` seconds of its shot and leaves at `leave`.

    GROW starts at the right edge where `backwards` is set (right-to-left layouts).
    """

    piece: Piece
    motion: Motion
    enter: float
    leave: float = math.inf
    backwards: bool = False


def expo(share: float) -> float:
    """Ease out exponentially: 0 to 1, fast at first."""
    if share >= 1:
        return 1.0
    return 0.0 if share <= 0 else 1 - 2 ** (-10 * share)


@dataclass(slots=True)
class Stage:
    """The layers of one shot, ready to be blitted in their order."""

    layers: list[Layer]
    _sprites: dict[int, Sprite] = field(default_factory=dict)

    def draw(self, picture: Planes, moment: float) -> None:
        """Lay every layer over `picture` as it stands `moment` seconds into the shot."""
        for layer in self.layers:
            if layer.enter <= moment < layer.leave:
                self._lay(picture, layer, moment - layer.enter)

    def settle(self, picture: Planes) -> None:
        """Lay every layer over `picture` as it stands when all have come in and none has left."""
        for layer in self.layers:
            if layer.leave == math.inf:
                self._lay(picture, layer, math.inf)

    def prepare(self) -> None:
        """Make every sprite now, so that forked workers share them."""
        for layer in self.layers:
            self._sprite(layer.piece)

    def _sprite(self, piece: Piece) -> Sprite:
        key = id(piece)
        if key not in self._sprites:
            self._sprites[key] = Sprite.from_bgra(piece.pixels, premultiplied=True)
        return self._sprites[key]

    def _lay(self, picture: Planes, layer: Layer, age: float) -> None:
        piece, sprite = layer.piece, self._sprite(layer.piece)
        if layer.motion is Motion.REVEAL:
            rest = 1 - expo(age / _REVEAL)
            if rest > _SETTLED:
                self._masked(picture, piece, sprite, rest)
                return
        elif layer.motion is Motion.GROW:
            share = expo(age / _GROW)
            if share < 1 - _SETTLED:
                self._partly(picture, layer, sprite, share)
                return
        elif layer.motion is Motion.FADE and age < _FADE:
            share = age / _FADE
            rise = 0.5 * piece.size * (1 - expo(share))
            lay(picture, sprite, piece.x, piece.y + round(rise), share * (2 - share))
            return
        lay(picture, sprite, piece.x, piece.y)

    def _masked(self, picture: Planes, piece: Piece, sprite: Sprite, rest: float) -> None:
        """Lay a rising line; it is only seen inside the box it will fill."""
        rows, columns = piece.pixels.shape[:2]
        left, top = max(0, piece.x - 2) & ~1, max(0, piece.y - 2) & ~1
        right = min(picture.width, piece.x + columns + 3) & ~1
        bottom = min(picture.height, piece.y + rows + 3) & ~1
        if right <= left or bottom <= top:
            return
        window = picture.window(left, top, right - left, bottom - top)
        drop = rest * (rows + 2)
        lay(window, sprite, piece.x - left, piece.y - top + drop)

    def _partly(self, picture: Planes, layer: Layer, sprite: Sprite, share: float) -> None:
        """Lay the first share of a hairline."""
        piece = layer.piece
        rows, columns = piece.pixels.shape[:2]
        shown = int(columns * share) & ~1
        left = piece.x + (columns - shown if layer.backwards else 0)
        x0, x1 = max(0, left) & ~1, min(picture.width, left + shown) & ~1
        y0, y1 = max(0, piece.y) & ~1, min(picture.height, piece.y + rows + 1 + 1) & ~1
        if x1 <= x0 or y1 <= y0:
            return
        lay(picture.window(x0, y0, x1 - x0, y1 - y0), sprite, piece.x - x0, piece.y - y0)
