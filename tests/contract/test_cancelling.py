"""Cancelled at any of its reports an engine stops there, leaves nothing behind, and works again.

Here the engines run in this process, so that the moment of the cancel is exact. The requests are
those of a small campaign, cooked up to its film.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import msgspec
import pytest
from decoding import read_whole

from bench.kitchen import Kitchen, draft_model
from bus.worker.model import Media
from contracts.artifacts import ArtifactRef
from contracts.brief import Brief
from contracts.campaign import Step
from contracts.errors import JobCancelledError
from contracts.requests import Request
from services.cli.brief_file import parse
from services.coordinator.wiring import request_of, resolve

pytestmark = pytest.mark.contract

KESTREL = Path(__file__).parents[2] / "examples" / "kestrel.yaml"
SHOTS = "video.end", "image.product~display"
STEPS = ("script", "label", "mesh", "music", "speech", *SHOTS, "film", "still", "package")
"""One step of every kind that the plan knows, by the beginning of its name."""


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    brief = parse(KESTREL.read_bytes())
    assert isinstance(brief, Brief)
    small = msgspec.structs.replace(
        brief, scale=0.1, length_seconds=6.0, placements=["instagram_reel", "display_300x250"]
    )
    made = Kitchen(tmp_path_factory.mktemp("kitchen"), small)
    for step in made.plan.steps:
        made.with_needs(step)
    return made


class Work:
    """One step, run as often as one likes, each time cancelled at the nth report or not at all."""

    def __init__(self, kitchen: Kitchen, step: Step, folder: Path) -> None:
        self._kitchen = kitchen
        self._folders = (folder / str(n) for n in itertools.count())
        self._made = kitchen.outputs[step.name]
        self._request: Request = request_of(
            resolve(step.request, lambda s, n: kitchen.outputs[s][n], lambda _: True)
        )
        self._model = draft_model(step.capability)
        self.reports: list[float] = []

    def path(self, ref: ArtifactRef) -> Path:
        """Return an input, as the worker's files do."""
        step, name = next(
            (step, name)
            for step, outputs in self._kitchen.outputs.items()
            for name, known in outputs.items()
            if known.sha256 == ref.sha256
        )
        return self._kitchen.file(step, name)

    def new(self, suffix: str) -> Path:
        """Return a fresh path, as the worker's files do."""
        return self._folder / f"{next(self._numbers)}{suffix}"

    def run(self, cancelled_at: int | None = None) -> list[Media]:
        self._folder = next(self._folders)
        self._folder.mkdir()
        self._numbers = itertools.count()
        self.reports = []

        def report(done: int, total: int, _phase: str) -> None:
            self.reports.append(done / total)
            if len(self.reports) - 1 == cancelled_at:
                raise JobCancelledError("the job was cancelled")

        return list(self._model.run(self._request, report, self))

    @property
    def first(self) -> dict[str, str]:
        """Hashes of what the kitchen's own instance of the engine has made of it."""
        return {name: ref.sha256 for name, ref in self._made.items()}


def hashes(made: list[Media]) -> dict[str, str]:
    return {m.name: hashlib.sha256(m.path.read_bytes()).hexdigest() for m in made}


def children() -> set[str]:
    """Return the processes that this one has started and not yet seen the end of."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


@pytest.fixture(params=STEPS)
def work(request: pytest.FixtureRequest, kitchen: Kitchen, tmp_path: Path) -> Work:
    return Work(kitchen, kitchen.steps(request.param)[0], tmp_path)


def test_a_cancelled_run_stops_at_that_report_and_the_next_makes_the_same_bytes(
    work: Work,
) -> None:
    made = work.run()
    for media in made:
        read_whole(media)
    assert hashes(made) == work.first, "another instance, the same bytes"
    shares = work.reports
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    before = children()
    for moment in sorted({0, len(shares) // 2, len(shares) - 1}):
        with pytest.raises(JobCancelledError):
            work.run(cancelled_at=moment)
        assert work.reports == shares[: moment + 1], "it went on after it was cancelled"
        assert children() <= before, "it left a process behind"
    assert hashes(work.run()) == work.first
