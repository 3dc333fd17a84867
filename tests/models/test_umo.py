"""UMO's services on tiny weights, read from folders as their makers release them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: UMO: pip install '.[models]'")
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from samples import JUNK, PICTURE, Sample, ref
from suite import Told, WeightsSuite
from tiny import umo
from transformers import Qwen2_5_VLForConditionalGeneration

from bus.weights import WeightsError
from bus.worker.child import JobFiles
from bus.worker.folder import ServiceFolder
from bus.worker.model import Model
from contracts.artifacts import ArtifactRef
from contracts.brief import Form
from contracts.errors import InvalidRequestError, MediaRejectedError
from contracts.requests import ArtDirection, EditImage, GenerateImage, Request, Subject
from inference import weights
from inference.sizes import Size
from services.umo.model import Model as Umo
from services.umo.omnigen import OmniGen2Transformer2DModel
from services.umo.painter import Painter, Work
from services.umo.recipe import enlarged

pytestmark = pytest.mark.models


def png(shade: int, size: tuple[int, int] = (64, 48)) -> bytes:
    target = io.BytesIO()
    picture = Image.new("RGB", size, (shade, 255 - shade, 40))
    picture.paste((shade, 20, 200), (0, 0, size[0] // 2, size[1] // 2))
    picture.save(target, "PNG")
    return target.getvalue()


PEOPLE = [png(shade) for shade in (10, 60, 110, 160, 210, 250)]
NARROW = png(30, (400, 8))
OURS = (*PEOPLE, NARROW, PICTURE, JUNK)


def shown(body: bytes) -> ArtifactRef:
    return ref(body, "image/png")


ONE, TWO, *_ = people = [shown(body) for body in PEOPLE]
BROKEN = shown(JUNK)
PLAIN = GenerateImage(prompt="both at a table", width=100, height=60, references=[ONE, TWO], seed=3)
SUITED = msgspec.structs.replace(PLAIN, references=[shown(PICTURE)])
EDIT = EditImage(image=ONE, instruction="put on a hat", seed=3)
SMALL = {"min_pixels = 262144": "min_pixels = 4096", "steps = 50": "steps = 2"}
CHILDLESS = (
    "test_makes_media_and_tells_how_far_it_is",
    "test_the_same_request_makes_the_same_bytes",
    "test_a_cancelled_run_stops_and_the_next_one_works",
    "test_a_bad_request_is_refused_before_any_work",
    "test_a_second_run_works_after_a_failed_one_and_makes_the_same",
)
"""What one class shows of the child's side; a second child would only import the same again."""


def asked(request: Request, **fields: object) -> Request:
    return msgspec.structs.replace(request, **fields)


def files_in(folder: Path) -> JobFiles:
    paths = {}
    for body in OURS:
        sha256 = hashlib.sha256(body).hexdigest()
        (folder / sha256).write_bytes(body)
        paths[sha256] = str(folder / sha256)
    return JobFiles(paths, folder)


def painted(model: Model, request: Request, folder: Path, told: Told | None = None) -> np.ndarray:
    """Return the picture that a request makes, (h, w, 3) uint8."""
    (media,) = model.run(request, told or Told(), files_in(folder))
    with Image.open(media.path) as picture:
        return np.asarray(picture)


def differ(model: Model, one: Request, other: Request, folder: Path) -> bool:
    return not np.array_equal(painted(model, one, folder), painted(model, other, folder))


def facts(model: Model, request: Request, folder: Path) -> dict[str, str]:
    (media,) = model.run(request, Told(), files_in(folder))
    return media.metadata


def variant_of(service: ServiceFolder, **parameters: object) -> Umo:
    """Load a service's model with other parameters."""
    section = service.manifest.model
    changed = msgspec.structs.replace(section, parameters={**section.parameters, **parameters})
    model = Umo(msgspec.structs.replace(service.manifest, model=changed))
    model.load()
    return model


def with_runtime(service: ServiceFolder, **given: object) -> Umo:
    runtime = msgspec.structs.replace(service.manifest.runtime, **given)
    return Umo(msgspec.structs.replace(service.manifest, runtime=runtime))


