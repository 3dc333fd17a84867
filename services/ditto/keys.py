"""A VACE adapter's tensors under the names that diffusers knows. Pure: names, and one product.

Trainers of the Wan family write their adapters in the names of the original code, each with its own
habits. diffusers renames many of those, but not the VACE blocks: it warns, loads nothing, and the
film looks as if there was no adapter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from bus.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PREFIX = "transformer."
"""Stands before every name that a pipeline's loader gets, for the component it goes into."""

_FOREIGN_PREFIX = re.compile(r"\A(?:diffusion_model\.|pipe\.vace\.|transformer\.)+")
_TENSOR = re.compile(
    r"\A(?P<layer>.+)\.(?:lora_)?(?P<side>A|B|down|up|alpha)(?:\.default)?(?:\.weight)?\Z"
)
_SIDES = {"A": "A", "down": "A", "B": "B", "up": "B", "alpha": "alpha"}
_BY_LAYER = re.compile(r"\Ablocks\.(\d+)\.vace\.(.+)\Z")
_BLOCK = re.compile(r"\A((?:vace_)?blocks\.\d+)\.(.+)\Z")

_IN_BLOCK = (
    ("self_attn.q", "attn1.to_q"),
    ("self_attn.k", "attn1.to_k"),
    ("self_attn.v", "attn1.to_v"),
    ("self_attn.o", "attn1.to_out.0"),
    ("self_attn.norm_q", "attn1.norm_q"),
    ("self_attn.norm_k", "attn1.norm_k"),
    ("cross_attn.q", "attn2.to_q"),
    ("cross_attn.k", "attn2.to_k"),
    ("cross_attn.v", "attn2.to_v"),
    ("cross_attn.o", "attn2.to_out.0"),
    ("cross_attn.norm_q", "attn2.norm_q"),
    ("cross_attn.norm_k", "attn2.norm_k"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
    ("before_proj", "proj_in"),
    ("after_proj", "proj_out"),
    ("norm3", "norm2"),
    ("modulation", "scale_shift_table"),
)
_OUTSIDE = (
    ("head.head", "proj_out"),
    ("head.modulation", "scale_shift_table"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("patch_embedding", "patch_embedding"),
    ("vace_patch_embedding", "vace_patch_embedding"),
)


class Adapter(NamedTuple):
    """An adapter as diffusers wants it: tensors by name, and the layers that they change."""

    tensors: dict[str, Any]
    layers: frozenset[str]


def converted(tensors: Mapping[str, Any], vace_layers: Sequence[int]) -> Adapter:
    """Return an adapter's tensors, renamed and with every alpha multiplied into its `B`.

    `vace_layers` are the main layers that have a VACE block, as in the model's configuration.
    Raises WeightsError for a name that nobody knows and for a layer with half an adapter.
    """
    halves: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        layer, side = _parts(name, vace_layers)
        if side in halves.setdefault(layer, {}):
            raise WeightsError(f"the adapter has two tensors for {layer} ({side})")
        halves[layer][side] = tensor
    if not halves:
        raise WeightsError("the adapter is empty")
    made: dict[str, Any] = {}
    for layer, found in halves.items():
        if not {"A", "B"} <= found.keys():
            raise WeightsError(f"the adapter has half of what changes {layer}")
        scale = float(found["alpha"]) / found["A"].shape[0] if "alpha" in found else 1.0
        made[f"{PREFIX}{layer}.lora_A.weight"] = found["A"]
        made[f"{PREFIX}{layer}.lora_B.weight"] = found["B"] * scale if scale != 1.0 else found["B"]
    return Adapter(made, frozenset(halves))


def renamed(name: str) -> str:
    """Return diffusers' name of a tensor or layer of the original Wan VACE transformer.

    `vace_blocks.0.ffn.2.weight` is `vace_blocks.0.ffn.net.2.weight`. Raises WeightsError for a
    name that the original does not have.
    """
    block = _BLOCK.match(name)
    found = _first(block[2], _IN_BLOCK) if block else _first(name, _OUTSIDE)
    if found is None:
        raise WeightsError(f"{name!r} is no name of Wan's VACE transformer")
    return f"{block[1]}.{found}" if block else found


def _parts(name: str, vace_layers: Sequence[int]) -> tuple[str, str]:
    """Return the layer that an adapter's tensor belongs to, in diffusers' name, and its side."""
    found = _TENSOR.match(_FOREIGN_PREFIX.sub("", name))
    if found is None:
        raise WeightsError(f"{name!r} is no tensor of an adapter")
    layer = found["layer"]
    by_layer = _BY_LAYER.match(layer)
    if by_layer:
        main = int(by_layer[1])
        if main not in vace_layers:
            raise WeightsError(f"{name!r}: layer {main} has no VACE block")
        layer = f"vace_blocks.{list(vace_layers).index(main)}.{by_layer[2]}"
    return _known(layer), _SIDES[found["side"]]


def _known(layer: str) -> str:
    """Return diffusers' name of a layer that may have it already."""
    block = _BLOCK.match(layer)
    if block and _first(block[2], ((new, new) for _, new in _IN_BLOCK)):
        return layer
    return renamed(layer)


def _first(name: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    for old, new in pairs:
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None
