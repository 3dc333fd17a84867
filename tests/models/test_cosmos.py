"""Cosmos: the real pipelines on tiny weights, what they begin on, and the guardrail around them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from model_suite import Runner
from samples import FILM, PICTURE, SAMPLES, Sample, ref
from suite import Told, WeightsSuite, made
from tiny import cosmos

from bus.settings import load as load_settings
from bus.worker import process
from bus.worker.folder import ServiceFolder, find
from bus.worker.model import Media, Model
from bus.worker.readiness import lack
from contracts.capability import Capability
from contracts.errors import ContentRefusedError, InvalidRequestError
from contracts.manifest import Manifest
from contracts.requests import GenerateVideo
from inference import inputs
from inference.output import cover
from inference.sizes import Size
from services.cosmos import model as cosmos_model
from services.cosmos import padding
from services.cosmos.plan import OVERLAP

pytestmark = pytest.mark.models

SIZE = Size(96, 64)
GUARDRAIL = {"guardrail": cosmos.word_list, "guardrail_text": cosmos.language}
FIRST = ref(PICTURE, "image/png")
BEFORE = ref(FILM, "video/mp4")
MARKED = 8  # pixels of the corner that the stand-in guardrail paints


def video(**fields: Any) -> GenerateVideo:
    plain = {"prompt": "a can of lemonade", "width": 96, "height": 64, "seconds": 0.5, "fps": 16}
    return msgspec.convert(plain | fields, GenerateVideo)


def pictures(media: list[Media]) -> np.ndarray[Any, Any]:
    """The film's frames, (n, h, w, 3) uint8, as a player shows them."""
    return inputs.read_film(media[0].path, most_frames=999).frames


def through_the_vae(pipeline: Any, given: list[Any]) -> np.ndarray[Any, Any]:
    """What the model can know of pictures: coded and decoded again, (n, h, w, 3) uint8."""
    import torch

    processor = pipeline.video_processor
    with torch.inference_mode():
        pixels = processor.preprocess_video(given, SIZE.height, SIZE.width)
        latents = pipeline.vae.encode(pixels).latent_dist.mode()
        shown = pipeline.vae.decode(latents, return_dict=False)[0]
    frames = processor.postprocess_video(shown, output_type="np")[0]
    return np.rint(frames * 255).astype(np.uint8)