class UmoSuite(WeightsSuite):
    """What each of its services keeps."""

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(SUITED, asked(SUITED, references=[BROKEN]))

    @pytest.fixture
    def painter(self, model: Model) -> Painter:
        found: Painter = model._painter  # type: ignore[attr-defined]  # looks under the hood
        return found

    def test_every_picture_that_it_is_shown_counts_and_so_does_their_order(
        self, model: Model, tmp_path: Path
    ) -> None:
        assert differ(model, PLAIN, asked(PLAIN, references=[ONE]), tmp_path)
        assert differ(model, PLAIN, asked(PLAIN, references=[TWO, ONE]), tmp_path)
        assert differ(model, PLAIN, asked(PLAIN, references=[]), tmp_path)
        art = ArtDirection(subject=Subject(form=Form.CAN, label=shown(PICTURE)))
        assert facts(model, asked(PLAIN, art=art), tmp_path)["pictures"] == "3"

    def test_the_words_count_and_what_is_not_read_is_told(
        self, model: Model, tmp_path: Path
    ) -> None:
        assert differ(model, PLAIN, asked(PLAIN, prompt="both in a boat"), tmp_path)
        long = asked(PLAIN, prompt="both at a long table, " * 60)
        assert int(facts(model, long, tmp_path)["unread_tokens"]) > 0

    def test_a_size_is_rounded_and_told_and_the_file_is_exact(
        self, model: Model, painter: Painter, tmp_path: Path
    ) -> None:
        (media,) = model.run(PLAIN, Told(), files_in(tmp_path))
        assert (media.width, media.height) == (100, 60)
        assert media.metadata["made_size"] == str(painter.size_for(Size(100, 60)))
        with Image.open(media.path) as picture:
            assert picture.size == (100, 60)

    @pytest.mark.parametrize(
        ("fields", "name", "said"),
        [
            ({"references": [ONE, shown(NARROW)]}, "references[1]", "too narrow"),
            ({"references": people}, "references[{most}]", "pictures at most"),
            ({"prompt": " "}, "prompt", "nothing to paint"),
        ],
    )
    def test_what_it_cannot_do_is_refused_by_name_before_anything_is_done(
        self,
        service: ServiceFolder,
        model: Model,
        tmp_path: Path,
        fields: dict[str, object],
        name: str,
        said: str,
    ) -> None:
        told, most = Told(), service.manifest.model.parameters["most_pictures"]
        with pytest.raises(InvalidRequestError, match=said) as caught:
            painted(model, asked(PLAIN, **fields), tmp_path, told)
        assert caught.value.field == name.format(most=most)
        assert not told.words

    def test_a_set_is_made_from_one_seed_after_the_other(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        told = Told()
        media = list(model.run(asked(PLAIN, count=2), told, files_in(tmp_path)))
        assert [(m.name, m.metadata["seed"]) for m in media] == [("image", "3"), ("image_2", "4")]
        steps = int(service.manifest.model.parameters["steps"])
        assert told.words[-1][:2] == (2 * steps + 1,) * 2
        with Image.open(media[1].path) as picture:
            second = np.asarray(picture)
        assert np.array_equal(second, painted(model, asked(PLAIN, seed=4), tmp_path))

    def test_what_is_shown_on_the_way_is_what_the_decoder_would_show(
        self, service: ServiceFolder, tmp_path: Path
    ) -> None:
        painter: Any = variant_of(service, steps=1)._painter
        latents: list[Any] = []
        painter._preview = lambda found: latents.append(found.clone())
        size = painter.size_for(Size(100, 60))
        (whole,) = painter.paint(Work("a table", "", size, [3], []), Told())
        with torch.inference_mode():
            shown_there = painter.decoded(painter.arranged(latents[-1], size)[None])[0]
        levels = (shown_there.clamp(-1, 1) + 1) * 127.5
        assert np.abs(levels.permute(1, 2, 0).numpy() - np.asarray(whole, float)).max() <= 1
        told = Told()
        painted(variant_of(service, steps=1), PLAIN, tmp_path, told)
        with Image.open(io.BytesIO(told.previews[0])) as preview:
            assert max(preview.size) == 192

    @pytest.mark.parametrize("option", [{"quantise": "int8"}, {"attention": "unheard_of"}])
    def test_an_option_that_it_cannot_take_is_refused_by_name(
        self, service: ServiceFolder, models_dir: Path, option: dict[str, str]
    ) -> None:
        assert models_dir.is_dir()
        with pytest.raises(InvalidRequestError) as caught:
            with_runtime(service, **option).load()
        assert caught.value.field == f"runtime.{next(iter(option))}"

    def test_the_adapter_counts_merged_or_beside_and_as_much_as_is_said(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        first = painted(model, PLAIN, tmp_path).astype(int)
        beside = painted(variant_of(service, merged=False), PLAIN, tmp_path)
        assert np.abs(first - beside).max() <= 1, "rounded otherwise"
        half = variant_of(service, adapter_strength=0.5)
        assert not np.array_equal(painted(half, PLAIN, tmp_path), first)
        assert facts(half, PLAIN, tmp_path)["adapter_strength"] == "0.5"


class TestOmniGen2(UmoSuite):
    name = "umo"
    weights: ClassVar = {"": umo.omnigen2, "adapter": umo.on_omnigen2}
    edits: ClassVar = SMALL

    def test_a_negative_prompt_counts(self, model: Model, tmp_path: Path) -> None:
        assert differ(model, PLAIN, asked(PLAIN, negative_prompt="hats"), tmp_path)

    def test_an_edit_keeps_the_pictures_own_size_unless_told(
        self, model: Model, tmp_path: Path
    ) -> None:
        assert painted(model, EDIT, tmp_path).shape[:2] == (48, 64)
        assert painted(model, asked(EDIT, width=96), tmp_path).shape[:2] == (48, 96)
        assert differ(model, EDIT, asked(EDIT, image=TWO), tmp_path)
        assert differ(model, EDIT, asked(EDIT, references=[TWO]), tmp_path)
        with pytest.raises(MediaRejectedError) as caught:
            painted(model, asked(EDIT, image=BROKEN), tmp_path)
        assert caught.value.field == "image"

    def test_what_would_be_read_again_for_every_picture_is_not_dropped(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        assert models_dir.is_dir()
        with pytest.raises(InvalidRequestError, match="part of a larger model"):
            with_runtime(service, drop_text_encoder=True).load()

    def test_a_cache_that_it_does_not_know_is_refused_by_name(
        self, service: ServiceFolder, models_dir: Path
    ) -> None:
        assert models_dir.is_dir()
        with pytest.raises(InvalidRequestError) as caught:
            with_runtime(service, cache="first_block").load()
        assert caught.value.field == "runtime.cache"

    def test_the_language_models_eyes_are_not_kept(self, painter: Painter) -> None:
        kinds = {type(m).__name__ for m in painter.pipeline.text_encoder.modules()}
        assert "Qwen2_5_VLTextModel" in kinds
        assert not any("Vision" in kind for kind in kinds)

    def test_words_are_read_as_the_whole_language_model_reads_them(
        self, painter: Painter, models_dir: Path
    ) -> None:
        whole = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            str(models_dir / "OmniGen2--OmniGen2" / "mllm"), local_files_only=True
        ).eval()
        pipe = painter.pipeline
        with torch.inference_mode():
            found = pipe.encode_prompt("both at a table", max_sequence_length=64)
            tokens = pipe.tokenizer([pipe.told("both at a table")], return_tensors="pt")
            wanted = whole(**tokens, output_hidden_states=True).hidden_states[-1]
        assert found.features.shape[1] == 64, "what is longer is cut"
        assert torch.allclose(found.features, wanted[:, :64], atol=1e-5)
        assert "both at a table<|im_end|>" in pipe.told("both at a table")

    def test_a_transformer_is_saved_as_it_was_released(
        self, models_dir: Path, tmp_path: Path
    ) -> None:
        released = models_dir / "OmniGen2--OmniGen2" / "transformer"
        model = OmniGen2Transformer2DModel.from_pretrained(released, local_files_only=True)
        model.save_pretrained(tmp_path)
        name = "diffusion_pytorch_model.safetensors"
        assert (tmp_path / name).read_bytes() == (released / name).read_bytes()

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (lambda t: {f"noise.{k}": v for k, v in t.items()}, "has not"),
            (lambda t: {k: torch.zeros_like(v) for k, v in t.items()}, "changes nothing"),
        ],
    )
    def test_an_adapter_that_does_not_fit_stops_the_load(
        self,
        service: ServiceFolder,
        models_dir: Path,
        wrong: Callable[[dict[str, Any]], dict[str, Any]],
        said: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        assert models_dir.is_dir()
        file = tmp_path / "UMO_OmniGen2.safetensors"
        kept = weights.file(service.manifest, file.name, "adapter")
        save_file(wrong(load_file(kept)), file)
        monkeypatch.setattr(weights, "file", lambda *_: file)
        with pytest.raises(WeightsError, match=said):
            Umo(service.manifest).load()


class TestUno(UmoSuite):
    name = "umo_uno"
    weights: ClassVar = {"": umo.flux_dev, "adapter": umo.on_uno}
    edits: ClassVar = {**SMALL, "steps = 25": "steps = 2"}

    def test_a_distilled_model_avoids_nothing_and_says_so(
        self, model: Model, tmp_path: Path
    ) -> None:
        avoiding = asked(PLAIN, negative_prompt="hats")
        assert facts(model, avoiding, tmp_path)["negative_prompt"] == "not used"
        assert not differ(model, PLAIN, avoiding, tmp_path)

    def test_a_text_encoder_that_comes_and_goes_changes_nothing(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        thrifty = with_runtime(service, drop_text_encoder=True)
        thrifty.load()
        first = painted(thrifty, PLAIN, tmp_path)
        assert thrifty._painter.pipeline.text_encoder_2 is None
        assert np.array_equal(first, painted(model, PLAIN, tmp_path))

    def test_steps_that_are_much_like_the_last_may_be_left_out(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        cached = with_runtime(service, cache="first_block")
        cached.load()
        first = painted(cached, PLAIN, tmp_path)
        assert np.array_equal(first, painted(cached, PLAIN, tmp_path)), "nothing is left behind"
        assert np.abs(first.astype(int) - painted(model, PLAIN, tmp_path)).mean() < 8

    def test_a_picture_alone_is_looked_at_more_closely(self, painter: Painter) -> None:
        assert painter.seen_at(Size(640, 480), 1) == Size(512, 384)
        assert painter.seen_at(Size(640, 480), 2) == Size(320, 240)


for _test in CHILDLESS:
    setattr(TestUno, _test, None)


def test_a_small_picture_is_made_larger_and_keeps_its_aspect() -> None:
    assert enlarged(Size(100, 60), 0) == Size(100, 60)
    assert enlarged(Size(100, 50), 20000) == Size(200, 100)
    assert enlarged(Size(8, 32), 0) == Size(16, 64)
