"""A deep panel for figures: one tone, a soft bar of light that wanders, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from media.colour import lightness, mixed, toned
from media.pixels import Planes, mix
from media.scenes import ground
from media.scenes.motion import drift

if TYPE_CHECKING:
    from media.scenes.stage import Stage

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

    def paint(self, target: Planes, seconds: float) -> None:
        """Draw the bar where it is by now."""
        target.fill_from(self._ground)
        t = drift(seconds, self._stage.seconds)
        at = self._profile.at / self._reach
        table = 0.75 * np.exp(-(((at - 0.50 - 0.14 * t) / 0.105) ** 2))
        table += 0.45 * np.exp(-(((at - 0.82 - 0.20 * t) / 0.040) ** 2))
        mix(target, self._bright, self._profile.mask(np.clip(table, 0, 1)))


def panel_colour(stage: Stage) -> str:
    """Return a tone on which light figures stand: the accent if deep enough, else made deep."""
    c = stage.colours
    deep = [x for x in (c.accent, c.primary) if lightness(x) < 0.45]  # noqa: PLR2004 - deep
    return deep[0] if deep else mixed(c.accent, c.deepest, 0.55)
