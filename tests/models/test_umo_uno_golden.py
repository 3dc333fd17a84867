"""UMO on UNO: FLUX of diffusers, with UNO's places, times and loop, in the original's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: UMO on UNO: pip install '.[models]'")
import golden_set
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file

from bus.weights import WeightsError
from inference.sizes import Size
from services.umo import adapter, flow, lora, sight
from services.umo.uno_pipeline import UnoPipeline, packed, places, unpacked

pytestmark = pytest.mark.models

GOLDEN = golden_set.folder("umo_uno", "cases.json", "schedules_by_pixel_h_x_w")
CONFIG = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
CASES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
INPUTS, EXPECTED, WEIGHTS, LORA = (
    load_file(GOLDEN / f"{name}.safetensors")
    for name in ("inputs", "expected", "flux_bfl", "umo_lora")
)
TOLERANCE = 1e-4
TIMES = 1e-6
FORWARDS = {
    "fwd_refs_d": "d",
    "fwd_refs_h": "h",
    "fwd_refs_w": "w",
    "fwd_refs_o": "o",
    "fwd_one_ref": "d",
    "fwd_norefs": "d",
}
REFERENCES = [INPUTS[f"ref{n}"] for n in range(len(CASES["ref_hw"]))]
SHOWN = {"fwd_one_ref": REFERENCES[:1], "fwd_norefs": []}

Tensors = dict[str, torch.Tensor]

_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_DOUBLE = {
    "img_mod.lin": ["norm1.linear"],
    "txt_mod.lin": ["norm1_context.linear"],
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.norm.query_norm": ["attn.norm_q"],
    "img_attn.norm.key_norm": ["attn.norm_k"],
    "txt_attn.norm.query_norm": ["attn.norm_added_q"],
    "txt_attn.norm.key_norm": ["attn.norm_added_k"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
}
_SINGLE = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
    "norm.query_norm": ["attn.norm_q"],
    "norm.key_norm": ["attn.norm_k"],
}


def renamed(tensors: Tensors) -> Tensors:
    """The original's weights under diffusers' names: split, and the last layer's halves swapped."""
    found = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        leaf = "weight" if leaf == "scale" else leaf
        kind, _, rest = module.partition("_blocks.")
        if not rest:
            halves = tensor.chunk(2)[::-1] if "adaLN" in name else [tensor]
            found[f"{_OUTSIDE[module]}.{leaf}"] = torch.cat(list(halves))
            continue
        number, _, inner = rest.partition(".")
        block = {"double": "transformer_blocks", "single": "single_transformer_blocks"}[kind]
        targets = {"double": _DOUBLE, "single": _SINGLE}[kind][inner]
        hidden = CONFIG["hidden_size"]
        # Queries, keys and values are as wide as the model; what is left goes to the last one.
        rows = [hidden] * (len(targets) - 1)
        parts = tensor.split([*rows, len(tensor) - sum(rows)])
        for target, part in zip(targets, parts, strict=True):
            found[f"{block}.{number}.{target}.{leaf}"] = part.contiguous()
    return found


def fresh() -> FluxTransformer2DModel:
    found = FluxTransformer2DModel(
        patch_size=1,
        in_channels=CONFIG["in_channels"],
        num_layers=CONFIG["depth"],
        num_single_layers=CONFIG["depth_single_blocks"],
        attention_head_dim=CONFIG["hidden_size"] // CONFIG["num_heads"],
        num_attention_heads=CONFIG["num_heads"],
        joint_attention_dim=CONFIG["context_in_dim"],
        pooled_projection_dim=CONFIG["vec_in_dim"],
        guidance_embeds=CONFIG["guidance_embed"],
        axes_dims_rope=tuple(CONFIG["axes_dim"]),
    ).eval()
    found.load_state_dict(renamed(WEIGHTS), strict=True)
    return found.requires_grad_(requires_grad=False)


def pipeline_of(model: FluxTransformer2DModel) -> UnoPipeline:
    names = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    return UnoPipeline(**dict.fromkeys(names), transformer=model)


@pytest.fixture(scope="module")
def base() -> UnoPipeline:
    return pipeline_of(fresh())


@pytest.fixture(scope="module")
def merged() -> UnoPipeline:
    model = fresh()
    adapter.add(model, lora.of_uno(LORA))
    return pipeline_of(model)


@pytest.fixture(scope="module")
def beside() -> UnoPipeline:
    model = fresh()
    adapter.add(model, lora.of_uno(LORA), merged=False)
    return pipeline_of(model)


@pytest.fixture(params=["base", "merged", "beside"])
def known(request: pytest.FixtureRequest) -> tuple[str, UnoPipeline]:
    """A pipeline, and which of the expected numbers are its own."""
    pipeline = request.getfixturevalue(request.param)
    return ("base" if request.param == "base" else "lora"), pipeline


def tokens_of(latents: torch.Tensor) -> tuple[int, int]:
    return latents.shape[-2] // 2, latents.shape[-1] // 2


def forward(pipeline: UnoPipeline, name: str) -> torch.Tensor:
    shown = SHOWN.get(name, REFERENCES)
    sizes = [tokens_of(p) for p in (INPUTS["latents"], *shown)]
    with torch.inference_mode():
        found: torch.Tensor = pipeline._velocity(
            0,
            CASES["forward_timestep"],
            packed(INPUTS["latents"]),
            shown=torch.cat([packed(r) for r in shown], 1) if shown else None,
            places=places(sizes, FORWARDS[name]),  # type: ignore[arg-type]  # of the table above
            words=(INPUTS["txt"], INPUTS["vec"]),
            guidance=CASES["guidance"],
        )
    return found


