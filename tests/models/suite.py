"""What every service with weights keeps, on tiny ones of its own classes. Inherit it:

class TestSchnell(WeightsSuite):
    name = "flux_schnell"                             # the service; its folder is found by it
    weights = {"": flux.schnell}                      # part -> what saves a tiny one into a folder
    edits = {"steps = 28": "steps = 2"}               # of service.toml, each found exactly once

    @pytest.fixture
    def sample(self): return Sample(good=..., bad=...)

Weights are saved once per class, and one child process is loaded per class. `edits` are made in a
copy of the folder; without any the service is run from where it lies.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
import pytest_asyncio
from model_suite import ModelSuite, Runner, digests
from samples import FILES, Sample

from bus import weights as on_disk
from bus.worker import process
from bus.worker.child import JobFiles
from bus.worker.folder import MANIFEST, ServiceFolder, find, load_model, open_folder
from bus.worker.model import PREVIEW_BYTES, Files, Media, Model
from bus.worker.process import ModelProcess
from contracts.errors import InvalidInputError, JobCancelledError
from contracts.requests import Request

Maker = Callable[[Path], object]

THREADS = "1"
"""Of a child: tiny models gain nothing from more, and threads that wait for a core cost most."""


class Told:
    """A report that remembers, and cancels at its `until`th word of a step that is done."""

    def __init__(self, until: int = 0) -> None:
        self.words: list[tuple[int, int, str]] = []
        self.previews: list[bytes] = []
        self._until = until

    def __call__(self, done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        self.words.append((done, total, phase))
        if preview is not None:
            self.previews.append(preview)
        if self._until and sum(word[0] > 0 for word in self.words) >= self._until:
            raise JobCancelledError("the job was cancelled")


@pytest.mark.asyncio(loop_scope="class")  # all share the one child
class WeightsSuite(ModelSuite):
    """Promises of a model with weights; tests through the real pipe, and in this process."""

    name: ClassVar[str]
    weights: ClassVar[dict[str, Maker]]
    edits: ClassVar[dict[str, str]] = {}

    @pytest.fixture(scope="class")
    def service(self, tmp_path_factory: pytest.TempPathFactory) -> ServiceFolder:
        found = find(self.name)
        if not self.edits:
            return found
        copy = tmp_path_factory.mktemp("services") / found.path.name
        shutil.copytree(found.path, copy, ignore=shutil.ignore_patterns("__pycache__"))
        text = (copy / MANIFEST).read_text(encoding="utf-8")
        for old, new in self.edits.items():
            assert text.count(old) == 1, f"service.toml has {old!r} {text.count(old)} times"
            text = text.replace(old, new)
        (copy / MANIFEST).write_text(text, encoding="utf-8")
        return open_folder(copy, self.name)

    @pytest.fixture(scope="class")
    def models_dir(
        self, service: ServiceFolder, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Path]:
        """The folder of weights, known to this process too while the class runs."""
        models = tmp_path_factory.mktemp("weights")
        needed = on_disk.parts_of(service.manifest)
        assert needed.keys() == self.weights.keys(), "every part has its maker"
        for part, make in self.weights.items():
            folder = on_disk.folder_of(models, needed[part].weights)
            folder.mkdir(exist_ok=True)  # two parts may be of one repository
            make(folder)
        assert on_disk.missing(service.manifest, models) == ""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ADGENX_MODELS_DIR", str(models))
            yield models

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    async def child(self, service: ServiceFolder, models_dir: Path) -> AsyncIterator[ModelProcess]:
        told = {"ADGENX_MODELS_DIR": str(models_dir), "OMP_NUM_THREADS": THREADS}
        started = await process.start(service, environment=told)
        yield started
        await started.end()

    @pytest_asyncio.fixture(loop_scope="class")
    async def runner(self, child: ModelProcess, tmp_path: Path) -> AsyncIterator[Runner]:
        yield Runner(child, tmp_path)

    @pytest.fixture(scope="class")
    def model(self, service: ServiceFolder, models_dir: Path) -> Model:  # noqa: ARG002 - it must be there
        """The model, loaded in this very process."""
        loaded = load_model(service)
        loaded.load()
        return loaded

    async def test_a_second_run_works_after_a_failed_one_and_makes_the_same(
        self, runner: Runner, sample: Sample
    ) -> None:
        first = digests(await runner.run(sample.good))
        with pytest.raises(InvalidInputError):
            await runner.run(sample.bad)
        assert digests(await runner.run(sample.good)) == first

    def test_a_cancel_ends_it_within_a_step_and_leaves_nothing_behind(
        self, model: Model, sample: Sample, tmp_path: Path
    ) -> None:
        whole = Told()
        before = contents(made(model, sample.good, whole, tmp_path))
        told = Told(until=1)
        with pytest.raises(JobCancelledError):
            made(model, sample.good, told, tmp_path)
        assert sum(word[0] > 0 for word in told.words) == 1, "it went on after it was cancelled"
        assert len(told.words) < len(whole.words)
        assert contents(made(model, sample.good, Told(), tmp_path)) == before

    def test_it_tells_every_step_and_shows_small_pictures(
        self, model: Model, sample: Sample, tmp_path: Path
    ) -> None:
        told = Told()
        made(model, sample.good, told, tmp_path)
        shares = [done / total for done, total, _ in told.words]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert len({total for _, total, _ in told.words}) == 1, "the total is known from the start"
        assert all(p.startswith(b"\xff\xd8") for p in told.previews), "a preview is a JPEG"
        assert all(len(p) <= PREVIEW_BYTES for p in told.previews)

    def test_another_seed_makes_another(self, model: Model, sample: Sample, tmp_path: Path) -> None:
        if "seed" not in sample.good.__struct_fields__:
            pytest.skip("its requests have no seed")
        other = msgspec.structs.replace(sample.good, seed=7)
        first = contents(made(model, sample.good, Told(), tmp_path))
        assert contents(made(model, other, Told(), tmp_path)) != first

    def test_an_output_says_which_model_made_it(
        self, service: ServiceFolder, model: Model, sample: Sample, tmp_path: Path
    ) -> None:
        for media in made(model, sample.good, Told(), tmp_path):
            assert media.metadata["model"] == service.manifest.model.name
            assert media.metadata["revision"]
            assert service.manifest.model.name.encode() in media.path.read_bytes()


def files_in(folder: Path) -> Files:
    """Return a job's files: the samples' inputs, and a fresh scratch below `folder`."""
    scratch = folder / secrets.token_hex(4)
    scratch.mkdir()
    inputs = {}
    for sha256, body in FILES.items():
        path = folder / sha256
        path.write_bytes(body)
        inputs[sha256] = str(path)
    return JobFiles(inputs, scratch)


def made(model: Model, request: Request, report: Told, folder: Path) -> list[Media]:
    """Run a model in this process and return everything that it made."""
    return list(model.run(request, report, files_in(folder)))


def contents(media: list[Media]) -> dict[str, str]:
    """Return the hash of every output by its name."""
    return {m.name: hashlib.sha256(m.path.read_bytes()).hexdigest() for m in media}
