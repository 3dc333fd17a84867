"""Ditto's adapter on VACE, in the numbers of the original implementation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: Ditto's adapter: pip install '.[models]'")
import torch
from diffusers import WanVACEPipeline, WanVACETransformer3DModel
from safetensors.torch import load_file, save_file

from bus.weights import WeightsError
from services.ditto import adapter, keys

pytestmark = pytest.mark.models

GOLDEN = Path(__file__).parents[1] / "golden_models" / "ditto"
CONFIG = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-4

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def transformer() -> WanVACETransformer3DModel:
    """The golden transformer: the original's weights under diffusers' names, every one of them."""
    found = WanVACETransformer3DModel(
        patch_size=tuple(CONFIG["patch_size"]),
        num_attention_heads=CONFIG["num_heads"],
        attention_head_dim=CONFIG["head_dim"],
        in_channels=CONFIG["in_dim"],
        out_channels=CONFIG["out_dim"],
        text_dim=CONFIG["text_dim"],
        freq_dim=CONFIG["freq_dim"],
        ffn_dim=CONFIG["ffn_dim"],
        num_layers=CONFIG["num_layers"],
        cross_attn_norm=CONFIG["cross_attn_norm"],
        qk_norm="rms_norm_across_heads",
        eps=CONFIG["eps"],
        vace_layers=CONFIG["vace_layers"],
        vace_in_channels=CONFIG["vace_in_dim"],
    ).eval()
    weights = load_file(GOLDEN / "vace_wan.safetensors")
    found.load_state_dict({keys.renamed(k): v for k, v in weights.items()}, strict=True)
    return found


@pytest.fixture
def pipeline(transformer: WanVACETransformer3DModel) -> WanVACEPipeline:
    return WanVACEPipeline(
        tokenizer=None, text_encoder=None, vae=None, scheduler=None, transformer=transformer
    )


@pytest.fixture(scope="module")
def lora() -> Tensors:
    return dict(load_file(GOLDEN / "ditto_lora.safetensors"))


def difference(transformer: WanVACETransformer3DModel, expected: str) -> float:
    """The largest difference from the golden numbers: both timesteps, both prompts."""
    inputs, golden = (load_file(GOLDEN / f"{n}.safetensors") for n in ("inputs", "expected"))
    worst = 0.0
    for number, timestep in enumerate(CONFIG["timesteps"]):
        for prompt, words in (("prompt", "context"), ("negative", "context2")):
            with torch.inference_mode():
                out = transformer(
                    hidden_states=inputs["latents"],
                    timestep=torch.tensor([timestep]),
                    encoder_hidden_states=inputs[words],
                    control_hidden_states=inputs["vace_context"],
                    control_hidden_states_scale=torch.ones(2) * CONFIG["vace_scale"],
                    return_dict=False,
                )[0]
            away = (out - golden[f"{expected}.t{number}.{prompt}"]).abs().max()
            worst = max(worst, float(away))
    return worst


def plain(tensors: Tensors) -> Tensors:
    """The adapter as `vace_blocks.<n>.<layer>.lora_A.weight`."""
    return {name.replace(".default", ""): tensor for name, tensor in tensors.items()}


def by_layer(tensors: Tensors) -> Tensors:
    out = {}
    for name, tensor in plain(tensors).items():
        _, block, rest = name.split(".", 2)
        out[f"blocks.{CONFIG['vace_layers'][int(block)]}.vace.{rest}"] = tensor
    return out


def with_alpha(tensors: Tensors) -> Tensors:
    """Half as loud a product, and an alpha of twice the rank."""
    out = {}
    for name, tensor in plain(tensors).items():
        if ".lora_A." in name:
            out[name.replace("lora_A", "lora_down")] = tensor
            out[name.replace("lora_A.weight", "alpha")] = torch.tensor(2.0 * tensor.shape[0])
        else:
            out[name.replace("lora_B", "lora_up")] = tensor / 2
    return out


SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "as it is": dict,
    "without default": plain,
    "diffusion_model": lambda t: {f"diffusion_model.{k}": v for k, v in plain(t).items()},
    "pipe.vace": lambda t: {f"pipe.vace.{k}": v for k, v in t.items()},
    "by layer": by_layer,
    "with alpha": with_alpha,
}


def test_the_originals_weights_make_the_originals_numbers(
    transformer: WanVACETransformer3DModel,
) -> None:
    assert difference(transformer, "base") < TOLERANCE
    assert difference(transformer, "lora") > TOLERANCE, "the adapter changes what comes out"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_adapter_makes_the_originals_numbers(
    pipeline: WanVACEPipeline, lora: Tensors, spelling: str, tmp_path: Path
) -> None:
    file = tmp_path / "ditto_global.safetensors"
    save_file({k: v.contiguous() for k, v in SPELLINGS[spelling](lora).items()}, file)
    assert adapter.add(pipeline, file, strength=1.0) == len(lora) / 2
    assert difference(pipeline.transformer, "lora") < TOLERANCE


def test_every_single_tensor_of_the_adapter_counts(
    transformer: WanVACETransformer3DModel, lora: Tensors
) -> None:
    found = keys.converted(lora, CONFIG["vace_layers"])
    transformer.load_lora_adapter(found.tensors, prefix="transformer")
    assert difference(transformer, "lora") < TOLERANCE
    loaded = {n: p for n, p in transformer.named_parameters() if "lora_" in n}
    assert len(loaded) == len(lora)
    for name, parameter in loaded.items():
        with torch.no_grad():
            parameter[0, 0] += 1.0
            assert difference(transformer, "lora") > TOLERANCE, name
            parameter[0, 0] -= 1.0


def test_a_layer_under_anothers_name_is_noticed(
    transformer: WanVACETransformer3DModel, lora: Tensors
) -> None:
    swap = {".k.": ".v.", ".v.": ".k."}
    swapped = {}
    for name, tensor in lora.items():
        key = next((k for k in swap if k in name), None)
        swapped[name.replace(key, swap[key]) if key else name] = tensor
    found = keys.converted(swapped, CONFIG["vace_layers"])
    transformer.load_lora_adapter(found.tensors, prefix="transformer")
    assert difference(transformer, "lora") > TOLERANCE


def test_what_the_library_says_nothing_about_is_an_error_here(
    pipeline: WanVACEPipeline, lora: Tensors, tmp_path: Path
) -> None:
    pipeline.load_lora_weights(dict(lora))
    assert difference(pipeline.transformer, "base") < TOLERANCE, "raw names load nothing"
    file = tmp_path / "ditto_global.safetensors"
    silent = {k: torch.zeros_like(v) if "lora_B" in k else v for k, v in lora.items()}
    save_file(silent, file)
    with pytest.raises(WeightsError, match="changes nothing"):
        adapter.add(pipeline, file, strength=1.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda t: {k.replace("vace_blocks.1", "vace_blocks.9"): v for k, v in t.items()},
            "has not",
        ),
        (lambda t: {k: v[:, :-1].contiguous() for k, v in t.items()}, "cannot be loaded"),
        (lambda t: {k.replace("lora_", "locon_"): v for k, v in t.items()}, "no tensor of"),
    ],
)
def test_another_models_adapter_is_refused(
    pipeline: WanVACEPipeline,
    lora: Tensors,
    wrong: Callable[[Tensors], Tensors],
    said: str,
    tmp_path: Path,
) -> None:
    file = tmp_path / "ditto_global.safetensors"
    save_file(wrong(lora), file)
    with pytest.raises(WeightsError, match=said):
        adapter.add(pipeline, file, strength=1.0)
