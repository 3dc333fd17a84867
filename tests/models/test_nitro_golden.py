"""Nitro-E's transformer, schedule and loop, in the numbers of the original implementation."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: Nitro-E: pip install '.[models]'")
import golden_set
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from services.nitro.pipeline import NitroPipeline
from services.nitro.release import read_transformer
from services.nitro.transformer import EMMDiTTransformer

pytestmark = pytest.mark.models

GOLDEN = golden_set.folder("nitro", "cases.json", '"nitro-golden-1"')
CONFIG = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
CASES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))["cases"]
TENSORS = load_file(GOLDEN / "cases.safetensors")
WEIGHTS = load_file(GOLDEN / "dit.safetensors")

CALL, LOOP, TIMESTEPS, SIGMAS = 3e-5, 1e-4, 1e-3, 1e-6
TOLERANCE = {
    "sample": CALL,
    "pos_embed_lv0": CALL,
    "timesteps": TIMESTEPS,
    "dit_timestep": TIMESTEPS,
    "sigmas": SIGMAS,
}
"""Largest difference by output; every other one is of a loop."""
NO_INFLUENCE = ("attn.add_q_proj.weight", "attn.add_q_proj.bias", "attn.norm_added_q.weight")
"""Of the last block: nobody reads what its text has asked."""
SAMPLED = 48

Tensors = dict[str, torch.Tensor]


@functools.cache
def transformer(*, subregions: bool) -> EMMDiTTransformer:
    """The golden transformer; whoever changes a weight changes it back."""
    found = EMMDiTTransformer.from_config({**CONFIG["dit"], "use_sub_attn": subregions}).eval()
    found.load_state_dict(WEIGHTS, strict=True)
    return found


def transformer_of(case: str) -> EMMDiTTransformer:
    return transformer(**subregions_of(CASES[case]))


def subregions_of(case: dict[str, Any]) -> dict[str, bool]:
    return {"subregions": {**CONFIG["dit"], **case["dit_overrides"]}["use_sub_attn"]}


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler.from_config(CONFIG["scheduler"])


def read(case: str, direction: str) -> Tensors:
    """A case's inputs (`in`) or outputs (`out`)."""
    start = f"{case}/{direction}/"
    return {k.removeprefix(start): v for k, v in TENSORS.items() if k.startswith(start)}


def forward(case: str) -> Tensors:
    model = transformer_of(case)
    with torch.inference_mode():
        return {"sample": model(**read(case, "in")).sample}


def table(case: str) -> Tensors:
    return {"pos_embed_lv0": transformer_of(case).pos_embed_lv0}


def schedule(case: str) -> Tensors:
    found = scheduler()
    found.set_timesteps(CASES[case]["params"]["num_inference_steps"])
    return {"timesteps": found.timesteps, "sigmas": found.sigmas}


def loop(case: str) -> Tensors:
    """A whole run; what goes into the transformer and comes out of it is heard beside it."""
    model, params, given = transformer_of(case), CASES[case]["params"], read(case, "in")
    pipeline = NitroPipeline(None, None, None, model, scheduler())
    steps: list[torch.Tensor] = []
    heard: list[tuple[torch.Tensor, torch.Tensor]] = []

    def stepped(_: object, __: int, ___: object, values: Tensors) -> Tensors:
        steps.append(values["latents"])
        return values

    def called(_: object, __: object, told: dict[str, Any], out: tuple[torch.Tensor]) -> None:
        heard.append((told["timestep"], out[0]))

    hook = model.register_forward_hook(called, with_kwargs=True)
    made = pipeline(
        prompt_embeds=given["prompt_embeds"],
        negative_prompt_embeds=given.get("negative_prompt_embeds"),
        latents=given["latents"],
        num_inference_steps=params["num_inference_steps"],
        guidance_scale=params["guidance_scale"],
        output_type="latent",
        callback_on_step_end=stepped,
    ).images
    hook.remove()
    said = torch.stack([out for _, out in heard])
    count = len(given["latents"])
    return {
        "final_latents": made,
        "latents_after_step": torch.stack(steps),
        "dit_timestep": torch.stack([timestep for timestep, _ in heard]),
        "timesteps": pipeline.scheduler.timesteps,
        "sigmas": pipeline.scheduler.sigmas,
        "noise_pred": said,
        "noise_pred_uncond": said[:, :count],
        "noise_pred_cond": said[:, count:],
    }


KINDS: dict[str, Callable[[str], Tensors]] = {
    "transformer_forward": forward,
    "pos_embed": table,
    "schedule": schedule,
    "loop": loop,
}


