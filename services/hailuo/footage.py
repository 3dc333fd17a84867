"""A film on the disk as a sequence of pictures, decoded as they are asked for, in order.

Fifteen seconds in 2K are four gigabytes of pictures: they are never all there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import ProviderRefusedError
from media import decode
from media.pixels import Planes


class Footage:
    """The pictures of a film, (h, w, 3) RGB uint8 each; `fps` of them a second."""

    def __init__(self, path: Path) -> None:
        """Count the pictures; raises ProviderRefusedError for a file that is no film."""
        self._path = path
        try:
            self.fps = decode.rate(path)
            first = next(decode.frames(path), None)
            self._count = sum(1 for _ in decode.frames(path))
        except (decode.VideoUnreadableError, ValueError) as error:
            raise ProviderRefusedError(f"what came is no film: {error}") from None
        if first is None or not self.fps > 0:
            raise ProviderRefusedError("what came is a film without pictures")
        self.height, self.width = first[0].shape
        self._reading: Iterator[Planes] = iter(())
        self._at = -1
        self._picture: NDArray[Any] = np.zeros((0, 0, 3), np.uint8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> NDArray[Any]:
        if not 0 <= number < self._count:
            raise IndexError(number)
        if self._at < 0 or number < self._at:
            self._reading, self._at = decode.frames(self._path, number), number - 1
        while self._at < number:
            planes = next(self._reading)
            self._at += 1
        if number != getattr(self, "_shown", -1):
            self._picture, self._shown = planes.to_bgr()[..., ::-1], number
        return self._picture
