"""What every model keeps, written once. A service's own test module may inherit it.

class TestMine(ModelSuite):
    @pytest.fixture(params=[...])
    def service(self, request): ...      # a ServiceFolder
    @pytest.fixture
    def sample(self): ...                # a Sample
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from decoding import read_whole
from samples import FILES, SAMPLES, Sample

from bus.worker import process
from bus.worker.folder import ServiceFolder
from bus.worker.frames import Keep, RunJob, Ticked
from bus.worker.model import Media
from bus.worker.process import ModelProcess
from contracts.errors import InvalidInputError, JobCancelledError
from contracts.requests import Request


class Runner:
    """A loaded model in its process, and a fresh scratch folder for every run.

    `notes` are those that the model keeps of paid work; they begin empty with every new job.
    """

    def __init__(self, model: ModelProcess, folder: Path) -> None:
        self.model = model
        self.ticks: list[Ticked] = []
        self.notes: dict[str, str] = {}
        self._folder = folder

    async def keep(self, note: Keep) -> str:
        """Keep a note as the worker does: the first one of a name is the one."""
        if note.body:
            return self.notes.setdefault(note.name, note.body)
        return self.notes.get(note.name, "")

    async def run(
        self, request: Request, *, cancelled: bool = False, again: bool = False
    ) -> list[Media]:
        """Run once; `cancelled` at once, before its first step; `again` is the same job's next."""
        scratch = self._folder / secrets.token_hex(4)
        scratch.mkdir()
        inputs = {sha256: str(self._folder / sha256) for sha256 in FILES}
        for sha256, body in FILES.items():
            (self._folder / sha256).write_bytes(body)
        self.ticks = []
        self.notes = self.notes if again else {}
        job = RunJob(job_id="j1", request=request, inputs=inputs, scratch=str(scratch))
        if not cancelled:
            return await self.model.run(job, self.ticks.append, self.keep)
        os.kill(self.model.pid, signal.SIGSTOP)  # until job and cancel are both in the pipe
        work = asyncio.create_task(self.model.run(job, self.ticks.append, self.keep))
        await asyncio.sleep(0)
        self.model.cancel()
        os.kill(self.model.pid, signal.SIGCONT)
        return await work


def digests(made: list[Media]) -> dict[str, str]:
    """Return the hash of every output by its name."""
    return {m.name: hashlib.sha256(m.path.read_bytes()).hexdigest() for m in made}


class ModelSuite:
    """Promises of a model to its worker, each kept through the real pipe."""

    @pytest.fixture
    def sample(self, service: ServiceFolder) -> Sample:
        return SAMPLES[service.manifest.capabilities[0]]

    @pytest.fixture
    async def runner(self, service: ServiceFolder, tmp_path: Path) -> AsyncIterator[Runner]:
        model = await process.start(service)
        yield Runner(model, tmp_path)
        await model.end()

    async def test_makes_media_and_tells_how_far_it_is(
        self, runner: Runner, sample: Sample
    ) -> None:
        made = await runner.run(sample.good)
        assert made
        for media in made:
            assert media.name
            read_whole(media)
        assert runner.ticks, "a model that never reports cannot be cancelled"
        shares = [tick.done / tick.total for tick in runner.ticks]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0

    async def test_the_same_request_makes_the_same_bytes(
        self, runner: Runner, sample: Sample
    ) -> None:
        first = digests(await runner.run(sample.good))
        assert digests(await runner.run(sample.good)) == first

    async def test_a_cancelled_run_stops_and_the_next_one_works(
        self, runner: Runner, sample: Sample
    ) -> None:
        with pytest.raises(JobCancelledError):
            await runner.run(sample.good, cancelled=True)
        assert len(runner.ticks) <= 1, "it went on after it was cancelled"
        assert runner.model.usable, "it had to be killed"
        assert await runner.run(sample.good)

    async def test_a_bad_request_is_refused_before_any_work(
        self, runner: Runner, sample: Sample
    ) -> None:
        with pytest.raises(InvalidInputError) as caught:
            await runner.run(sample.bad)
        assert caught.value.field, "it names the field"
        assert all(tick.done == 0 for tick in runner.ticks)
        assert await runner.run(sample.good), "the same process makes the next one"
