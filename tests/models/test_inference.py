"""How weights are run, on a FLUX.1 of a few kilobytes: loading, options, steps, what is left."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="NOT CHECKED: how weights are run: pip install '.[models]'")
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from diffusers.models import attention_dispatch
from PIL import Image
from suite import Told
from tiny import flux
from transformers import CLIPTextModel

from bus.weights import WeightsError, folder_of, write_record
from bus.worker.model import PREVIEW_BYTES
from contracts.errors import InvalidRequestError, JobCancelledError
from contracts.manifest import Manifest, parse_manifest
from contracts.weights import WeightsRecord
from inference import device, loading, options, seeding, weights
from inference.steps import LatentPreview, Steps

pytestmark = pytest.mark.models

SERVICE = """
name = "painter"
version = "1.0.0"
tier = "production"
accepts = ["generate_image.v1"]

[model]
name = "Tiny"
licence = "Apache-2.0"
commercial_use = true
weights = "lab/tiny"

[model.parameters]
steps = 4

[resources]
memory_gb = 0.1
"""
STEPS = 4
SIDE = 32


def manifest(**runtime: object) -> Manifest:
    found = parse_manifest(SERVICE, "painter")
    section = msgspec.structs.replace(found.runtime, **runtime)
    return msgspec.structs.replace(found, runtime=section)


def with_parameters(found: Manifest, **parameters: object) -> Manifest:
    model = msgspec.structs.replace(
        found.model, parameters={**found.model.parameters, **parameters}
    )
    return msgspec.structs.replace(found, model=model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The weights, where the environment says that weights lie."""
    models = tmp_path_factory.mktemp("models")
    saved = folder_of(models, "lab/tiny")
    flux.flux1(saved, guidance_embeds=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADGENX_MODELS_DIR", str(models))
        yield saved


def painted(pipeline: FluxPipeline, *, seed: int = 1, **given: object) -> np.ndarray:
    """Run it and return the picture, (h, w, 3) in 0..1."""
    with loading.running(pipeline):
        out = pipeline(
            prompt="a can",
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            generator=seeding.generator(seed),
            output_type="np",
            **given,
        )
    return out.images[0]


@pytest.fixture(scope="module")
def plain(folder: Path) -> np.ndarray:  # noqa: ARG001 - it must be there
    return painted(loading.load(FluxPipeline, manifest()))


@pytest.mark.usefixtures("folder")
class TestLoading:
    def test_what_is_loaded_runs_here_without_a_network_and_is_at_rest(self) -> None:
        pipeline = loading.load(FluxPipeline, manifest())
        models = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
        assert len(models) == 4
        for model in models:
            assert not model.training
            assert {p.device.type for p in model.parameters()} == {device.device()}
            assert not any(p.requires_grad for p in model.parameters())

    def test_a_cpu_computes_in_float32_whatever_is_asked_for(self) -> None:
        assert device.dtype(manifest(dtype="bfloat16"), "cpu") is torch.float32
        assert device.dtype(manifest(dtype="bfloat16"), "cuda") is torch.bfloat16
        assert device.dtype(manifest(dtype="float16"), "cuda") is torch.float16

    def test_equal_seeds_make_equal_pictures_and_others_do_not(self, plain: np.ndarray) -> None:
        pipeline = loading.load(FluxPipeline, manifest())
        assert np.array_equal(painted(pipeline), plain)
        assert not np.array_equal(painted(pipeline, seed=2), plain)

    def test_a_component_of_ones_own_takes_the_place_of_the_folders(self, folder: Path) -> None:
        own = AutoencoderKL.from_pretrained(folder / "vae")
        assert loading.load(FluxPipeline, manifest(), vae=own).vae is own

    def test_one_model_alone_and_one_component_of_a_pipeline_load_the_same_way(
        self, folder: Path
    ) -> None:
        found = loading.load_model(
            FluxTransformer2DModel, manifest(), folder=folder / "transformer"
        )
        assert isinstance(found, FluxTransformer2DModel)
        text = loading.component(folder, "text_encoder", manifest(), "cpu")
        assert isinstance(text, CLIPTextModel)
        assert not text.training

    @pytest.mark.parametrize("runtime", [{"quantise": "int8"}, {"offload": "group"}], ids=str)
    def test_one_model_refuses_what_is_a_pipeline_s(
        self, folder: Path, runtime: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            loading.load_model(
                FluxTransformer2DModel, manifest(**runtime), folder=folder / "transformer"
            )
        assert caught.value.field == f"runtime.{next(iter(runtime))}"

    def test_memory_is_counted(self) -> None:
        assert 0.05 < device.peak_gb() < 1000


class TestBrokenWeights:
    @pytest.fixture
    def copy(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        copied = folder_of(tmp_path, "lab/tiny")
        shutil.copytree(folder, copied)
        monkeypatch.setenv("ADGENX_MODELS_DIR", str(tmp_path))
        return copied

    def test_weights_that_lack_name_the_command_that_brings_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ADGENX_MODELS_DIR", str(tmp_path))
        with pytest.raises(WeightsError, match="not on disk: adgenx models pull painter"):
            loading.load(FluxPipeline, manifest())

    def test_a_file_that_is_cut_short_is_said_to_be_damaged(self, copy: Path) -> None:
        file = copy / "vae" / "diffusion_pytorch_model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(WeightsError, match="cannot be loaded"):
            loading.load(FluxPipeline, manifest())

    def test_pickles_are_never_read(self, copy: Path) -> None:
        file = copy / "vae" / "diffusion_pytorch_model.safetensors"
        model = AutoencoderKL.from_pretrained(copy / "vae")
        torch.save(model.state_dict(), file.with_suffix(".bin"))
        file.unlink()
        with pytest.raises(WeightsError):
            loading.load(FluxPipeline, manifest())

    def test_a_recorded_file_of_another_size_is_not_even_tried(self, copy: Path) -> None:
        write_record(copy, WeightsRecord(repo="lab/tiny", files=[], revision="a" * 40))
        assert weights.revision(manifest()) == "a" * 40
        assert weights.path(manifest()) == copy

    def test_a_component_that_the_index_does_not_name_is_none(self, copy: Path) -> None:
        with pytest.raises(WeightsError, match="names no class of ours for image_encoder"):
            loading.component(copy, "image_encoder", manifest(), "cpu")

    def test_a_file_that_is_no_adapter_is_said_to_be_none(self, copy: Path) -> None:
        pipeline = loading.load(FluxPipeline, manifest())
        with pytest.raises(WeightsError):
            loading.add_lora(
                pipeline, copy / "vae" / "diffusion_pytorch_model.safetensors", name="style"
            )


RUNNING = [
    {"attention": "native"},
    {"attention": "_native_math"},
    {"cache": "first_block"},
    {"cache": "taylor_seer"},
    {"cache": "mag"},
    {"cache": "pyramid"},
    {"cache": "faster"},
    {"quantise": "fp8_storage"},
    {"vae_tiling": True},
    {"offload": "model"},
    {"offload": "group"},
]
PARAMETERS = {
    "mag": {"mag_ratios": "1.0 0.9 0.9 0.9"},
    "faster": {"guidance_distilled": True, "tensor_format": "BCHW"},
}
UNAVAILABLE = [
    {"attention": "sage"},
    {"attention": "no_such_backend"},
    {"quantise": "fp8"},
    {"quantise": "nvfp4"},
    {"quantise": "nf4"},
    {"cache": "mag"},  # without the ratios that were measured for the model
]


@pytest.mark.usefixtures("folder")
class TestOptions:
    @pytest.fixture(autouse=True)
    def usual_attention(self) -> Iterator[None]:
        """A backend that is set for one model is the default of all that come after it."""
        yield
        attention_dispatch._AttentionBackendRegistry.set_active_backend(
            attention_dispatch.AttentionBackendName.NATIVE
        )

    @pytest.mark.parametrize("runtime", RUNNING, ids=str)
    def test_a_model_runs_with_it_twice_the_same(self, runtime: dict[str, Any]) -> None:
        found = with_parameters(manifest(**runtime), **PARAMETERS.get(runtime.get("cache", ""), {}))
        pipeline = loading.load(FluxPipeline, found)
        first = painted(pipeline)
        assert np.isfinite(first).all()
        assert np.array_equal(painted(pipeline), first), "nothing is left of the run before"

    @pytest.mark.parametrize("runtime", UNAVAILABLE, ids=str)
    def test_one_that_cannot_be_had_is_named(self, runtime: dict[str, Any]) -> None:
        (key,) = runtime
        with pytest.raises(InvalidRequestError) as caught:
            loading.load(FluxPipeline, manifest(**runtime))
        assert caught.value.field == f"runtime.{key}"
        assert str(runtime[key]) in caught.value.message

    def test_too_little_memory_is_not_the_option_s_fault(self) -> None:
        class Large:
            """A pipeline whose weights do not fit."""

            def enable_model_cpu_offload(self, device: str) -> None:
                """Find no room."""
                raise torch.OutOfMemoryError(f"{device} out of memory")

        with pytest.raises(torch.OutOfMemoryError):
            options.apply(Large(), manifest(offload="model"), "cuda")

    def test_a_quantisation_whose_package_lacks_says_which(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(options, "find_spec", lambda _: None)
        with pytest.raises(InvalidRequestError, match="pip install torchao"):
            loading.load(FluxPipeline, manifest(quantise="int8"))

    def test_weights_in_whole_numbers_make_nearly_the_same_picture(self, plain: np.ndarray) -> None:
        pytest.importorskip("torchao", reason="NOT CHECKED: int8: pip install '.[quantise]'")
        pipeline = loading.load(FluxPipeline, manifest(quantise="int8"))
        made = painted(pipeline)
        assert np.array_equal(painted(pipeline), made)
        assert 0 < np.abs(made.astype(float) - plain).mean() < 8

    @pytest.mark.parametrize(("kind", "least"), [("fp8", "8.9"), ("nvfp4", "10.0")])
    def test_what_the_device_cannot_multiply_is_refused(
        self, kind: str, least: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(options, "find_spec", lambda _: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
        with pytest.raises(InvalidRequestError, match=f"capability {least}"):
            loading.load(FluxPipeline, manifest(quantise=kind))

    def test_a_cache_that_reuses_steps_makes_another_picture(self, plain: np.ndarray) -> None:
        found = with_parameters(manifest(cache="first_block"), cache_threshold=1e9)
        assert not np.array_equal(painted(loading.load(FluxPipeline, found)), plain)

    def test_weights_kept_in_8_bit_make_another_picture(self, plain: np.ndarray) -> None:
        pipeline = loading.load(FluxPipeline, manifest(quantise="fp8_storage"))
        kept = {p.dtype for p in pipeline.transformer.transformer_blocks.parameters()}
        assert torch.float8_e4m3fn in kept
        assert not np.array_equal(painted(pipeline), plain)

    def test_groups_of_layers_are_brought_one_by_one(self, plain: np.ndarray) -> None:
        pipeline = loading.load(FluxPipeline, manifest())
        options.group_offload(pipeline, "cpu")
        assert np.array_equal(painted(pipeline), plain)

    def test_repeated_blocks_are_compiled(self) -> None:
        pipeline = loading.load(FluxPipeline, manifest(compile=True))
        blocks = pipeline.transformer.transformer_blocks
        assert all(block._compiled_call_impl is not None for block in blocks)

    def test_a_pipeline_without_what_an_option_is_about_is_refused(self) -> None:
        class Bare:
            """A pipeline of nothing."""

            def to(self, device: str) -> None:
                """Go nowhere."""

        for runtime in ({"attention": "native"}, {"vae_tiling": True}, {"compile": True}):
            with pytest.raises(InvalidRequestError) as caught:
                options.apply(Bare(), manifest(**runtime), "cpu")
            assert caught.value.field == f"runtime.{next(iter(runtime))}"

    def test_text_encoders_are_dropped_once_a_prompt_is_encoded_and_come_again(
        self, folder: Path, plain: np.ndarray
    ) -> None:
        found = manifest(drop_text_encoder=True)
        pipeline = loading.load(FluxPipeline, found)
        encoders = options.TextEncoders(pipeline, found, folder, "cpu")
        for _ in range(2):
            with encoders.present():
                embeds, pooled, _ = pipeline.encode_prompt("a can", None)
            assert pipeline.text_encoder is pipeline.text_encoder_2 is None
            with loading.running(pipeline):
                out = pipeline(
                    prompt_embeds=embeds,
                    pooled_prompt_embeds=pooled,
                    height=SIDE,
                    width=SIDE,
                    num_inference_steps=STEPS,
                    generator=seeding.generator(1),
                    output_type="np",
                )
            assert np.array_equal(out.images[0], plain)

    def test_without_that_option_they_stay(self, folder: Path) -> None:
        pipeline = loading.load(FluxPipeline, manifest())
        with options.TextEncoders(pipeline, manifest(), folder, "cpu").present():
            pass
        assert pipeline.text_encoder is not None


class TestSteps:
    @pytest.fixture(scope="class")
    def pipeline(self, folder: Path) -> FluxPipeline:  # noqa: ARG002 - it must be there
        return loading.load(FluxPipeline, manifest())

    def test_each_step_is_told_and_only_the_end_is_the_whole(self, pipeline: FluxPipeline) -> None:
        told = Told()
        steps = Steps(told, STEPS + 1)
        painted(pipeline, callback_on_step_end=steps.callback)
        steps.finish("encode")
        assert told.words == [
            *((n, STEPS + 1, "denoise") for n in range(STEPS + 1)),
            (STEPS + 1, STEPS + 1, "encode"),
        ]

    def test_a_cancel_ends_the_run_within_the_step_and_nothing_is_decoded(
        self, pipeline: FluxPipeline, monkeypatch: pytest.MonkeyPatch, plain: np.ndarray
    ) -> None:
        decoded: list[object] = []
        decode = pipeline.vae.decode
        monkeypatch.setattr(
            pipeline.vae, "decode", lambda *a, **k: decoded.append(a) or decode(*a, **k)
        )
        told = Told(until=2)
        steps = Steps(told, STEPS + 1)
        with pytest.raises(JobCancelledError):
            painted(pipeline, callback_on_step_end=steps.callback)
        assert told.words[-1] == (2, STEPS + 1, "denoise")
        assert not decoded
        assert np.array_equal(painted(pipeline), plain)
        assert len(decoded) == 1

    def test_a_cancelled_run_leaves_no_cache_behind(self, folder: Path) -> None:  # noqa: ARG002 - as above
        found = with_parameters(manifest(cache="first_block"), cache_threshold=1e9)
        pipeline = loading.load(FluxPipeline, found)
        first = painted(pipeline)
        with pytest.raises(JobCancelledError):
            painted(
                pipeline,
                seed=2,
                callback_on_step_end=Steps(Told(until=2), STEPS + 1).callback,
            )
        assert np.array_equal(painted(pipeline), first)

    def test_previews_are_small_and_show_what_the_decoder_would(
        self, pipeline: FluxPipeline
    ) -> None:
        vae = pipeline.vae
        preview = LatentPreview(
            lambda latents: vae.decode(latents).sample, lambda latents: latents[0]
        )
        channels = vae.config.latent_channels
        flat = torch.zeros((1, channels, 6, 8))
        data = preview(flat)
        assert len(data) <= PREVIEW_BYTES
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (192, 144)
            shown = np.asarray(picture, np.float32).mean(axis=(0, 1))
        with torch.inference_mode():
            real = vae.decode(torch.zeros((1, channels, 4, 4))).sample.mean(dim=(0, 2, 3))
        expected = np.clip((real.numpy() + 1) * 127.5, 0, 255)
        assert np.abs(shown - expected).max() < 4
