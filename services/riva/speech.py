"""What a speech server is to us, however it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Tick = Callable[[], None]
"""Called while an answer is awaited; raises once nobody wants it any more."""


class Voice(NamedTuple):
    """One voice: its name as the server has it, and the locale that it speaks (`en-US`)."""

    name: str
    locale: str


class SaidWord(NamedTuple):
    """A word as the server says that it spoke it, in milliseconds of its sound."""

    text: str
    start_ms: int
    end_ms: int


class Utterance(NamedTuple):
    """One text as it was spoken: (n,) mono samples in -1..1, and its words where they are told."""

    samples: NDArray[np.float32]
    hertz: int
    words: list[SaidWord]


class Speech(Protocol):
    """A server of voices. Every method raises ProviderErrors, and InvalidRequestError."""

    def check(self) -> None:
        """Return if the server is ready to speak."""

    def voices(self) -> list[Voice]:
        """Return the voices that there are."""

    def speak(self, text: str, voice: Voice, tick: Tick) -> Utterance:
        """Return a text, no longer than the server takes, as speech."""
