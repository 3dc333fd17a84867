"""UMO on OmniGen2: transformer, LoRA, loop and sizes, in the numbers of the original code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="NOT CHECKED: UMO on OmniGen2: pip install '.[models]'")
import golden_set
import torch
from safetensors.torch import load_file

from bus.weights import WeightsError
from inference.sizes import Size
from services.umo import adapter, flow, lora, sight
from services.umo.omnigen import MOST_REFERENCES, OmniGen2Transformer2DModel
from services.umo.omnigen_pipeline import Guidance, OmniGen2Pipeline, Words

pytestmark = pytest.mark.models

GOLDEN = golden_set.folder("umo_omnigen2", "config.json", "OmniGen2Transformer2DModel")
CONFIG = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
CASES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
INPUTS, EXPECTED, WEIGHTS, LORA = (
    load_file(GOLDEN / f"{name}.safetensors")
    for name in ("inputs", "expected", "transformer", "umo_lora")
)
TOLERANCE = 1e-4
TIMES = 1e-6
LOOPS = {loop["name"]: loop for loop in CASES["loops"]}

Tensors = dict[str, torch.Tensor]
Model = OmniGen2Transformer2DModel


def fresh() -> Model:
    found = Model.from_config(CONFIG).eval()
    found.load_state_dict(WEIGHTS, strict=True)
    return found.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def base() -> Model:
    return fresh()


@pytest.fixture(scope="module")
def merged() -> Model:
    found = fresh()
    adapter.add(found, lora.of_omnigen2(LORA))
    return found


@pytest.fixture(scope="module")
def beside() -> Model:
    found = fresh()
    adapter.add(found, lora.of_omnigen2(LORA), merged=False)
    return found


@pytest.fixture(params=["base", "merged", "beside"])
def known(request: pytest.FixtureRequest) -> tuple[str, Model]:
    """A model, and which of the expected numbers are its own."""
    model = request.getfixturevalue(request.param)
    return ("base" if request.param == "base" else "lora"), model


def references(*numbers: int) -> list[torch.Tensor]:
    return [INPUTS[f"ref{n}"] for n in numbers]


CALLS: dict[str, tuple[str, list[list[torch.Tensor]] | None]] = {
    "fwd_norefs": ("prompt_embeds prompt_mask latents timestep", None),
    "fwd_ref1": ("prompt_embeds prompt_mask latents timestep", [references(0)]),
    "fwd_ref2": ("prompt_embeds prompt_mask latents timestep", [references(0, 1)]),
    "fwd_ref2_swapped": ("prompt_embeds prompt_mask latents timestep", [references(1, 0)]),
    "fwd_padded_negative": (
        "negative_embeds negative_mask latents timestep",
        [references(0, 1)],
    ),
    "fwd_batch2": ("prompt_b2 mask_b2 latents_b2 timestep_b2", [references(0, 1), references(2)]),
}


def call(model: Model, name: str) -> torch.Tensor:
    inputs, shown = CALLS[name]
    text, mask, latents, timestep = (INPUTS[n] for n in inputs.split())
    with torch.inference_mode():
        found: torch.Tensor = model(latents, timestep, text, mask, shown).sample
    return found


def loop(model: Model, name: str) -> torch.Tensor:
    params = LOOPS[name]
    guidance = Guidance(
        params["text_guidance"], params["image_guidance"], tuple(params["cfg_range"])
    )
    steps: list[torch.Tensor] = []

    def stepped(_: object, __: int, ___: object, values: Tensors) -> Tensors:
        steps.append(values["latents"])
        return values

    made: torch.Tensor = OmniGen2Pipeline(None, None, None, model)(
        words=Words(INPUTS["prompt_embeds"], INPUTS["prompt_mask"]),
        negative_words=Words(INPUTS["negative_embeds"], INPUTS["negative_mask"]),
        references=[] if name == "loop_norefs" else references(0, 1),
        latents=INPUTS["latents"],
        num_inference_steps=params["steps"],
        guidance=guidance,
        output_type="latent",
        callback_on_step_end=stepped,
    ).images
    assert len(steps) == params["steps"]
    assert torch.equal(steps[-1], made)
    return made


def away(model: Model, kind: str, name: str) -> float:
    made = loop(model, name) if name in LOOPS else call(model, name)
    return float((made - EXPECTED[f"{kind}.{name}"]).abs().max())


@pytest.mark.parametrize("name", [*CALLS, *LOOPS])
def test_the_originals_numbers(known: tuple[str, Model], name: str) -> None:
    kind, model = known
    assert away(model, kind, name) < TOLERANCE
    other = {"base": "lora", "lora": "base"}[kind]
    assert away(model, other, name) > TOLERANCE, "the adapter changes what comes out"


@pytest.mark.parametrize("name", LOOPS)
def test_the_originals_times(name: str) -> None:
    rows, columns = CASES["latent_hw"]
    grid = flow.omnigen2_grid(LOOPS[name]["steps"], rows * columns)
    for kind in ("base", "lora"):
        expected = EXPECTED[f"{kind}.{name}.timesteps"]
        assert (torch.tensor(grid[:-1]) - expected).abs().max() < TIMES
    assert grid[-1] == 1


def test_nothing_is_left_of_what_no_case_is_for() -> None:
    compared = {f"{kind}.{name}" for kind in ("base", "lora") for name in (*CALLS, *LOOPS)}
    times = {f"{kind}.{name}.timesteps" for kind in ("base", "lora") for name in LOOPS}
    assert compared | times == EXPECTED.keys()


@pytest.mark.parametrize("name", [*CALLS, *LOOPS])
def test_each_case_notices_one_wrong_weight(base: Model, name: str) -> None:
    base.norm_out.linear_2.bias[0] += 0.01
    found = away(base, "base", name)
    base.norm_out.linear_2.bias[0] -= 0.01
    assert found > TOLERANCE


def test_every_single_weight_counts(base: Model) -> None:
    """In the case with two references and another text length in a batch."""
    used = [len(shown) for shown in CALLS["fwd_batch2"][1] or ()]
    for name, weight in base.named_parameters():
        before = weight.clone()
        weight.view(-1)[0] += 1.0
        assert away(base, "base", "fwd_batch2") > TOLERANCE, name
        weight.copy_(before)
    silent = base.image_index_embedding
    for number in range(max(used), len(silent)):
        silent[number] += 1.0
    assert away(base, "base", "fwd_batch2") < TOLERANCE, "nobody is shown as many references"


@pytest.mark.parametrize("way", ["merged", "beside"])
def test_every_single_tensor_of_the_adapter_counts(way: str) -> None:
    model = fresh()
    adapter.add(model, lora.of_omnigen2(LORA), merged=way == "merged")
    assert away(model, "lora", "fwd_ref2") < TOLERANCE
    for name in LORA:
        wrong = {**LORA, name: LORA[name].clone()}
        wrong[name][0, 0] += 1.0
        if way == "merged":
            model.load_state_dict(WEIGHTS)
            adapter.add(model, lora.of_omnigen2(wrong))
        else:
            model.load_state_dict({_beside(name): wrong[name]}, strict=False)
        assert away(model, "lora", "fwd_ref2") > TOLERANCE, name
        if way == "beside":
            model.load_state_dict({_beside(name): LORA[name]}, strict=False)


def _beside(name: str) -> str:
    return name.replace(".default.", f".{adapter.NAME}.")


SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "without default": lambda t: {k.replace(".default", ""): v for k, v in t.items()},
    "ComfyUI": lambda t: {f"diffusion_model.{k.replace('.default', '')}": v for k, v in t.items()},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_of_the_adapter_mean_the_same(spelling: str) -> None:
    found, wanted = lora.of_omnigen2(SPELLINGS[spelling](LORA)), lora.of_omnigen2(LORA)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[n].up, wanted[n].up) for n in wanted)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda t: {k.replace("layers.0", "layers.99"): v for k, v in t.items()}, "has not"),
        (lambda t: {k: v[:, :-1] if "lora_A" in k else v for k, v in t.items()}, "another size"),
        (lambda t: {k: torch.zeros_like(v) for k, v in t.items()}, "changes nothing"),
        (lambda t: {k: v for k, v in t.items() if "lora_A" in k}, "half a LoRA"),
        (lambda t: {k.replace("lora_", "locon_"): v for k, v in t.items()}, "no tensor of UMO"),
    ],
)
def test_an_adapter_that_does_not_fit_is_told_and_changes_nothing(
    base: Model, wrong: Callable[[Tensors], Tensors], said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        adapter.add(base, lora.of_omnigen2(wrong(LORA)))
    assert torch.equal(base.layers[0].attn.to_q.weight, WEIGHTS["layers.0.attn.to_q.weight"])


def test_loading_and_saving_keep_every_key_and_byte(base: Model, tmp_path: Path) -> None:
    base.load_state_dict(WEIGHTS)
    base.save_pretrained(tmp_path / "first")
    again = Model.from_pretrained(tmp_path / "first", local_files_only=True)
    again.save_pretrained(tmp_path / "second")
    (first,), (second,) = ((tmp_path / n).glob("*.safetensors") for n in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    saved = load_file(second)
    assert saved.keys() == WEIGHTS.keys()
    assert all(torch.equal(saved[name], WEIGHTS[name]) for name in WEIGHTS)
    written = json.loads((tmp_path / "second" / "config.json").read_text(encoding="utf-8"))
    assert {key: written[key] for key in CONFIG} == CONFIG, "the authors' own names"


@pytest.mark.parametrize("case", CASES["reference_sizes"])
def test_a_reference_is_looked_at_in_its_authors_size(case: dict[str, int]) -> None:
    found = sight.omnigen2_reference(
        case["width"],
        case["height"],
        max_pixels=case["max_pixels"],
        max_side=case["max_side_length"],
    )
    assert found == Size(case["new_width"], case["new_height"])


@pytest.mark.parametrize("case", CASES["output_sizes"])
def test_a_picture_is_made_in_its_authors_size(case: dict[str, int]) -> None:
    found = sight.omnigen2_size(case["width"], case["height"], case["max_pixels"])
    assert found == Size(case["latent_pixels_width"], case["latent_pixels_height"])


def test_more_references_than_there_are_vectors_for_are_refused(base: Model) -> None:
    many = [references(0)[0]] * (MOST_REFERENCES + 1)
    with pytest.raises(ValueError, match="6 references"):
        base(
            INPUTS["latents"],
            INPUTS["timestep"],
            INPUTS["prompt_embeds"],
            INPUTS["prompt_mask"],
            [many],
        )


def test_heads_that_positions_do_not_fill_are_refused() -> None:
    first, *rest = CONFIG["axes_dim_rope"]
    with pytest.raises(ValueError, match=f"positions of {sum(CONFIG['axes_dim_rope']) + 2}"):
        Model.from_config({**CONFIG, "axes_dim_rope": [first + 2, *rest]})
