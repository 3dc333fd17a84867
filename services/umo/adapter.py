"""A LoRA put into a loaded transformer, for good or beside its weights, and proof that it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from bus.weights import WeightsError

if TYPE_CHECKING:
    from services.umo.lora import Layers

NAME = "umo"


def add(model: Any, layers: Layers, *, strength: float = 1.0, merged: bool = True) -> None:  # noqa: ANN401 - a model of diffusers
    """Let a LoRA count `strength` times: added to the weights, or as peft's adapter beside them.

    Raises WeightsError for a layer that the model has not or has in another size, and for a LoRA
    that would change nothing.
    """
    modules = dict(model.named_modules())
    for name, layer in layers.items():
        weight = getattr(modules.get(name), "weight", None)
        if weight is None:
            raise WeightsError(f"the adapter changes {name}, which the model has not")
        if tuple(weight.shape) != (layer.up.shape[0], layer.down.shape[1]):
            raise WeightsError(f"the adapter's {name} is of another size than the model's")
    if not any(layer.up.any() and layer.down.any() for layer in layers.values()):
        raise WeightsError("the adapter changes nothing")
    if merged:
        _merge(modules, layers, strength)
    else:
        _beside(model, layers, strength)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch has no types here
def _merge(modules: dict[str, Any], layers: Layers, strength: float) -> None:
    for name, layer in layers.items():
        weight = modules[name].weight
        down, up = (t.to(weight.device, torch.float32) for t in layer)
        # In float32: half of a sum's digits would be lost before it is rounded once.
        weight.copy_((weight.float() + strength * (up @ down)).to(weight.dtype))


def _beside(model: Any, layers: Layers, strength: float) -> None:  # noqa: ANN401 - as in add
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{name}.lora_A.weight"] = layer.down
        tensors[f"{name}.lora_B.weight"] = layer.up
    model.load_lora_adapter(tensors, prefix=None, adapter_name=NAME)
    model.set_adapters([NAME], weights=[strength])