def loop(pipeline: UnoPipeline) -> torch.Tensor:
    steps: list[torch.Tensor] = []

    def stepped(_: object, __: int, ___: object, values: Tensors) -> Tensors:
        steps.append(values["latents"])
        return values

    made: torch.Tensor = pipeline(
        prompt_embeds=INPUTS["txt"],
        pooled_prompt_embeds=INPUTS["vec"],
        references=REFERENCES,
        latents=INPUTS["latents"],
        num_inference_steps=CASES["loop_steps"],
        guidance_scale=CASES["guidance"],
        output_type="latent",
        callback_on_step_end=stepped,
    ).images
    assert len(steps) == CASES["loop_steps"]
    assert torch.equal(steps[-1], packed(made))
    return made


def away(pipeline: UnoPipeline, kind: str, name: str) -> float:
    match name:
        case "loop":
            made = packed(loop(pipeline))
        case "loop_unpacked":
            made = loop(pipeline)
        case _:
            made = forward(pipeline, name)
    return float((made - EXPECTED[f"{kind}.{name}"]).abs().max())


NAMES = [*FORWARDS, "loop", "loop_unpacked"]


@pytest.mark.parametrize("name", NAMES)
def test_the_originals_numbers(known: tuple[str, UnoPipeline], name: str) -> None:
    kind, pipeline = known
    assert away(pipeline, kind, name) < TOLERANCE
    other = {"base": "lora", "lora": "base"}[kind]
    assert away(pipeline, other, name) > TOLERANCE, "the adapter changes what comes out"


def test_nothing_is_left_of_what_no_case_is_for() -> None:
    compared = {f"{kind}.{name}" for kind in ("base", "lora") for name in NAMES}
    placed = {"packed", "img_ids", "timesteps"}
    placed |= {f"ref_{what}{n}" for n in range(len(REFERENCES)) for what in ("packed", "img_ids")}
    assert compared | placed == EXPECTED.keys()


def test_the_originals_tokens_and_places() -> None:
    pictures = {"packed": INPUTS["latents"]}
    pictures |= {f"ref_packed{n}": r for n, r in enumerate(REFERENCES)}
    for name, latents in pictures.items():
        assert torch.equal(packed(latents), EXPECTED[name])
        assert torch.equal(unpacked(packed(latents), *latents.shape[-2:]), latents)
    wanted = [EXPECTED["img_ids"], *(EXPECTED[f"ref_img_ids{n}"] for n in range(len(REFERENCES)))]
    found = places([tokens_of(p) for p in pictures.values()], "d")
    assert torch.equal(found[None], torch.cat(wanted, dim=1))


@pytest.mark.parametrize("name", NAMES)
def test_each_case_notices_one_wrong_weight(base: UnoPipeline, name: str) -> None:
    base.transformer.proj_out.bias[0] += 0.01
    found = away(base, "base", name)
    base.transformer.proj_out.bias[0] -= 0.01
    assert found > TOLERANCE


def test_every_single_weight_counts(base: UnoPipeline) -> None:
    for name, weight in base.transformer.named_parameters():
        before = weight.clone()
        weight.view(-1)[0] += 1.0
        assert away(base, "base", "fwd_refs_d") > TOLERANCE, name
        weight.copy_(before)
    assert away(base, "base", "fwd_refs_d") < TOLERANCE


def test_every_single_tensor_of_the_adapter_counts() -> None:
    model = fresh()
    pipeline, weights = pipeline_of(model), renamed(WEIGHTS)
    for name in LORA:
        wrong = {**LORA, name: LORA[name].clone()}
        wrong[name][0, 0] += 1.0
        model.load_state_dict(weights)
        adapter.add(model, lora.of_uno(wrong))
        assert away(pipeline, "lora", "fwd_refs_d") > TOLERANCE, name
    model.load_state_dict(weights)
    adapter.add(model, lora.of_uno(LORA))
    assert away(pipeline, "lora", "fwd_refs_d") < TOLERANCE


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda t: {k.replace("blocks.0", "blocks.99"): v for k, v in t.items()}, "has not"),
        (lambda t: {k: v[:-1] if "qkv" in k else v for k, v in t.items()}, "rows are not of 3"),
        (lambda t: {k.replace("lora1", "lora3"): v for k, v in t.items()}, "no tensor of UMO"),
        (lambda t: {k: v for k, v in t.items() if ".up." in k}, "half a LoRA"),
    ],
)
def test_another_models_adapter_is_refused(
    base: UnoPipeline, wrong: Callable[[Tensors], Tensors], said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        adapter.add(base.transformer, lora.of_uno(wrong(LORA)))


@pytest.mark.parametrize(("size", "times"), CASES["schedules_by_pixel_h_x_w"].items())
def test_the_originals_times(size: str, times: list[float]) -> None:
    height, width = map(int, size.split("x"))
    found = flow.uno_grid(len(times) - 1, width, height)
    assert found == pytest.approx(times, abs=TIMES)
    assert found != pytest.approx(flow.uno_grid(len(times) - 1, width * 2, height * 2), abs=TIMES)


def test_the_loops_own_times() -> None:
    rows, columns = CASES["latent_hw"]
    found = flow.uno_grid(CASES["loop_steps"], columns * 8, rows * 8)
    assert found == pytest.approx(EXPECTED["timesteps"].tolist(), abs=TIMES)


@pytest.mark.parametrize("case", CASES["reference_sizes_w_h"])
def test_a_reference_is_looked_at_in_its_authors_size(case: dict[str, Any]) -> None:
    scaled, kept = sight.uno_reference(case["width"], case["height"], case["long_side"])
    assert kept == Size(*case["new"])
    assert max(scaled) == case["long_side"]