def apart(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """How far two pictures are from each other, of 255: their brightness, in squares of 4 pixels
    that a film's coding keeps, beside the guardrail's mark.
    """
    difference = one.astype(float).mean(axis=2) - other.astype(float).mean(axis=2)
    difference[:MARKED, :MARKED] = 0
    height, width = difference.shape
    squares = difference.reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
    return float(np.abs(squares).mean())


@pytest.fixture(scope="module", autouse=True)
def guardrail_package() -> Iterator[None]:
    """The stand-in can be imported, here and in child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(cosmos.PACKAGE))
        patch.syspath_prepend(cosmos.PACKAGE)
        yield
    for name in [name for name in sys.modules if name.startswith("cosmos_guardrail")]:
        del sys.modules[name]


class CosmosSuite(WeightsSuite):
    """What both generations keep."""

    @pytest.fixture
    def sample(self) -> Sample:
        return SAMPLES[Capability.VIDEO]

    @pytest.fixture
    def pipeline(self, model: Model) -> Any:
        return model._engine._world.pipeline  # type: ignore[attr-defined]  # this service's own

    def test_it_is_exactly_as_long_and_large_as_asked(self, model: Model, tmp_path: Path) -> None:
        asked = video(width=100, height=60, seconds=0.7, fps=10)
        media = made(model, asked, Told(), tmp_path)
        assert pictures(media).shape == (7, 60, 100, 3)
        assert (media[0].seconds, media[0].fps) == (0.7, 10.0)
        assert media[0].metadata["made_size"] == "96x64"
        assert int(media[0].metadata["made_frames"]) % 4 == 1

    def test_a_first_picture_is_where_it_begins(
        self, model: Model, pipeline: Any, tmp_path: Path
    ) -> None:
        media = made(model, video(first_frame=FIRST), Told(), tmp_path)
        (tmp_path / "given").write_bytes(PICTURE)
        given = cover(_opened(tmp_path / "given"), SIZE)
        known = through_the_vae(pipeline, [given])[0]
        begun = pictures(media)[0]
        turned = through_the_vae(pipeline, [given.rotate(180)])[0]
        assert apart(begun, known) < 0.4 * apart(turned, known)
        assert media[0].metadata["begins_on"] == "first_frame"

    def test_it_goes_on_from_the_end_of_a_film(
        self, model: Model, pipeline: Any, tmp_path: Path
    ) -> None:
        media = made(model, video(continue_from=BEFORE), Told(), tmp_path)
        (tmp_path / "before").write_bytes(FILM)
        rules = model._engine._rules  # type: ignore[attr-defined]  # this service's own
        ending = _ending(tmp_path, rules.fps)
        known = through_the_vae(pipeline, ending)
        begun = pictures(media)[0]
        assert apart(begun, known[-1]) < 0.4 * apart(known[0], known[-1])
        assert len(pictures(media)) == 8
        assert media[0].metadata["begins_on"] == "continue_from"

    def test_a_long_one_is_made_piece_by_piece(
        self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine: Any = model._engine  # type: ignore[attr-defined]  # this service's own
        world, told = engine._world, Told()
        pieces: list[tuple[Any, Any]] = []
        original = world.make

        def make(shot: Any, segment: Any, given: Any, *rest: Any) -> Any:
            frames = original(shot, segment, given, *rest)
            pieces.append(([np.asarray(picture) for picture in given], frames))
            return frames

        monkeypatch.setattr(world, "make", make)
        seconds = 20 / engine._rules.fps
        media = made(model, video(seconds=seconds), told, tmp_path)
        assert media[0].metadata["segments"] == str(len(pieces)) == "2"
        assert pieces[0][0] == []
        end_of_first = np.rint(pieces[0][1][-OVERLAP:] * 255).astype(np.uint8)
        assert np.array_equal(np.stack(pieces[1][0]), end_of_first)
        assert told.words[0][1] == 2 * engine._rules.steps + 1
        assert sum(word[2] == "denoise" for word in told.words) == 2 * engine._rules.steps + 1

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
        with pytest.raises(AttributeError):
            made(model, video(prompt="an unreadable sign"), Told(), tmp_path)

    def test_what_was_made_goes_through_the_guardrail(self, model: Model, tmp_path: Path) -> None:
        media = made(model, video(), Told(), tmp_path)
        corner = pictures(media)[:, : MARKED - 2, : MARKED - 2]
        assert corner.min() > 200
        assert media[0].metadata["guardrail"].startswith("cosmos_guardrail ")

    def test_a_film_that_it_refuses_is_not_shown(
        self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cosmos_guardrail.cosmos_guardrail import REFUSED_FILMS

        words = model._engine._guard._checker.texts[0].words  # type: ignore[attr-defined]  # the stand-in's
        monkeypatch.setattr(
            model._engine._guard._checker.texts[0],  # type: ignore[attr-defined]  # the stand-in's
            "words",
            [*words, REFUSED_FILMS],
        )
        with pytest.raises(ContentRefusedError):
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
            ({"continue_from": FIRST, "seconds": 0.6}, ""),
            ({"art": {"quiet": {"x": 0, "y": 0, "w": 0.01, "h": 1}}}, "art.quiet"),
        ],
    )
    def test_what_cannot_be_done_is_refused_before_the_device_is_touched(
        self, model: Model, tmp_path: Path, fields: dict[str, Any], field: str
    ) -> None:
        told = Told()
        if not field:  # a still picture decodes as a film of one frame, which is one
            assert made(model, video(**fields), told, tmp_path)
            return
        with pytest.raises(Exception) as caught:  # noqa: PT011 - several kinds; the field is what counts
            made(model, video(**fields), told, tmp_path)
        assert getattr(caught.value, "field", None) == field
        assert told.words == []

    def test_the_device_running_out_of_memory_is_told_as_that(
        self, model: Model, pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        from bus.worker.child import failed

        def full(*_: object, **__: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError) as caught:
            patch.setattr(pipeline.transformer, "forward", full)
            made(model, video(), Told(), tmp_path)
        assert failed(caught.value).error.code == "OUT_OF_MEMORY"
        assert made(model, video(), Told(), tmp_path)


class TestPredict(CosmosSuite):
    """Cosmos-Predict2.5."""

    name = "cosmos"
    weights = {"": cosmos.predict, **GUARDRAIL}
    edits = {
        "steps = 36": "steps = 2",
        "frames = 93": "frames = 13",
        "min_side = 256": "min_side = 16",
    }

    def test_it_is_the_class_that_it_should_be(self, pipeline: Any) -> None:
        assert type(pipeline).__name__ == "Cosmos2_5_PredictBasePipeline"


class TestOmni(CosmosSuite):
    """Cosmos3."""

    name = "cosmos_omni"
    weights = {"": cosmos.omni, **GUARDRAIL}
    edits = {
        'pipeline = "omni"\nsteps = 35': 'pipeline = "omni"\nsteps = 2',
        "frames = 149": "frames = 13",
        "least_frames = 53": "least_frames = 5",
        "min_side = 256": "min_side = 16",
    }

    def test_it_is_the_class_that_it_should_be(self, pipeline: Any) -> None:
        assert type(pipeline).__name__ == "Cosmos3OmniPipeline"
        assert pipeline.safety_checker is None, "the guardrail stands around the run"


class TestLarge:
    """The large Predict2.5, whose code is the small one's: it loads and runs by its own manifest."""

    async def test_it_loads_in_its_own_process_and_runs(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        class Large(TestPredict):
            name = "cosmos_14b"

        suite = Large()
        service = Large.service.__wrapped__(suite, tmp_path_factory)  # type: ignore[attr-defined]  # a fixture's function
        folder = tmp_path / "models"
        parts = {"": service.manifest.model.weights}
        parts |= {name: part.weights for name, part in service.manifest.model.parts.items()}
        for part, make in Large.weights.items():
            where = folder / parts[part].replace("/", "--")
            where.mkdir(parents=True)
            make(where)
        child = await process.start(service, environment={"ADGENX_MODELS_DIR": str(folder)})
        try:
            media = await Runner(child, tmp_path).run(video())
        finally:
            await child.end()
        assert media[0].metadata["model"] == "Cosmos-Predict2.5-14B"


def with_parameters(service: ServiceFolder, **changes: Any) -> Manifest:
    model = service.manifest.model
    parameters = {**model.parameters, "steps": 1, "min_side": 16, **changes}
    return msgspec.structs.replace(
        service.manifest, model=msgspec.structs.replace(model, parameters=parameters, parts={})
    )


class TestWithoutGuardrail:
    """What an operator is told, and what an operator can say."""

    def test_its_weights_are_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = find("cosmos")
        monkeypatch.setenv("ADGENX_MODELS_DIR", str(tmp_path))
        (tmp_path / "nvidia--Cosmos-Predict2.5-2B").mkdir()
        cosmos.predict(tmp_path / "nvidia--Cosmos-Predict2.5-2B")
        why = lack(service.manifest, load_settings(), {})
        assert "nvidia/Cosmos-1.0-Guardrail" in why
        assert "adgenx models pull cosmos" in why

    async def test_the_package_is_asked_for_before_any_weights_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONPATH")
        service = find("cosmos")
        for name in ("nvidia--Cosmos-Predict2.5-2B", "nvidia--Cosmos-1.0-Guardrail"):
            (tmp_path / name).mkdir()
        (tmp_path / "Qwen--Qwen3Guard-Gen-0.6B").mkdir()
        cosmos.word_list(tmp_path / "nvidia--Cosmos-1.0-Guardrail")
        cosmos.language(tmp_path / "Qwen--Qwen3Guard-Gen-0.6B")
        cosmos.language(tmp_path / "nvidia--Cosmos-Predict2.5-2B")  # no pipeline at all
        with pytest.raises(InvalidRequestError, match="pip install cosmos_guardrail") as caught:
            await process.start(service, environment={"ADGENX_MODELS_DIR": str(tmp_path)})
        assert caught.value.field == "model.parameters.guardrail"

    def test_an_operators_own_is_told_in_every_output(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "nvidia--Cosmos-Predict2.5-2B").mkdir()
        cosmos.predict(tmp_path / "nvidia--Cosmos-Predict2.5-2B")
        monkeypatch.setenv("ADGENX_MODELS_DIR", str(tmp_path))
        manifest = with_parameters(find("cosmos"), guardrail="other")
        assert lack(manifest, load_settings(), {}) == ""
        model = cosmos_model.Model(manifest)
        model.load()
        media = made(model, video(prompt=f"a {cosmos.BLOCKED}"), Told(), tmp_path)
        assert media[0].metadata["guardrail"] == "other"
        assert b'"guardrail":"other"' in media[0].path.read_bytes()

    def test_a_misspelt_one_is_refused(self, tmp_path: Path) -> None:
        model = cosmos_model.Model(with_parameters(find("cosmos"), guardrail="none"))
        with pytest.raises(InvalidRequestError, match="cosmos_guardrail or other"):
            model.load()


class TestPadding:
    """The one function that stands in for torchvision's."""

    @pytest.mark.parametrize("size", [(1, 1), (5, 3), (44, 80), (64, 96), (7, 160), (200, 3)])
    def test_it_takes_of_each_pixel_the_nearest(self, size: tuple[int, int]) -> None:
        import torch
        from torch.nn import functional

        image = torch.rand((2, 1, 44, 80), generator=torch.Generator().manual_seed(1))
        made = padding.resize(image, list(size))
        rows = torch.arange(size[0]) * 44 // size[0]
        columns = torch.arange(size[1]) * 80 // size[1]
        assert torch.equal(made, image[..., rows[:, None], columns])
        assert torch.equal(made, functional.interpolate(image, size=size, mode="nearest"))

    def test_the_real_one_is_left_where_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diffusers.models.transformers import transformer_cosmos

        real = object()
        monkeypatch.setattr(transformer_cosmos, "transforms", real, raising=False)
        padding.ensure()
        assert transformer_cosmos.transforms is real

    def test_the_transformer_finds_what_it_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch
        from diffusers.models.transformers import transformer_cosmos

        monkeypatch.delattr(transformer_cosmos, "transforms", raising=False)
        padding.ensure()
        found = transformer_cosmos.transforms
        resized = found.functional.resize(
            torch.ones((1, 1, 4, 6)), [2, 3], interpolation=found.InterpolationMode.NEAREST
        )
        assert resized.shape == (1, 1, 2, 3)

    def test_another_way_of_resizing_is_refused(self) -> None:
        import torch

        with pytest.raises(ValueError, match="bilinear"):
            padding.resize(torch.ones((1, 1, 2, 2)), [1, 1], interpolation="bilinear")


def _opened(path: Path) -> Any:
    from PIL import Image

    return Image.open(path).convert("RGB")


def _ending(folder: Path, fps: float) -> list[Any]:
    """The last frames of the sample film at a rate."""
    from PIL import Image

    frames = inputs.read_film(folder / "before", most_frames=99).frames
    native = 16
    chosen = [max(0, len(frames) - 1 - round(back * native / fps)) for back in range(OVERLAP)]
    return [cover(Image.fromarray(frames[n]), SIZE) for n in reversed(chosen)]
