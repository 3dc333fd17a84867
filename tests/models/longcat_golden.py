"""The golden set of LongCat-Video: its cases, and a denoiser with its weights.

Another set of the same layout is taken from the folder that ADGENX_GOLDEN names.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file

from services.longcat.attention import KeyValue
from services.longcat.denoising import TOLD, Words
from services.longcat.pipeline import LongCatVideoPipeline, PromptWords
from services.longcat.transformer import KVCache, LongCatVideoTransformer3DModel

GOLDEN = Path(
    os.environ.get("ADGENX_GOLDEN") or Path(__file__).parents[1] / "golden_models" / "longcat"
)
CONFIG = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
CASES = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))["cases"]

Tensors = dict[str, torch.Tensor]


class Case(NamedTuple):
    """One case of the set."""

    name: str
    kind: str
    params: dict[str, Any]
    overrides: dict[str, Any]
    given: Tensors
    out: Tensors


def names(*kinds: str) -> list[str]:
    """The names of all cases of these kinds."""
    found = [name for name, case in CASES.items() if case["kind"] in kinds]
    assert found, f"the set has no {kinds}"
    return found


@functools.cache
def _tensors() -> Tensors:
    return dict(load_file(GOLDEN / "cases.safetensors"))


@functools.cache
def weights() -> Tensors:
    """The denoiser's weights."""
    return dict(load_file(GOLDEN / "dit.safetensors"))


def case(name: str) -> Case:
    """One case with all its tensors, each of which has the shape that the set says."""
    found = CASES[name]
    parts = {}
    for side, told in (("in", "inputs"), ("out", "outputs")):
        parts[side] = {key: _tensors()[f"{name}/{side}/{key}"].clone() for key in found[told]}
        for key, (kind, shape) in found[told].items():
            tensor = parts[side][key]
            assert (str(tensor.dtype), list(tensor.shape)) == (f"torch.{kind}", shape), key
    return Case(
        name, found["kind"], found["params"], found["dit_overrides"], parts["in"], parts["out"]
    )


def transformer(**overrides: Any) -> LongCatVideoTransformer3DModel:  # noqa: ANN401 - constructor arguments
    """The denoiser of the set, with every one of its weights."""
    made = LongCatVideoTransformer3DModel(**{**CONFIG["dit"], **overrides}).eval()
    made.load_state_dict({key: tensor.clone() for key, tensor in weights().items()}, strict=True)
    return made


def cache_of(keys: torch.Tensor, values: torch.Tensor, frames: int) -> KVCache:
    """A cache of the set, (depth, B, heads, tokens, channels), as ours."""
    pairs = zip(keys.transpose(2, 3), values.transpose(2, 3), strict=True)
    return KVCache(frames, tuple(KeyValue(k, v) for k, v in pairs))


def call(model: LongCatVideoTransformer3DModel, found: Case) -> Tensors:
    """What a model answers to a case of one call, under the names of its outputs."""
    given = dict(found.given)
    params = found.params
    cond, cache = params.get("num_cond_latents", 0), None
    if "k_cache" in given:
        cache, cond = cache_of(given.pop("k_cache"), given.pop("v_cache"), cond), 0
    if params.get("skip_cross_attention"):
        given["encoder_hidden_states"] = None  # type: ignore[assignment]  # how it is left out
    with torch.inference_mode():
        answer = model(
            **given,
            num_cond_latents=cond,
            kv_cache=cache,
            return_kv=found.kind == "dit_kv_write",
        )
    out = {"sample": answer.sample}
    if answer.kv_cache is not None:
        for key, side in (("k_cache", 0), ("v_cache", 1)):
            out[key] = torch.stack([block[side] for block in answer.kv_cache.blocks]).transpose(
                2, 3
            )
    return out


def apart(made: Tensors, out: Tensors) -> float:
    """The largest difference of any output; each of the case's must be there, in its shape."""
    worst = 0.0
    for key, expected in out.items():
        assert made[key].shape == expected.shape, key
        worst = max(worst, float((made[key].float() - expected.float()).abs().max()))
    return worst


def pipeline(**overrides: Any) -> LongCatVideoPipeline:  # noqa: ANN401 - constructor arguments
    """The pipeline around the set's denoiser, with its scheduler and latent statistics."""
    stats = CONFIG["vae"]
    vae = AutoencoderKLWan(
        base_dim=3,
        z_dim=stats["z_dim"],
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=stats["latents_mean"],
        latents_std=stats["latents_std"],
    )
    found = {k: v for k, v in CONFIG["scheduler"].items() if not k.startswith("_")}
    scheduler = FlowMatchEulerDiscreteScheduler(**found)
    made = LongCatVideoPipeline(None, None, vae, scheduler, transformer(**overrides))
    made.set_progress_bar_config(disable=True)
    return made


class Recorder:
    """Hears of every step and keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def __call__(
        self,
        _pipe: object,
        _step: int,
        timestep: torch.Tensor,
        values: dict[str, Any],
    ) -> dict[str, Any]:
        self.steps.append({**values, "timestep": timestep})
        return {}

    def stacked(self, name: str) -> torch.Tensor:
        return torch.stack([step[name] for step in self.steps])


def words_of(found: Case) -> PromptWords:
    """A loop's prompt, and what guidance leads away from if it is guided."""
    given = found.given
    prompt = Words(given["prompt_embeds"], given["prompt_attention_mask"])
    if "negative_prompt_embeds" not in given:
        return PromptWords(prompt, None)
    against = Words(given["negative_prompt_embeds"], given["negative_prompt_attention_mask"])
    return PromptWords(prompt, against)


def refined(
    pipe: LongCatVideoPipeline, found: Case, out: Tensors, shared: dict[str, Any]
) -> torch.Tensor:
    """The final latents of a refinement; what it begins with is put into `out`."""
    share, noise = found.params["t_thresh"], found.given["noise"]
    film = pipe.normalized(found.given["stage1_latents_raw"])
    clean = out.get("cond_latents")
    begun = pipe.noised(film, noise, share)
    if clean is not None:
        begun[:, :, : clean.shape[2]] = clean
    out["initial_latents"] = begun
    made = pipe.refine(film, cond_latents=clean, noise=noise, t_thresh=share, **shared)
    final: torch.Tensor = made.frames
    return final


def loop(pipe: LongCatVideoPipeline, found: Case) -> Tensors:
    """What the pipeline makes of a loop's case, under the names of its outputs."""
    given, params, heard = found.given, found.params, Recorder()
    shared = {
        "words": words_of(found),
        "num_inference_steps": params["num_inference_steps"],
        "output_type": "latent",
        "callback_on_step_end": heard,
        "callback_on_step_end_tensor_inputs": TOLD,
    }
    out: Tensors = {}
    if "cond_latents_raw" in given:
        out["cond_latents"] = pipe.normalized(given["cond_latents_raw"])
    if params["mode"] == "refine":
        final = refined(pipe, found, out, shared)
    else:
        final = pipe(
            latents=given["latents"],
            cond_latents=out.get("cond_latents"),
            guidance_scale=params["guidance_scale"],
            use_distill=params["use_distill"],
            use_kv_cache=params.get("use_kv_cache", False),
            enhance_hf=params.get("enhance_hf", False),
            **shared,
        ).frames
    out |= {"final_latents": final, "timesteps": pipe.scheduler.timesteps}
    out |= {"sigmas": pipe.scheduler.sigmas, "latents_after_step": heard.stacked("latents")}
    for name in set(TOLD) & found.out.keys():
        made = heard.stacked(name)
        out[name] = made.flatten(1).squeeze(1) if name == "st_star" else made
    return out
