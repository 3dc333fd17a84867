"""Nitro-E's services on tiny weights, read from the files that its release consists of."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: Nitro-E: pip install '.[models]'")
import torch
from diffusers.models import attention_dispatch
from PIL import Image
from safetensors.torch import load_file, save_file
from samples import JUNK, PICTURE, Sample, ref
from suite import Told, WeightsSuite, contents, made
from tiny import nitro

from bus.weights import WeightsError
from bus.worker.folder import ServiceFolder
from bus.worker.model import Model
from contracts.brief import Form
from contracts.errors import InvalidRequestError
from contracts.requests import ArtDirection, Box, GenerateImage, Subject
from inference import seeding, weights
from services.nitro import release
from services.nitro.model import Model as Nitro
from services.nitro.pipeline import NitroPipeline
from services.nitro.recipe import recipe_of

pytestmark = pytest.mark.models

Values = dict[str, Any]
SHOWN = ref(PICTURE, "image/png")
PLAIN = GenerateImage(prompt="a calm sea", width=64, height=40, negative_prompt="birds", seed=3)
CHILDLESS = (
    "test_makes_media_and_tells_how_far_it_is",
    "test_the_same_request_makes_the_same_bytes",
    "test_a_cancelled_run_stops_and_the_next_one_works",
    "test_a_bad_request_is_refused_before_any_work",
    "test_a_second_run_works_after_a_failed_one_and_makes_the_same",
)
"""What one class shows of the child's side; a second child would only import the same again."""


def asked(**fields: object) -> GenerateImage:
    return msgspec.structs.replace(PLAIN, **fields)


def painted(model: Model, request: GenerateImage, folder: Path) -> np.ndarray:
    """Return the picture that a request makes, (h, w, 3) uint8."""
    (media,) = made(model, request, Told(), folder)
    with Image.open(media.path) as picture:
        return np.asarray(picture)


def differ(model: Model, one: GenerateImage, other: GenerateImage, folder: Path) -> bool:
    return not np.array_equal(painted(model, one, folder), painted(model, other, folder))


def with_runtime(service: ServiceFolder, **options: object) -> Nitro:
    manifest = service.manifest
    runtime = msgspec.structs.replace(manifest.runtime, **options)
    return Nitro(msgspec.structs.replace(manifest, runtime=runtime))


class NitroSuite(WeightsSuite):
    """What each of its services keeps."""

    weights: ClassVar = {
        "": nitro.checkpoints,
        release.TEXT_ENCODER: nitro.text_encoder,
        release.AUTOENCODER: nitro.autoencoder,
    }
    edits: ClassVar = {"side = 512": f"side = {nitro.SIDE}"}

    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(PLAIN, asked(references=[ref(JUNK, "image/png")]))

    def test_it_makes_a_square_and_gives_out_what_was_asked_for(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        (media,) = made(model, PLAIN, Told(), tmp_path)
        assert (media.width, media.height) == (64, 40)
        assert media.metadata["made_size"] == "64x64"
        assert media.metadata["steps"] == str(service.manifest.model.parameters["steps"])
        with Image.open(media.path) as picture:
            assert picture.size == (64, 40)
            assert '"made_size":"64x64"' in picture.info["Comment"]

    def test_the_prompt_the_art_direction_and_its_length_are_minded(
        self, model: Model, tmp_path: Path
    ) -> None:
        assert differ(model, PLAIN, asked(prompt="a wild sea"), tmp_path)
        art = ArtDirection(quiet=Box(x=0, y=0, w=1, h=0.3))
        assert differ(model, PLAIN, asked(art=art), tmp_path)
        assert not differ(model, PLAIN, asked(prompt=" A Calm SEA "), tmp_path)
        (media,) = made(model, asked(prompt="a very calm sea, " * 100), Told(), tmp_path)
        assert int(media.metadata["unread_tokens"]) == len("a very calm sea, " * 100) - 128

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"references": [SHOWN]}, "references[0]"),
            (
                {"art": ArtDirection(subject=Subject(form=Form.CAN, label=SHOWN))},
                "art.subject.label",
            ),
            ({"prompt": "  "}, "prompt"),
            ({"art": ArtDirection(focus=Box(x=0, y=0, w=0, h=1))}, "art.focus"),
        ],
    )
    def test_what_it_cannot_do_is_refused_by_name_before_anything_is_done(
        self, model: Model, tmp_path: Path, fields: dict[str, object], name: str
    ) -> None:
        told = Told()
        with pytest.raises(InvalidRequestError) as caught:
            made(model, asked(**fields), told, tmp_path)
        assert caught.value.field == name
        assert not told.words


