"""Cosmos: the real pipelines on tiny weights, what they begin on, and what they refuse."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import cosmos_shots
import msgspec
import numpy as np
import pytest
from cosmos_shots import MARKED, apart, edited, pictures, video
from model_suite import Runner
from numpy.typing import NDArray
from PIL import Image
from samples import FILM, PICTURE, SAMPLES, Sample, ref
from suite import Told, WeightsSuite, contents, made

from bus.worker import process
from bus.worker.child import failed
from bus.worker.folder import ServiceFolder
from contracts.capability import Capability
from contracts.errors import (
    ContentRefusedError,
    InvalidInputError,
    InvalidRequestError,
    ModelFailedError,
)
from contracts.manifest import Manifest
from inference import inputs
from inference.output import cover
from inference.sizes import Size
from services.cosmos.local import Local
from services.cosmos.model import Model
from services.cosmos.plan import OVERLAP, Segment

pytest.importorskip("torch", reason="NOT CHECKED: Cosmos on tiny weights: pip install '.[models]'")
import torch
from diffusers import Cosmos2_5_PredictBasePipeline, Cosmos3OmniPipeline, DiffusionPipeline
from tiny import cosmos

pytestmark = pytest.mark.models

SIZE = Size(96, 64)
GUARDRAIL = {"guardrail": cosmos.word_list, "guardrail_text": cosmos.language}
FIRST = ref(PICTURE, "image/png")
BEFORE = ref(FILM, "video/mp4")
FILM_FPS = 16
NO_ROOM = {"quiet": {"x": 0, "y": 0, "w": 0.01, "h": 1}}

guardrail_package = pytest.fixture(cosmos_shots.guardrail_package, scope="module", autouse=True)


class CosmosSuite(WeightsSuite):
    """What both generations keep."""

    kind: type[DiffusionPipeline]

    @pytest.fixture
    def sample(self) -> Sample:
        return SAMPLES[Capability.VIDEO]

    @pytest.fixture
    def local(self, model: Model) -> Local:
        engine = model._engine
        assert type(engine).__name__ == "Local"
        return engine  # type: ignore[return-value]  # by its name: the copy of the service has its own class

    @pytest.fixture
    def pipeline(self, local: Local) -> DiffusionPipeline:
        assert local._world is not None
        return local._world.pipeline

    def test_it_is_the_class_that_it_should_be(self, pipeline: DiffusionPipeline) -> None:
        assert type(pipeline) is self.kind

    def test_it_is_exactly_as_long_and_large_as_asked(self, model: Model, tmp_path: Path) -> None:
        asked = video(width=100, height=60, seconds=0.7, fps=10)
        media = made(model, asked, Told(), tmp_path)
        assert pictures(media).shape == (7, 60, 100, 3)
        assert (media[0].seconds, media[0].fps) == (0.7, 10.0)
        assert media[0].metadata["made_size"] == "96x64"
        assert int(media[0].metadata["made_frames"]) >= 0.7 * int(media[0].metadata["made_fps"])

    def test_a_first_picture_is_where_it_begins(
        self, model: Model, pipeline: DiffusionPipeline, tmp_path: Path
    ) -> None:
        media = made(model, video(first_frame=FIRST), Told(), tmp_path)
        (tmp_path / "given").write_bytes(PICTURE)
        given = cover(Image.open(tmp_path / "given"), SIZE)
        known, turned = (
            through_the_vae(pipeline, [picture])[0] for picture in (given, given.rotate(180))
        )
        begun = pictures(media)[0]
        assert apart(begun, known) < 0.4 * apart(begun, turned)
        assert media[0].metadata["begins_on"] == "first_frame"

    def test_it_goes_on_from_the_end_of_a_film(
        self, model: Model, local: Local, pipeline: DiffusionPipeline, tmp_path: Path
    ) -> None:
        media = made(model, video(continue_from=BEFORE), Told(), tmp_path)
        (tmp_path / "before").write_bytes(FILM)
        frames = inputs.read_film(tmp_path / "before", most_frames=99).frames
        back = [round(n * FILM_FPS / local._rules.fps) for n in reversed(range(OVERLAP))]
        ending = [cover(frames[max(0, len(frames) - 1 - n)], SIZE) for n in back]
        known = through_the_vae(pipeline, ending)
        begun = pictures(media)
        assert len(begun) == 8, "only what is new, and the frame that it begins on"
        distances = [apart(begun[0], frame) for frame in known]
        assert min(distances) == distances[-1] < 0.5 * distances[0]
        assert media[0].metadata["begins_on"] == "continue_from"

    def test_a_long_one_is_made_piece_by_piece(
        self, model: Model, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world, told, steps = local._world, Told(), local._rules.steps
        assert world is not None
        original = world.make
        begun: list[list[Image.Image]] = []
        ended: list[NDArray[np.uint8]] = []

        def make(
            shared: object, segment: Segment, given: list[Image.Image], *rest: object
        ) -> object:
            frames = original(shared, segment, given, *rest)
            begun.append(given)
            ended.append(np.rint(frames[-OVERLAP:] * 255).astype(np.uint8))
            return frames

        monkeypatch.setattr(world, "make", make)
        media = made(model, video(seconds=20 / local._rules.fps), told, tmp_path)
        assert media[0].metadata["segments"] == str(len(begun)) == "2"
        assert begun[0] == []
        assert np.array_equal(np.stack([np.asarray(picture) for picture in begun[1]]), ended[0])
        assert told.words[0] == (0, 2 * steps + 1, "denoise")
        assert told.previews, "the first step is shown, at least"
        assert [word[0] for word in told.words if word[2] == "denoise"] == list(
            range(2 * steps + 1)
        )

    async def test_a_refused_prompt_is_a_typed_error_before_any_work(
        self, runner: Runner, sample: Sample
    ) -> None:
        for prompt in (f"a {cosmos.BLOCKED}", "a scene of violence"):
            with pytest.raises(ContentRefusedError) as caught:
                await runner.run(video(prompt=prompt))
            assert caught.value.field == "prompt"
            assert all(tick.done == 0 for tick in runner.ticks)
        assert await runner.run(sample.good)

    def test_a_guardrail_that_fails_lets_nothing_pass(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(AttributeError, match="lower"):
            made(model, video(prompt="an unreadable sign"), Told(), tmp_path)

    def test_what_was_made_goes_through_the_guardrail(self, model: Model, tmp_path: Path) -> None:
        media = made(model, video(), Told(), tmp_path)
        corner = pictures(media)[:, : MARKED - 2, : MARKED - 2]
        assert corner.min() > 200
        assert media[0].metadata["guardrail"] == "cosmos_guardrail 0.0.0"

    def test_a_film_that_it_refuses_is_not_shown(
        self, model: Model, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checker = local._guard._checker  # type: ignore[union-attr]  # the stand-in's
        monkeypatch.setattr(checker.texts[0], "words", ["refuse every film"])
        with pytest.raises(ContentRefusedError):
            made(model, video(), Told(), tmp_path)

    def test_numbers_that_are_no_picture_are_never_shown(
        self, model: Model, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = np.full((9, 64, 96, 3), np.nan, np.float32)
        monkeypatch.setattr(local._world, "make", lambda *_: broken)
        with pytest.raises(ModelFailedError, match="no picture"):
            made(model, video(), Told(), tmp_path)

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"width": 97}, "width"),
            ({"prompt": "  "}, "prompt"),
            ({"seconds": 30.0}, "seconds"),
            ({"last_frame": FIRST}, "last_frame"),
            ({"references": [FIRST]}, "references"),
            ({"first_frame": FIRST, "continue_from": BEFORE}, "continue_from"),
            ({"first_frame": BEFORE}, "first_frame"),
            ({"art": NO_ROOM}, "art.quiet"),
        ],
    )
    def test_what_cannot_be_done_is_refused_before_the_device_is_touched(
        self, model: Model, tmp_path: Path, fields: dict[str, object], field: str
    ) -> None:
        told = Told()
        with pytest.raises(InvalidInputError) as caught:
            made(model, video(**fields), told, tmp_path)
        assert caught.value.field == field
        assert told.words == []

    def test_a_full_device_is_told_as_that_and_the_next_job_works(
        self,
        model: Model,
        pipeline: DiffusionPipeline,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(pipeline.transformer, "forward", full)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            made(model, video(), Told(), tmp_path)
        assert failed(caught.value).error.code == "OUT_OF_MEMORY"
        monkeypatch.undo()
        assert made(model, video(), Told(), tmp_path)


class TestPredict(CosmosSuite):
    """Cosmos-Predict2.5."""

    name = "cosmos"
    kind = Cosmos2_5_PredictBasePipeline
    weights = {"": cosmos.predict, **GUARDRAIL}
    edits = {
        "steps = 36": "steps = 2",
        "frames = 93": "frames = 13",
        "min_side = 256": "min_side = 16",
    }

    def test_what_was_read_is_not_kept_after_the_shot(
        self,
        model: Model,
        pipeline: DiffusionPipeline,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        encode = pipeline.encode_prompt
        read: list[weakref.ref[torch.Tensor]] = []

        def heard(*args: object, **named: object) -> object:
            found = encode(*args, **named)
            read.extend(weakref.ref(tensor) for tensor in found if tensor is not None)
            return found

        monkeypatch.setattr(pipeline, "encode_prompt", heard)
        made(model, video(), Told(), tmp_path)
        gc.collect()
        assert read
        assert all(tensor() is None for tensor in read)

    def test_the_text_encoder_can_leave_between_prompts(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        before = contents(made(model, video(), Told(), tmp_path))
        dropping = Model(with_runtime(service.manifest, drop_text_encoder=True))
        dropping.load()
        for _ in range(2):
            assert contents(made(dropping, video(), Told(), tmp_path)) == before
            assert dropping._engine._world.pipeline.text_encoder is None


class TestOmni(CosmosSuite):
    """Cosmos3."""

    name = "cosmos_omni"
    kind = Cosmos3OmniPipeline
    weights = {"": cosmos.omni, **GUARDRAIL}
    edits = {
        'pipeline = "omni"\nsteps = 35': 'pipeline = "omni"\nsteps = 2',
        "frames = 149": "frames = 13",
        "least_frames = 53": "least_frames = 5",
        "min_side = 256": "min_side = 16",
    }

    def test_it_has_no_text_encoder_that_could_leave(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        assert models_dir.is_dir()
        with pytest.raises(InvalidRequestError) as caught:
            Model(with_runtime(service.manifest, drop_text_encoder=True)).load()
        assert caught.value.field == "runtime.drop_text_encoder"


def with_runtime(manifest: Manifest, **changes: object) -> Manifest:
    """Return a manifest whose [runtime] says something else."""
    runtime = msgspec.structs.replace(manifest.runtime, **changes)
    return msgspec.structs.replace(manifest, runtime=runtime)


async def test_the_large_one_runs_by_its_own_manifest(tmp_path: Path) -> None:
    service = edited("cosmos_14b", TestPredict.edits, tmp_path)
    parts = service.manifest.model.parts
    for repository, make in (
        (service.manifest.model.weights, cosmos.predict),
        *((parts[name].weights, make) for name, make in GUARDRAIL.items()),
    ):
        folder = tmp_path / repository.replace("/", "--")
        folder.mkdir()
        make(folder)
    child = await process.start(service, environment={"ADGENX_MODELS_DIR": str(tmp_path)})
    try:
        media = await Runner(child, tmp_path).run(video())
    finally:
        await child.end()
    assert media[0].metadata["model"] == "Cosmos-Predict2.5-14B"


def through_the_vae(pipeline: DiffusionPipeline, given: list[Image.Image]) -> NDArray[np.uint8]:
    """What the model can know of pictures: coded and decoded again, (n, h, w, 3)."""
    processor = pipeline.video_processor
    with torch.inference_mode():
        pixels = processor.preprocess_video(given, SIZE.height, SIZE.width)
        latents = pipeline.vae.encode(pixels).latent_dist.mode()
        shown = pipeline.vae.decode(latents, return_dict=False)[0]
    frames = processor.postprocess_video(shown, output_type="np")[0]
    return np.rint(frames * 255).astype(np.uint8)
