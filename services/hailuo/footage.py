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
        self._count = 0
        try:
            self.fps = decode.rate(path)
            for planes in decode.frames(path):
                self._count += 1
                self.width, self.height = planes.width, planes.height
        except (decode.VideoUnreadableError, ValueError, ZeroDivisionError) as error:
            raise ProviderRefusedError(f"what came is no film: {error}") from None
        if not self._count or not self.fps > 0:
            raise ProviderRefusedError("what came is a film without pictures")
        self._reading: Iterator[Planes] = decode.frames(path)
        self._next = 0
        self._picture: NDArray[Any] = np.zeros((0, 0, 3), np.uint8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Return one picture; to go back is to begin the film again."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        if number < self._next - 1:
            self._reading, self._next = decode.frames(self._path), 0
        while self._next <= number:
            planes = next(self._reading)
            self._next += 1
            if self._next > number:
                self._picture = planes.to_bgr()[..., ::-1]
        return self._picture
