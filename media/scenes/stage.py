"""What a scene is given: the frame, the palette, where the subject goes and what must stay calm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from media.colour import lightness, mixed, oklab, toned

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from media.pixels import Planes
    from media.scenes.subject import Subject

    Array = NDArray[Any]

_DARK = 0.42  # OKLab lightness below which a brand colour is a night colour
_LEAST_ROOM = 0.12  # of the frame: less is no place for a subject


@dataclass(frozen=True, slots=True)
class Colours:
    """The five colours of a brand, `#RRGGBB`."""

    primary: str
    secondary: str
    ink: str
    paper: str
    accent: str

    @property
    def deepest(self) -> str:
        """Return the darkest of the five."""
        return min(self.all, key=lightness)

    @property
    def all(self) -> tuple[str, ...]:
        """Return all five."""
        return (self.primary, self.secondary, self.ink, self.paper, self.accent)

    @property
    def nocturnal(self) -> bool:
        """Say whether the brand colour is that of a night sky: dark, and not warm."""
        level, _, b = oklab(self.primary)
        return level < _DARK and b < 0


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def x(self) -> float:
        """Middle, from left to right."""
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        """Middle, from top to bottom."""
        return (self.top + self.bottom) / 2


@dataclass(frozen=True, slots=True)
class Stage:
    """One shot's frame. `words` are what the prompt says, for scenes that know its things."""

    width: int
    height: int
    seconds: float
    colours: Colours
    focus: Area
    quiet: Area | None = None
    seed: int = 0
    subject: Subject | None = None
    words: frozenset[str] = field(default_factory=frozenset)

    @property
    def unit(self) -> float:
        """Return the length that looks like a thousandth of the frame, whatever its shape."""
        return math.sqrt(min(self.width, self.height) * math.sqrt(self.width * self.height)) / 1000

    @property
    def night(self) -> bool:
        """Say whether it is night in this film."""
        return self.colours.nocturnal or bool(self.words & _NIGHT)

    @property
    def dawn(self) -> bool:
        """Say whether the night is ending in this shot."""
        return self.night and bool(self.words & _DAWN)

    @property
    def train(self) -> bool:
        """Say whether a train belongs in the picture: one word alone could mean other things."""
        return len(self.words & _TRAIN) > 1 or bool(self.words & _SURELY_TRAIN)

    def random(self, salt: int = 0) -> np.random.Generator:
        """Return the shot's own random numbers."""
        return np.random.default_rng([self.seed, salt])


_NIGHT = frozenset({"night", "overnight", "nocturnal", "moon", "midnight", "nacht", "nuit"})
_DAWN = frozenset({"dawn", "daybreak"})
_TRAIN = frozenset({"train", "trains", "sleeper", "rail", "rails", "carriage", "track", "tracks"})
_SURELY_TRAIN = frozenset({"railway", "couchette", "zug", "nachtzug", "schlafwagen", "railcar"})


class Scene(Protocol):
    """A picture that moves. Everything still was drawn when the scene was made."""

    def paint(self, target: Planes, seconds: float) -> None:
        """Overwrite the whole target with the picture at a time."""


def free_area(width: int, height: int, quiet: Area | None) -> Area:
    """Return the largest part of a frame beside, above or below its quiet part.

    Where none is large enough the whole frame is returned.
    """
    if quiet is None:
        return Area(0, 0, width, height)
    parts = (
        Area(0, quiet.bottom, width, height),
        Area(0, 0, width, quiet.top),
        Area(quiet.right, 0, width, height),
        Area(0, 0, quiet.left, height),
    )
    best = max(parts, key=lambda part: part.width * part.height)
    large = best.width * best.height >= _LEAST_ROOM * width * height
    return best if large else Area(0, 0, width, height)


def calm(stage: Stage, soft: float = 0.06) -> Array:
    """Return 1 where type will stand and 0 elsewhere, with soft edges, (height, width) float."""
    if stage.quiet is None:
        return np.zeros((stage.height, stage.width), np.float32)
    edge = soft * (stage.width + stage.height) / 2
    x = np.arange(stage.width, dtype=np.float32) + 0.5
    y = np.arange(stage.height, dtype=np.float32) + 0.5
    q = stage.quiet
    across = np.clip((np.abs(x - q.x) - q.width / 2) / edge, 0, 1)
    along = np.clip((np.abs(y - q.y) - q.height / 2) / edge, 0, 1)
    far = np.clip(np.hypot(across[None, :], along[:, None]), 0, 1)
    return np.asarray(1 - far * far * (3 - 2 * far), np.float32)


def backdrop(colours: Colours) -> str:
    """Return the wall behind a product: paper, warmed by the brand's second colour."""
    return mixed(colours.paper, toned(colours.secondary, chroma=0.8), 0.20)
