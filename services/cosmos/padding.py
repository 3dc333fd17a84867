"""The one function of torchvision that diffusers' Cosmos transformer calls.

`CosmosTransformer3DModel` resizes its padding mask with torchvision, and fails at its first step
where that is not installed; for some devices there is no torchvision that fits their torch. The
mask is resized to the nearest pixel, which torchvision itself leaves to torch.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NEAREST = "nearest"


def ensure() -> None:
    """Give the transformer's module that function, unless it has the real torchvision."""
    from diffusers.models.transformers import transformer_cosmos as module

    if not hasattr(module, "transforms"):
        module.transforms = SimpleNamespace(
            functional=SimpleNamespace(resize=resize),
            InterpolationMode=SimpleNamespace(NEAREST=NEAREST),
        )


def resize(image: torch.Tensor, size: list[int], interpolation: str = NEAREST) -> torch.Tensor:
    """Return `image`, (..., h, w), in another `size`, (h, w): of each pixel the nearest one."""
    from torch.nn import functional

    if interpolation != NEAREST:
        raise ValueError(f"only {NEAREST} is known here, not {interpolation}")
    return functional.interpolate(image, size=size, mode=NEAREST)
