"""Films as CPU-seconds per second of film, against the bare encoder in the same run.

Paints the plates and composes one film per ratio through the services' own models, in this process
and its forks, without the bus: what a film costs, not what waiting costs.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.film_requests import Kitchen, RATIOS

SECONDS = 15.0


class Cost(msgspec.Struct, frozen=True):
    """Wall and CPU seconds of a piece of work, its forks included."""

    wall: float
    cpu: float


def cost_of(work: Callable[[], object]) -> Cost:
    """Run the work and return what it cost."""
    before, began = _cpu(), time.perf_counter()
    work()
    return Cost(time.perf_counter() - began, _cpu() - before)


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> str:
    """Return a table with a row per ratio."""
    lines = [
        f"### Films, {SECONDS:.0f} s at 30 fps, full size",
        "",
        "| ratio | plates CPU s | compose CPU s | bare encoder CPU s | CPU s per s of film "
        "| ratio to encoder | wall s | x real time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        kitchen = Kitchen(Path(folder), SECONDS)
        for ratio in RATIOS:
            plates = cost_of(lambda: kitchen.paint(ratio))  # noqa: B023 - called at once
            film = cost_of(lambda: kitchen.compose(ratio))  # noqa: B023 - called at once
            bare = cost_of(lambda: kitchen.encode_again(ratio))  # noqa: B023 - called at once
            cpu, wall = plates.cpu + film.cpu, plates.wall + film.wall
            lines.append(
                f"| {ratio} | {plates.cpu:.1f} | {film.cpu:.1f} | {bare.cpu:.1f} | "
                f"{cpu / SECONDS:.2f} | {cpu / bare.cpu:.2f} | {wall:.1f} | {SECONDS / wall:.2f} |"
            )
    return "\n".join(lines)
