"""WorldGrow: its pipe with a stand-in for their program, its licence, how blocks are counted."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from model_suite import ModelSuite, Runner
from samples import Sample
from stranger_glb import sphere

from bus.worker import process
from bus.worker.folder import ServiceFolder, find, open_folder
from contracts.capability import Tier
from contracts.errors import ModelFailedError
from contracts.manifest import ServiceRecord, ServiceState
from contracts.requests import GenerateWorld
from media.gltf import faults, read, write
from services.cli import environments as installing
from services.cli.main import main
from services.router.fitness import Terms, refusal
from services.router.landscape import landscape_of

pytestmark = [pytest.mark.models, pytest.mark.timeout(180)]

GOOD = GenerateWorld(rows=2, columns=3, seed=3)
TRELLIS = """
import torch_of_theirs


class Sampler:
    def sample(self, *_, **__):
        return self


class Decoder:
    def forward(self, *_):
        return self


class Mesh:
    def export(self, path):
        with open(torch_of_theirs.RAW, "rb") as raw, open(path, "wb") as made:
            made.write(raw.read())


class Points:
    def __init__(self, text):
        self.text = text

    def save_ply(self, path):
        with open(path, "w") as made:
            made.write(self.text)


class WorldGrowPipeline:
    @staticmethod
    def from_pretrained(path):
        import json, os

        with open(os.path.join(path, "pipeline.json")) as file:
            words = json.load(file)["args"]["text_cond_model"]
        assert os.path.isdir(words), words
        assert os.path.isfile(os.path.join(path, "ckpts.txt"))
        return WorldGrowPipeline()

    def cuda(self):
        self.sparse_structure_sampler, self.slat_sampler = Sampler(), Sampler()
        self.models = {"slat_decoder_gs": Decoder()}

    def run(self, world_size, seed, formats):
        rows, columns = world_size
        for _ in range((rows + 1) // 2 * ((columns + 1) // 2) + rows * columns):
            self.sparse_structure_sampler.sample()
        for _ in range(rows * columns):
            self.slat_sampler.sample()
        for _ in range(rows * columns):
            self.models["slat_decoder_gs"].forward()
        made = {"gaussian": Points("ply\\n" if seed < 99 else "no")}
        return {**made, "mesh": Mesh()} if "mesh" in formats else made
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceFolder]:
    """The service with its own child, and a stand-in for the package that it drives."""
    home = tmp_path_factory.mktemp("worldgrow")
    folder = home / "services" / "worldgrow"
    shutil.copytree(find("worldgrow").path, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "service.toml").read_text()
    begin, end = text.index("[environment]"), text.index("[cost]")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = f'{text[:begin]}[environment]\npython = "{here}"\n\n{text[end:]}'
    (folder / "service.toml").write_text(text)
    (folder / "requirements.lock").write_text("# it needs nothing\n")
    package = folder / "upstream" / "trellis"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "pipelines.py").write_text(TRELLIS)
    raw = folder / "raw.glb"
    raw.write_bytes(write(sphere(normals=False)))
    (folder / "upstream" / "torch_of_theirs.py").write_text(f"RAW = {str(raw)!r}\n")
    weights = home / "weights" / "UranusITS--WorldGrow"
    weights.mkdir(parents=True)
    (weights / "pipeline.json").write_text(json.dumps({"args": {"text_cond_model": "openai/clip"}}))
    (weights / "ckpts.txt").write_text("")
    (home / "weights" / "openai--clip-vit-large-patch14").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("structlog.configure", lambda **_: None)  # it would silence other tests
        patch.setenv("ADGENX_DATA_DIR", str(home / "data"))
        patch.setenv("ADGENX_MODELS_DIR", str(home / "weights"))
        found = open_folder(folder)
        patch.setattr(installing, "find", lambda *_: found)
        assert main(["models", "install", "worldgrow"]) == 0
        yield found


class TestWorldGrow(ModelSuite):
    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(GOOD, msgspec.structs.replace(GOOD, seed=99))

    @pytest.mark.parametrize("wrong", [{"rows": 0}, {"columns": 41}, {"seed": -1}])
    async def test_a_bad_request_is_refused_before_any_work(self, wrong: dict[str, int]) -> None:
        """Its requests are numbers alone: the contract refuses all that is wrong with one."""
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"type": "generate_world.v1", **wrong}, GenerateWorld)


@pytest.fixture
async def runner(service: ServiceFolder, tmp_path: Path) -> Iterator[Runner]:
    model = await process.start(service)
    yield Runner(model, tmp_path)
    await model.end()


async def test_blocks_are_counted_stage_by_stage_and_both_files_delivered(runner: Runner) -> None:
    world, points = await runner.run(GOOD)
    assert (world.name, points.name) == ("world", "points")
    assert faults(read(world.path.read_bytes())) == []
    assert world.metadata["blocks"] == "2x3"
    phases = list(dict.fromkeys(tick.phase for tick in runner.ticks))
    assert phases == ["coarse", "fine", "latents", "decode", "write"]


async def test_points_alone_are_enough_if_no_mesh_is_wanted(runner: Runner) -> None:
    [points] = await runner.run(msgspec.structs.replace(GOOD, mesh=False))
    assert (points.name, points.media_type) == ("points", "model/ply")


async def test_points_that_are_none_fail_the_job(runner: Runner) -> None:
    with pytest.raises(ModelFailedError, match="no PLY"):
        await runner.run(msgspec.structs.replace(GOOD, seed=99))


def test_without_a_licence_it_is_refused_and_with_one_it_is_not() -> None:
    manifest = find("worldgrow").manifest
    record = ServiceRecord(
        manifest=manifest, revision="1", state=ServiceState.READY, workers=1, announced_at=0.0
    )
    request = msgspec.structs.replace(GOOD, tier=Tier.PRODUCTION)
    landscape = landscape_of([record])
    why = refusal(request, record, landscape, Terms())
    assert why is not None
    assert "not granted" in why.reason
    licensed = msgspec.structs.replace(landscape, licensed=frozenset({"worldgrow"}))
    assert refusal(request, record, licensed, Terms()) is None


def test_a_method_is_its_own_again_when_the_run_is_over() -> None:
    path = find("worldgrow").path / "child.py"
    spec = importlib.util.spec_from_file_location("worldgrow_child", path)
    assert spec is not None
    assert spec.loader is not None
    child = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(child)

    class Theirs:
        def sample(self) -> int:
            return 7

    told: list[tuple[int, int, str]] = []
    holder, count = Theirs(), child.Counter(lambda *words: told.append(words), 3)
    with (
        contextlib.suppress(ZeroDivisionError),
        child.counted(holder, "sample", count, lambda: "fine"),
    ):
        assert holder.sample() // 0
    assert holder.sample() == 7
    assert told == [(1, 3, "fine")]
