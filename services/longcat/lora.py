"""LongCat-Video's adapters, in the format that they were released in, put into the denoiser.

A name is `lora___lorahyphen___` and a layer's path with its dots written out, then `lora_down`,
`lora_up` and `alpha_scale`. Where the model has several layers in one, queries, keys and values in
`qkv` or keys and values in `kv_linear`, the parts have adapters of their own: a `lora_down` of as
many equal parts, and `lora_up.blocks.<n>`. Together they are one adapter of all their ranks, whose
up matrix has the parts' on its diagonal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from bus.weights import WeightsError
from inference import loading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PREFIX = "transformer"  # without one, the loader takes no alphas
_DOT = "___lorahyphen___"
_TENSOR = re.compile(
    rf"\Alora{_DOT}(?P<layer>.+)\."
    r"(?P<side>lora_down\.weight|lora_up\.(?:blocks\.\d+\.)?weight|alpha_scale)\Z"
)
_BLOCK = re.compile(r"\Alora_up\.blocks\.(\d+)\.weight\Z")


class Adapter(NamedTuple):
    """An adapter as PEFT wants it: tensors by name, and how loud each layer's is by its name."""

    tensors: dict[str, Any]
    scales: dict[str, float]


def converted(tensors: Mapping[str, Any]) -> Adapter:
    """Return an adapter's tensors under PEFT's names, and each layer's `alpha_scale`.

    Raises WeightsError for a name that the format does not have, and for a layer of which
    something is missing.
    """
    import torch

    found: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        parts = _TENSOR.match(name)
        if parts is None:
            raise WeightsError(f"{name!r} is no tensor of a LongCat adapter")
        found.setdefault(parts["layer"].replace(_DOT, "."), {})[parts["side"]] = tensor
    if not found:
        raise WeightsError("the adapter is empty")
    made, scales = {}, {}
    for layer, sides in found.items():
        ups = _ups(sides)
        if not ups or not {"lora_down.weight", "alpha_scale"} <= sides.keys():
            raise WeightsError(f"the adapter has not all of what changes {layer}")
        made[f"{layer}.lora_A.weight"] = sides["lora_down.weight"]
        made[f"{layer}.lora_B.weight"] = torch.block_diag(*ups) if len(ups) > 1 else ups[0]
        scales[layer] = float(sides["alpha_scale"])
    return Adapter(made, scales)


def _ups(sides: Mapping[str, Any]) -> list[Any]:
    """Return the up matrices of a layer's parts, in their order; none if one is missing."""
    if "lora_up.weight" in sides:
        return [sides["lora_up.weight"]]
    blocks = {int(found[1]): sides[side] for side in sides if (found := _BLOCK.match(side))}
    return [blocks[n] for n in sorted(blocks)] if blocks.keys() == set(range(len(blocks))) else []


def add(transformer: Any, file: Path, *, name: str) -> int:  # noqa: ANN401 - a LongCatVideoTransformer3DModel
    """Load an adapter from a safetensors file; return how many layers it changes.

    It is at work from then on: see `use`. Raises WeightsError for a file that does not fit the
    model or would change nothing.
    """
    from safetensors.torch import load_file

    with loading.reading(file.parent):
        found = converted(load_file(str(file)))
        strangers = sorted(found.scales.keys() - {path for path, _ in transformer.named_modules()})
        if strangers:
            raise WeightsError(f"{file.name} changes {strangers[0]}, which the model has not")
        # PEFT multiplies by alpha / rank.
        alphas = {
            f"{_PREFIX}.{layer}.alpha": scale * found.tensors[f"{layer}.lora_A.weight"].shape[0]
            for layer, scale in found.scales.items()
        }
        transformer.load_lora_adapter(
            {f"{_PREFIX}.{k}": v.to(transformer.dtype) for k, v in found.tensors.items()},
            prefix=_PREFIX,
            network_alphas=alphas,
            adapter_name=name,
        )
        changed = sum(_changes(transformer, layer, name) for layer in found.scales)
    if not changed:
        raise WeightsError(f"{file.name} changes nothing")
    return changed


def use(transformer: Any, name: str, multiplier: float = 1.0) -> None:  # noqa: ANN401 - a LongCatVideoTransformer3DModel
    """Let one of the loaded adapters work, and no other; with an empty name, none."""
    if name:
        transformer.enable_lora()
        transformer.set_adapters([name], weights=[multiplier])
    elif getattr(transformer, "peft_config", {}):
        transformer.disable_lora()


def _changes(transformer: Any, layer: str, name: str) -> bool:  # noqa: ANN401 - a model of diffusers
    """Say whether a layer has the adapter, and the adapter is more than zeros."""
    module = transformer.get_submodule(layer)
    if name not in getattr(module, "lora_B", {}):
        raise WeightsError(f"{layer} did not take the adapter")
    return bool(module.lora_A[name].weight.any() and module.lora_B[name].weight.any())
