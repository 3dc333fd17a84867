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
from safetensors.torch import load_file

from services.longcat.attention import KeyValue
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
