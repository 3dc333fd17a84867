"""Five minutes of film on tiny weights: killed and begun again, in memory that does not grow.

ADGENX_LONG=1 kills ten times and not once: every start of a process with torch takes seconds.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: LongCat-Video: pip install '.[models]'")
from longcat_chain import Keeper, service_in, weights_in

from bus.worker import process
from bus.worker.folder import ServiceFolder
from bus.worker.frames import Checkpoint, RunJob, Ticked
from bus.worker.model import Media
from bus.worker.process import ModelProcess
from contracts.errors import ChildLostError
from contracts.requests import GenerateVideo
from inference import inputs

pytestmark = pytest.mark.models

KILLS = 10 if os.environ.get("ADGENX_LONG") else 1
WIDTH, HEIGHT, FPS = 64, 32, 1
FRAMES = 300 * FPS
REQUEST = GenerateVideo(
    prompt="a river from its spring to the sea", width=WIDTH, height=HEIGHT, seconds=300, fps=FPS
)
LINKS = 15


def resident_kib(pid: int) -> int:
    """What a process has in memory now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


class Watched:
    """A child in its process: what it takes of memory at each segment, and who ends it when."""

    def __init__(self, service: ServiceFolder, models: Path, keeper: Keeper) -> None:
        self._service = service
        # What is freed is given back at once, so that what is resident is what is held.
        freely = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        self._told = {"ADGENX_MODELS_DIR": str(models), "OMP_NUM_THREADS": "1", **freely}
        self._keeper = keeper
        self._doomed_at = 0
        self._child: ModelProcess | None = None
        self.resident_kib: list[int] = []
        self.ticks: list[Ticked] = []

    async def run(self, scratch: Path, doomed_at: int = 0) -> list[Media]:
        """Run the job in a fresh process; kill it at a step, if there is one to die at."""
        self._doomed_at, self.resident_kib, self.ticks = doomed_at, [], []
        self._child = await process.start(self._service, environment=self._told)
        job = RunJob(job_id="j1", request=REQUEST, inputs={}, scratch=str(scratch))
        try:
            return await self._child.run(job, self._tick, None, self._point)
        finally:
            await self._child.end()

    def _tick(self, tick: Ticked) -> None:
        self.ticks.append(tick)
        if self._child and self._doomed_at and tick.done >= self._doomed_at:
            os.kill(self._child.pid, signal.SIGKILL)

    async def _point(self, point: Checkpoint) -> list[Media]:
        assert self._child is not None
        if point.media:
            self.resident_kib.append(resident_kib(self._child.pid))
        return await self._keeper.answer(point)


@pytest.mark.timeout(600)
async def test_five_minutes_survive_being_killed_in_memory_that_does_not_grow(
    tmp_path: Path,
) -> None:
    service = service_in(tmp_path / "services")
    models = weights_in(tmp_path / "models", service)
    keeper = Keeper(tmp_path / "kept")
    watched = Watched(service, models, keeper)
    dice = random.Random(11)  # noqa: S311 - no secret
    steps = 2 * LINKS
    # All but the first run find what was made, and so come to their end later and later.
    for number, at in enumerate(sorted(dice.sample(range(2, steps // 2), KILLS))):
        with pytest.raises(ChildLostError, match="SIGKILL"):
            await watched.run(tmp_path / f"killed{number}", doomed_at=at)
    made = await watched.run(tmp_path / "last")
    assert len(inputs.read_film(made[0].path, most_frames=FRAMES).frames) == FRAMES
    assert made[0].seconds == 300.0
    # A segment in hand when the process died has left nothing: what was kept was rendered once.
    assert Counter(keeper.renders) == Counter(dict.fromkeys(keeper.keys, 1))
    assert len(keeper.keys) == LINKS
    shares = [tick.done / tick.total for tick in watched.ticks]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {tick.total for tick in watched.ticks} == {steps + 1}
    resident = watched.resident_kib[1:]  # the first has what the libraries make at their first use
    assert len(resident) >= LINKS / 3
    film_kib = WIDTH * HEIGHT * 3 * 20 * len(resident) / 1024
    assert max(resident) - resident[0] < film_kib / 2, "the frames of what is done are not held"
