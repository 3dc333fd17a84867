"""LongCat-Video in the numbers of the original implementation: calls, cache, adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: LongCat-Video: pip install '.[models]'")
import longcat_golden as golden
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models import attention_dispatch
from safetensors.torch import load_file, save_file

from bus.weights import WeightsError
from services.longcat import lora
from services.longcat.guidance import optimized_scale
from services.longcat.schedule import Course, follow, unshifted
from services.longcat.transformer import LongCatVideoTransformer3DModel

pytestmark = pytest.mark.models


@pytest.fixture(autouse=True)
def attention() -> Iterator[None]:
    """Put the library's own choice of attention back: a model's is remembered for all of them."""
    from diffusers.models import attention_dispatch  # noqa: PLC0415 - not before the skip above

    registry = attention_dispatch._AttentionBackendRegistry
    before = registry._active_backend
    yield
    registry._active_backend = before


CALL = 3e-5
CALLS = golden.names("dit_forward", "dit_kv_write", "dit_kv_read")
LATENTS, GUIDED, TIMESTEPS, SIGMAS = 1e-4, 2e-4, 1e-3, 1e-6
LOOPS = golden.names("loop")
LORAS = golden.names("dit_lora")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_makes_the_originals_numbers(name: str) -> None:
    found = golden.case(name)
    assert (
        golden.apart(golden.call(golden.transformer(**found.overrides), found), found.out) <= CALL
    )


def test_what_was_kept_of_clean_frames_stands_for_them() -> None:
    with_cache, without = golden.case("dit_kv_read"), golden.case("dit_kv_reference")
    model = golden.transformer(**with_cache.overrides)
    first = without.params["num_cond_latents"]
    whole = golden.call(model, without)["sample"][:, :, first:]
    assert golden.apart(golden.call(model, with_cache), {"sample": whole}) <= CALL


@pytest.mark.parametrize("name", golden.names("schedule"))
def test_a_schedule_is_the_originals(name: str) -> None:
    found = golden.case(name)
    params = found.params
    course = Course(
        params["num_inference_steps"],
        params["use_distill"],
        params["enhance_hf"],
        params["t_thresh"] if params["refine"] else 0.0,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=params["shift"])
    times = follow(scheduler, course)
    made = {
        "sigmas_in": unshifted(course),
        "sigmas": scheduler.sigmas,
        "timesteps": scheduler.timesteps,
    }
    assert torch.equal(times, scheduler.timesteps)
    for key, expected in found.out.items():
        limit = TIMESTEPS if key == "timesteps" else SIGMAS
        assert golden.apart(made, {key: expected}) <= limit, key


def test_guidance_and_normalisation_are_the_originals() -> None:
    for name in golden.names("optimized_scale"):
        found = golden.case(name)
        assert golden.apart({"st_star": optimized_scale(**found.given)}, found.out) <= CALL
    pipe = golden.pipeline()
    for name in golden.names("vae_norm"):
        found = golden.case(name)
        x = found.given["x"]
        made = {"normalized": pipe.normalized(x), "denormalized": pipe.denormalized(x)}
        assert golden.apart(made, found.out) <= CALL


def too_far(made: golden.Tensors, out: golden.Tensors) -> list[str]:
    """The outputs of a loop that are further from the original's than they may be."""
    limits = {"timesteps": TIMESTEPS, "sigmas": SIGMAS, "dit_timestep": TIMESTEPS}
    guided = ("noise_pred", "noise_pred_uncond", "noise_pred_cond", "model_output", "st_star")
    limits |= dict.fromkeys(guided, GUIDED)
    return [k for k in out if golden.apart(made, {k: out[k]}) > limits.get(k, LATENTS)]


@pytest.mark.parametrize("name", LOOPS)
def test_a_film_is_the_originals_step_by_step(name: str) -> None:
    found = golden.case(name)
    assert too_far(golden.loop(golden.pipeline(**found.overrides), found), found.out) == []


def test_what_is_kept_and_what_is_not_make_different_films() -> None:
    """With the cache, guidance is scaled by noisy frames alone: on purpose, as the original."""
    found = golden.case("loop_continuation_kv")
    shown = found._replace(params={**found.params, "use_kv_cache": False})
    made = golden.loop(golden.pipeline(**found.overrides), shown)
    assert golden.apart(made, {"final_latents": found.out["final_latents"]}) > LATENTS


def test_a_callback_may_change_the_latents_and_end_the_loop() -> None:
    found = golden.case(LOOPS[0])
    pipe = golden.pipeline(**found.overrides)
    words = golden.words_of(found)
    seen = []

    def once(pipe: object, step: int, timestep: object, values: dict[str, Any]) -> dict[str, Any]:
        assert timestep is not None
        seen.append(step)
        pipe._interrupt = True  # type: ignore[attr-defined]  # as diffusers' callbacks do
        return {"latents": torch.zeros_like(values["latents"])}

    made = pipe(
        words=words,
        latents=found.given["latents"],
        num_inference_steps=4,
        output_type="latent",
        callback_on_step_end=once,
    ).frames
    assert seen == [0]
    assert not made.any()


SPOILT = (
    "x_embedder.proj.weight",
    "t_embedder.mlp.2.weight",
    "y_embedder.y_proj.0.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.1.cross_attn.kv_linear.bias",
    "final_layer.linear.weight",
)


