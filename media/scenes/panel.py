"""A deep panel for figures: one tone, a soft bar of light that wanders, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from media.colour import lightness, mixed, toned
from media.pixels import Planes, mix
from media.scenes import ground
from media.scenes.motion import drift, ease_out, sway

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from media.scenes.stage import Stage

_EMPTY = 0.24  # of the frame's height below the figures: more wants a quiet motif
_RINGS = 5
_STEPS = 0.5  # table entries per pixel; the bar is soft


class Panel:
    """The brand's accent (its deepest usable tone), lit from the side through a moving gap."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        base = panel_colour(stage)
        picture = ground.vertical(
            stage, [(0, toned(base, lightness=0.012)), (1, toned(base, lightness=-0.03))]
        )
        ground.vignette(picture, stage, 0.30)
        self._ground = ground.finish(picture, stage)
        bright = ground.vertical(
            stage, [(0, toned(base, lightness=0.085)), (1, toned(base, lightness=0.035))]
        )
        self._bright = ground.finish(bright, stage)
        y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32)
        self._reach = float(stage.width + 0.45 * stage.height)
        self._profile = ground.Profile(x + 0.45 * (stage.height - y), _STEPS)
        self._rings = self._ripples()

    def paint(self, target: Planes, seconds: float) -> None:
        """Draw the bar where it is by now."""
        target.fill_from(self._ground)
        t = drift(seconds, self._stage.seconds)
        at = self._profile.at / self._reach
        table = 0.75 * np.exp(-(((at - 0.50 - 0.14 * t) / 0.105) ** 2))
        table += 0.45 * np.exp(-(((at - 0.82 - 0.20 * t) / 0.040) ** 2))
        mix(target, self._bright, self._profile.mask(np.clip(table, 0, 1)))
        if self._rings is not None:
            profile, reach = self._rings
            mix(target, self._bright, profile.mask(_lines(profile.at / reach, seconds)))

    def _ripples(self) -> tuple[ground.Profile, float] | None:
        """Return distances for wide rings, and how far they reach, where a frame is left empty."""
        stage = self._stage
        if stage.quiet is None or stage.height - stage.quiet.bottom < _EMPTY * stage.height:
            return None
        reach = stage.height - stage.quiet.bottom
        y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32) + 0.5
        middle = (0.70 * stage.width, stage.height - 0.40 * reach)
        far = np.hypot(x - middle[0], y - middle[1])
        return ground.Profile(far, 4.0), 1.55 * reach


def _lines(at: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Return rings over distances, 0 to 1 within their reach: they open, fainter to the outside."""
    grown = 0.72 + 0.28 * ease_out(seconds / 1.6) + 0.012 * sway(seconds, 5.0)
    table = np.zeros_like(at)
    for n in range(1, _RINGS + 1):
        radius, half = n / (_RINGS + 0.5) * grown, 0.26 / (_RINGS + 0.5)
        edge = np.clip((half - np.abs(at - radius)) * 90 + 0.5, 0, 1)
        table = np.maximum(table, edge * 0.80 * (1 - (n - 1) / _RINGS))
    core = np.clip((0.55 / (_RINGS + 0.5) * grown - at) * 90 + 0.5, 0, 1)
    return np.asarray(np.maximum(table, 0.9 * core))


def panel_colour(stage: Stage) -> str:
    """Return a tone on which light figures stand: the accent if deep enough, else made deep."""
    c = stage.colours
    deep = [x for x in (c.accent, c.primary) if lightness(x) < 0.45]  # noqa: PLR2004 - deep
    return deep[0] if deep else mixed(c.accent, c.deepest, 0.55)
