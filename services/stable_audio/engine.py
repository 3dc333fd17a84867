"""What makes the music: one of Stable Audio's models here, or a server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bus.worker.model import Files, Report
    from contracts.requests import GenerateMusic
    from inference.steps import Steps
    from services.stable_audio.prompt import Prompt


class Music(NamedTuple):
    """`samples` is (channels, n) float, `rate` of them a second; `facts` is how it was made."""

    samples: NDArray[Any]
    rate: int
    facts: dict[str, str]


class Order(NamedTuple):
    """What is asked for, in words, and how the engine tells how far it is.

    `report` is for an engine that has no steps and only waits.
    """

    request: GenerateMusic
    prompt: Prompt
    steps: Steps
    report: Report
    files: Files


class Engine(Protocol):
    """Makes music from a prompt, at least as long as the request."""

    tagged: bool
    """Whether it knows the tags of the library."""

    def steps(self, seconds: float) -> int:
        """Return how many steps so much music takes."""

    def make(self, order: Order) -> Music:
        """Return the music. Every step is told to `order.steps`."""
