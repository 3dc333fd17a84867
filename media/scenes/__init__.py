"""Textless scenes: a frame, a palette and boxes in, moving pictures out.

`build` makes the scene that a stage asks for by name; drawing a frame of it is then cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from media.scenes.disc import ProductDisc, ServiceDisc
from media.scenes.horizon import Horizon
from media.scenes.interior import Interior
from media.scenes.panel import Panel
from media.scenes.pour import Pour
from media.scenes.rails import Rails
from media.scenes.rings import Rings
from media.scenes.set import Studio, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from media.scenes.stage import Scene, Stage


def _studio(stage: Stage) -> Scene:
    return ServiceDisc(stage) if stage.subject is None else Studio(stage, stage.subject)


def _table(stage: Stage) -> Scene:
    return Table(stage, stage.subject)


def _disc(stage: Stage) -> Scene:
    return ServiceDisc(stage) if stage.subject is None else ProductDisc(stage, stage.subject)


SCENES: dict[str, Callable[[Stage], Scene]] = {
    "rings": Rings,
    "horizon": Horizon,
    "train": lambda stage: Horizon(stage, train=True),
    "studio": _studio,
    "table": _table,
    "panel": Panel,
    "disc": _disc,
    "rails": Rails,
    "interior": Interior,
    "pour": Pour,
}
"""Every scene by the name that an art direction uses."""


def build(name: str, stage: Stage) -> Scene:
    """Make a scene; KeyError for a name that is not in SCENES."""
    return SCENES[name](stage)
