"""An adapter put into a loaded pipeline, and proof that it is in there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bus.weights import WeightsError
from inference import loading
from services.ditto import keys

if TYPE_CHECKING:
    from pathlib import Path


def add(pipeline: Any, file: Path, *, strength: float) -> int:  # noqa: ANN401 - a WanVACEPipeline
    """Load an adapter from a safetensors file; return how many layers it changes.

    Raises WeightsError for a file that does not fit the model or that would change nothing: a
    loader that returns has not necessarily loaded anything.
    """
    from safetensors.torch import load_file

    name = file.stem
    with loading.reading(file.parent):
        found = keys.converted(load_file(str(file)), pipeline.transformer.config.vace_layers)
        known = {path for path, _ in pipeline.transformer.named_modules()}
        strangers = sorted(found.layers - known)
        if strangers:
            raise WeightsError(f"{file.name} changes {strangers[0]}, which the model has not")
        pipeline.load_lora_weights(found.tensors, adapter_name=name)
        pipeline.set_adapters([name], adapter_weights=[strength])
        changed = sum(_changes(pipeline.transformer, layer, name) for layer in found.layers)
    if not changed:
        raise WeightsError(f"{file.name} changes nothing")
    return changed


def _changes(transformer: Any, layer: str, name: str) -> bool:  # noqa: ANN401 - a model of diffusers
    """Say whether a layer has the adapter, and the adapter is more than zeros."""
    module = transformer.get_submodule(layer)
    if name not in getattr(module, "lora_B", {}):
        raise WeightsError(f"{layer} did not take the adapter")
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    return bool((up @ down).any())
