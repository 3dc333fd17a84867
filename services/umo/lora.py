"""UMO's LoRAs by the names of the layers that they change. Pure: names, and rows of tensors.

Two files are released, each in the habit of the model that it is for. Both mean W + up @ down: what
the first one calls alpha is its rank, and the second one knows none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from bus.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Layer(NamedTuple):
    """A layer's LoRA: `down` (rank, in) and `up` (out, rank)."""

    down: Any
    up: Any


Layers = dict[str, Layer]

_OMNIGEN = re.compile(
    r"\A(?:diffusion_model\.)?(?P<layer>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight\Z"
)
_UNO = re.compile(
    r"\A(?P<kind>double|single)_blocks\.(?P<number>\d+)\.processor\."
    r"(?P<lora>(?:qkv|proj)_lora[12]?)\.(?P<side>down|up)\.weight\Z"
)
_SIDES = {"A": "down", "B": "up"}
_BLOCKS = {"double": "transformer_blocks", "single": "single_transformer_blocks"}
_TARGETS: dict[tuple[str, str], tuple[str, ...]] = {
    ("double", "qkv_lora1"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("double", "proj_lora1"): ("attn.to_out.0",),
    ("double", "qkv_lora2"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ("double", "proj_lora2"): ("attn.to_add_out",),
    ("single", "qkv_lora"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("single", "proj_lora"): ("proj_out",),
}
"""Where diffusers' FluxTransformer2DModel has what the original keeps as one: equal rows of it."""


def of_omnigen2(tensors: Mapping[str, Any]) -> Layers:
    """Return the layers of UMO_OmniGen2, or of its form for ComfyUI; raises WeightsError."""
    halves: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        found = _OMNIGEN.match(name)
        if found is None:
            raise WeightsError(f"{name} is no tensor of UMO for OmniGen2")
        halves.setdefault(found["layer"], {})[_SIDES[found["side"]]] = tensor
    return {layer: _whole(layer, sides) for layer, sides in halves.items()}


def of_uno(tensors: Mapping[str, Any]) -> Layers:
    """Return the layers of UMO_UNO under diffusers' names; raises WeightsError."""
    halves: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, tensor in tensors.items():
        found = _UNO.match(name)
        if found is None or (found["kind"], found["lora"]) not in _TARGETS:
            raise WeightsError(f"{name} is no tensor of UMO for UNO")
        place = (found["kind"], found["number"], found["lora"])
        halves.setdefault(place, {})[found["side"]] = tensor
    return {
        layer: part
        for (kind, number, lora), sides in halves.items()
        for layer, part in _split(
            f"{_BLOCKS[kind]}.{number}",
            _TARGETS[kind, lora],
            _whole(f"{kind}_blocks.{number}.{lora}", sides),
        )
    }


def _split(block: str, targets: tuple[str, ...], whole: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield the layers that a LoRA of several at once is for; `down` is theirs in common."""
    if whole.up.shape[0] % len(targets):
        raise WeightsError(f"{block}: {whole.up.shape[0]} rows are not of {len(targets)} layers")
    rows = whole.up.shape[0] // len(targets)
    for n, target in enumerate(targets):
        yield f"{block}.{target}", Layer(whole.down, whole.up[n * rows : (n + 1) * rows])


def _whole(layer: str, sides: dict[str, Any]) -> Layer:
    if sides.keys() != {"down", "up"}:
        raise WeightsError(f"{layer} has half a LoRA")
    return Layer(**sides)