@pytest.mark.parametrize("name", LOOPS)
def test_a_spoilt_weight_is_seen_in_every_film(name: str) -> None:
    found = golden.case(name)
    pipe = golden.pipeline(**found.overrides)
    with torch.no_grad():
        pipe.dit.get_parameter(SPOILT[LOOPS.index(name) % len(SPOILT)]).view(-1)[0] += 0.5
    assert {"final_latents", "latents_after_step"} <= set(
        too_far(golden.loop(pipe, found), found.out)
    )


@pytest.mark.parametrize("name", LORAS)
def test_the_adapter_makes_the_originals_numbers_and_can_be_put_away(name: str) -> None:
    found = golden.case(name)
    model = golden.transformer(**found.overrides)
    before = golden.call(model, found)
    assert golden.apart(before, found.out) > CALL, "the adapter changes what comes out"
    lora.add(model, golden.GOLDEN / "lora.safetensors", name="golden")
    lora.use(model, "golden", found.params["multiplier"])
    assert golden.apart(golden.call(model, found), found.out) <= CALL
    lora.use(model, "")
    assert golden.apart(golden.call(model, found), before) == 0.0


def test_every_single_weight_counts() -> None:
    """Each tensor of the weights, one element moved: some call notices."""
    cases = [golden.case(n) for n in CALLS if not golden.CASES[n]["dit_overrides"]]
    model = golden.transformer()
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.view(-1)[0] += 0.5
            noticed = any(golden.apart(golden.call(model, c), c.out) > CALL for c in cases)
            parameter.view(-1)[0] -= 0.5
        assert noticed, name


def test_every_single_tensor_of_the_adapter_counts(tmp_path: Path) -> None:
    found = golden.case(LORAS[0])
    whole = load_file(golden.GOLDEN / "lora.safetensors")
    for name, tensor in whole.items():
        changed = tensor.clone()
        changed.view(-1)[0] += 0.5
        file = tmp_path / "changed.safetensors"
        save_file({**whole, name: changed}, file)
        model = golden.transformer(**found.overrides)
        lora.add(model, file, name="changed")
        lora.use(model, "changed", found.params["multiplier"])
        assert golden.apart(golden.call(model, found), found.out) > CALL, name


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda n: n.replace("blocks___lorahyphen___0", "blocks___lorahyphen___99"), "has not"),
        (lambda n: n.replace("lora_up.blocks.1", "lora_up.blocks.7"), "not all"),
        (lambda n: n.replace(".alpha_scale", ".alpha"), "no tensor of"),
    ],
    ids=["another model's", "a part of it", "another format"],
)
def test_an_adapter_that_does_not_fit_is_refused(wrong: object, said: str, tmp_path: Path) -> None:
    assert callable(wrong)
    file = tmp_path / "wrong.safetensors"
    whole = load_file(golden.GOLDEN / "lora.safetensors")
    save_file({wrong(name): tensor for name, tensor in whole.items()}, file)
    with pytest.raises(WeightsError, match=said):
        lora.add(golden.transformer(), file, name="wrong")


def test_an_adapter_of_zeros_is_none(tmp_path: Path) -> None:
    whole = load_file(golden.GOLDEN / "lora.safetensors")
    file = tmp_path / "silent.safetensors"
    save_file({n: torch.zeros_like(t) if "lora_up" in n else t for n, t in whole.items()}, file)
    with pytest.raises(WeightsError, match="changes nothing"):
        lora.add(golden.transformer(), file, name="silent")


def test_saved_loaded_and_saved_again_it_is_the_same(tmp_path: Path) -> None:
    golden.transformer().save_pretrained(tmp_path / "first", safe_serialization=True)
    loaded = LongCatVideoTransformer3DModel.from_pretrained(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second", safe_serialization=True)
    name = "diffusion_pytorch_model.safetensors"
    assert load_file(tmp_path / "first" / name).keys() == golden.weights().keys()
    first, second = (tmp_path / n for n in ("first", "second"))
    assert (first / name).read_bytes() == (second / name).read_bytes()
    settings = [json.loads((f / "config.json").read_text()) for f in (first, second)]
    settings[1].pop("_name_or_path")  # where it was read from
    assert settings[0] == settings[1]
    assert settings[0].items() >= golden.CONFIG["dit"].items()


def test_in_half_the_precision_it_is_nearly_the_same_and_answers_in_float32() -> None:
    found = golden.case(golden.names("dit_kv_read")[0])
    model = golden.transformer(**found.overrides).to(torch.bfloat16)
    made = golden.call(model, found)
    assert made["sample"].dtype == torch.float32
    size = float(found.out["sample"].abs().max())
    assert CALL < golden.apart(made, found.out) < 0.05 * size


@pytest.mark.parametrize("backend", ["native", "_native_math", "_native_flash", "flex"])
def test_attention_goes_through_the_backend_that_is_set(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = golden.case(golden.names("dit_forward")[0])
    model = golden.transformer(**found.overrides)
    model.set_attention_backend(backend)
    registry = attention_dispatch._AttentionBackendRegistry._backends
    name = attention_dispatch.AttentionBackendName(backend)
    calls = []

    def counted(**given: object) -> torch.Tensor:
        calls.append(given)
        return torch.zeros_like(given["query"])  # type: ignore[call-overload]  # a tensor

    monkeypatch.setitem(registry, name, counted)
    golden.call(model, found)
    assert len(calls) == 2 * golden.CONFIG["dit"]["depth"]