class TestNitro(NitroSuite):
    name = "nitro"
    edits: ClassVar = {**NitroSuite.edits, "most_at_once = 16": "most_at_once = 2"}

    def test_a_set_is_made_in_batches_each_picture_from_its_own_seed(
        self, model: Model, tmp_path: Path
    ) -> None:
        told, last = Told(), 2**31 - 1
        media = made(model, asked(count=3, seed=last), told, tmp_path)
        assert [m.name for m in media] == ["image", "image_2", "image_3"]
        assert [m.metadata["seed"] for m in media] == [str(last), "0", "1"]
        assert told.words[-1][:2] == (2 * 4 + 1, 2 * 4 + 1), "two batches of four steps"
        for number, one in enumerate(media):
            with Image.open(one.path) as picture:
                found = np.asarray(picture, float)
            alone = painted(model, asked(seed=(last + number) % 2**31), tmp_path)
            # A batch adds up in another order than one picture does.
            assert np.abs(found - alone).max() <= 2
        assert len(set(contents(media).values())) == 3

    def test_a_distilled_model_avoids_nothing_and_says_so(
        self, model: Model, tmp_path: Path
    ) -> None:
        (media,) = made(model, PLAIN, Told(), tmp_path)
        assert media.metadata["negative_prompt"] == "not used"
        assert not differ(model, PLAIN, asked(negative_prompt=""), tmp_path)

    def test_what_is_shown_on_the_way_is_what_the_decoder_would_show(
        self, model: Model, tmp_path: Path
    ) -> None:
        told = Told()
        made(model, PLAIN, told, tmp_path)
        with Image.open(io.BytesIO(told.previews[0])) as preview:
            assert preview.size == (192, 192)
        pipeline: Any = model._painter._pipeline  # type: ignore[attr-defined]  # looks under the hood
        latents = torch.randn(1, 8, 16, 16, generator=seeding.generator(1))
        with torch.inference_mode():
            shown = pipeline.decode(latents)[0].clamp(-1, 1)
            whole = np.asarray(pipeline._pictures(latents, "pil")[0], float)
        assert np.abs((shown.permute(1, 2, 0).numpy() + 1) * 127.5 - whole).max() <= 1

    def test_a_callback_that_has_seen_enough_ends_the_steps(self, model: Model) -> None:
        pipeline: Any = model._painter._pipeline  # type: ignore[attr-defined]  # as above
        seen: list[int] = []

        def stop(
            pipe: NitroPipeline, step: int, _: object, values: dict[str, Any]
        ) -> dict[str, Any]:
            seen.append(step)
            pipe._interrupt = True
            return values

        pipeline(["a sea"], num_inference_steps=4, callback_on_step_end=stop)
        assert seen == [0]
        assert pipeline.interrupt

    @pytest.fixture
    def usual_attention(self) -> Iterator[None]:
        """A backend that is set for one model is diffusers' choice for all that come after."""
        yield
        attention_dispatch._AttentionBackendRegistry.set_active_backend(
            attention_dispatch.AttentionBackendName.NATIVE
        )

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("drop_text_encoder", True),
            ("quantise", "int8"),
            ("cache", "first_block"),
            ("attention", "unheard_of"),
        ],
    )
    def test_an_option_that_it_cannot_take_is_refused_by_name(
        self, service: ServiceFolder, models_dir: Path, option: str, value: object
    ) -> None:
        assert models_dir.is_dir()
        with pytest.raises(InvalidRequestError) as caught:
            with_runtime(service, **{option: value}).load()
        assert caught.value.field == f"runtime.{option}"

    @pytest.mark.parametrize(
        ("option", "value", "most"),
        [("attention", "_native_math", 1), ("quantise", "fp8_storage", 24)],
    )
    @pytest.mark.usefixtures("usual_attention")
    def test_an_option_that_it_has_changes_little(
        self,
        service: ServiceFolder,
        model: Model,
        tmp_path: Path,
        option: str,
        value: str,
        most: float,
    ) -> None:
        other = with_runtime(service, **{option: value})
        other.load()
        first, second = (painted(m, PLAIN, tmp_path).astype(int) for m in (model, other))
        assert np.abs(first - second).mean() <= most

    @pytest.mark.parametrize("lacks", ["proj_out.bias", "pos_embed.proj.weight"])
    def test_a_checkpoint_that_does_not_fit_is_told(
        self,
        service: ServiceFolder,
        models_dir: Path,
        lacks: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        assert models_dir.is_dir()
        file = weights.file(service.manifest, recipe_of(service.manifest).file)
        save_file({k: v for k, v in load_file(file).items() if k != lacks}, tmp_path / file.name)
        monkeypatch.setattr(weights, "file", lambda *_: tmp_path / file.name)
        with pytest.raises(WeightsError, match="cannot be loaded"):
            Nitro(service.manifest).load()

    def test_subregions_want_a_prompt_of_whole_groups(self, service: ServiceFolder) -> None:
        section = service.manifest.model
        wrong = msgspec.structs.replace(section, parameters={**section.parameters, "max_tokens": 9})
        with pytest.raises(InvalidRequestError, match="multiple of 16"):
            Nitro(msgspec.structs.replace(service.manifest, model=wrong))


class GuidedSuite(NitroSuite):
    """The undistilled services, with guidance and their adapter."""

    def test_a_negative_prompt_counts(self, model: Model, tmp_path: Path) -> None:
        assert differ(model, PLAIN, asked(negative_prompt="a sea"), tmp_path)

    def test_the_adapter_is_merged_and_told(
        self, service: ServiceFolder, model: Model, tmp_path: Path
    ) -> None:
        (media,) = made(model, PLAIN, Told(), tmp_path)
        assert media.metadata["adapter"] == service.manifest.model.parameters["adapter"]
        section = service.manifest.model
        changed = msgspec.structs.replace(section, parameters={**section.parameters, "adapter": ""})
        bare = Nitro(msgspec.structs.replace(service.manifest, model=changed))
        bare.load()
        assert contents(made(bare, PLAIN, Told(), tmp_path)) != contents([media])


class TestFull(GuidedSuite):
    name = "nitro_full"
    edits: ClassVar = {
        "side = 512": f"side = {nitro.SIDE}",
        'adapter = "ckpt_grpo_512px"\nsteps = 20': 'adapter = "ckpt_grpo_512px"\nsteps = 2',
    }

    def test_an_adapter_adds_its_product_to_the_weights(
        self, models_dir: Path, tmp_path: Path
    ) -> None:
        file = models_dir / "amd--Nitro-E" / "Nitro-E-512px.safetensors"
        name = "block_groups.1.3.attn.to_q"
        folder = models_dir / "amd--Nitro-E" / "ckpt_grpo_512px"
        lora = load_file(folder / "adapter_model.safetensors")
        down, up = (lora[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
        before = load_file(file)[f"{name}.weight"]
        found = release.with_adapter(release.read_transformer(file, 16, subregions=True), folder)
        after = found.get_submodule(name).weight
        assert torch.allclose(after, before + 2 * up @ down, atol=1e-6)
        nitro.adapter(tmp_path / "silent", 0, loud=0.0)
        with pytest.raises(WeightsError, match="changes nothing"):
            release.with_adapter(found, tmp_path / "silent")
        with pytest.raises(WeightsError, match=r"has no adapter_model\.safetensors"):
            release.with_adapter(found, tmp_path)


class TestLarge(GuidedSuite):
    name = "nitro_large"
    edits: ClassVar = {
        "side = 1024": f"side = {nitro.SIDE}",
        "subregions = false\nsteps = 20": "subregions = false\nsteps = 2",
    }


for _suite in (TestFull, TestLarge):
    for _test in CHILDLESS:
        setattr(_suite, _test, None)