def away(case: str) -> dict[str, float]:
    """By how much of its tolerance each output differs: above 1 it is another number."""
    made = KINDS[CASES[case]["kind"]](case)
    return {
        name: float((made[name] - wanted).abs().max()) / TOLERANCE.get(name, LOOP)
        for name, wanted in read(case, "out").items()
    }


def cases(*kinds: str) -> list[str]:
    return [name for name, case in CASES.items() if case["kind"] in kinds]


@pytest.mark.parametrize("case", CASES)
def test_the_originals_numbers(case: str) -> None:
    found = away(case)
    assert found.keys() == CASES[case]["outputs"].keys()
    assert max(found.values()) <= 1, found


@pytest.mark.parametrize("case", cases("transformer_forward", "loop", "pos_embed"))
def test_each_case_notices_one_wrong_weight(case: str) -> None:
    model = transformer_of(case)
    kind = CASES[case]["kind"]
    wrong = model.pos_embed_lv0 if kind == "pos_embed" else model.proj_out.bias
    with torch.no_grad():
        wrong.view(-1)[0] += 0.01
        found = max(away(case).values())
        wrong.view(-1)[0] -= 0.01
    assert found > 1


@pytest.mark.parametrize("case", cases("schedule"))
def test_a_schedule_notices_another_shift(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIG, "scheduler", {**CONFIG["scheduler"], "shift": 1.01})
    assert max(away(case).values()) > 1


def test_every_kind_of_weight_counts_but_those_that_nobody_hears() -> None:
    """A sample of the blocks' tensors, and every tensor outside them."""
    case = cases("transformer_forward")[0]
    parameters = dict(transformer_of(case).named_parameters())
    within = sorted(n for n in parameters if n.startswith("block_groups."))
    chosen = random.Random(6).sample(within, SAMPLED)  # noqa: S311 - a sample, no secret
    last = max(int(n.split(".")[2]) for n in within if n.startswith("block_groups.2."))
    silent = [f"block_groups.2.{last}.{name}" for name in NO_INFLUENCE]
    outside = [name for name in parameters if name not in within]
    for name in {*chosen, *outside, *silent}:
        with torch.no_grad():
            before = parameters[name].clone()
            parameters[name].view(-1)[0] += 1.0
            found = max(away(case).values())
            parameters[name].copy_(before)
        assert (found > 1) is (name not in silent), name


def test_reading_and_saving_keep_every_key_and_byte(tmp_path: Path) -> None:
    config = CONFIG["dit"]
    read_here = read_transformer(
        GOLDEN / "dit.safetensors", config["sample_size"], subregions=config["use_sub_attn"]
    )
    for key in ("in_channels", "num_attention_heads", "caption_channels", "pos_embed_max_size"):
        assert read_here.config[key] == config[key]
    read_here.save_pretrained(tmp_path / "first")
    again = EMMDiTTransformer.from_pretrained(tmp_path / "first", local_files_only=True)
    again.save_pretrained(tmp_path / "second")
    (first,), (second,) = ((tmp_path / n).glob("*.safetensors") for n in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    saved = load_file(second)
    assert saved.keys() == WEIGHTS.keys()
    assert all(torch.equal(saved[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: {k: v for k, v in t.items() if k != "proj_out.bias"},
        lambda t: {**t, "proj_out.extra": t["proj_out.bias"].clone()},
        lambda t: {**t, "proj_out.bias": t["proj_out.bias"][:-1].clone()},
    ],
    ids=["lacking", "unknown", "another size"],
)
def test_a_checkpoint_that_does_not_fit_is_not_read(
    wrong: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    save_file(wrong(WEIGHTS), tmp_path / "wrong.safetensors")
    with pytest.raises(RuntimeError):
        read_transformer(tmp_path / "wrong.safetensors", 16, subregions=True)


@pytest.mark.parametrize("field", [{"patch_size": 2}, {"qk_norm": None}])
def test_what_the_model_never_was_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the model has"):
        EMMDiTTransformer.from_config({**CONFIG["dit"], **field})


def test_latents_of_another_size_are_refused() -> None:
    side, channels = CONFIG["dit"]["sample_size"], CONFIG["dit"]["in_channels"]
    text = torch.zeros(1, 16, CONFIG["dit"]["caption_channels"])
    with pytest.raises(ValueError, match="the model has"):
        transformer(subregions=True)(
            torch.zeros(1, channels, side, side + 16), text, torch.zeros(1)
        )
