"""Guidance as in CFG-Zero*: the unconditional prediction is scaled to fit the conditional one.

Source: "CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models" (Fan et al., 2025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_LEAST = 1e-8


def optimized_scale(cond: torch.Tensor, uncond: torch.Tensor) -> torch.Tensor:
    """Return <cond, uncond> / |uncond|^2 of each sample, (B, 1), over all else of it."""
    positive, negative = cond.flatten(1), uncond.flatten(1)
    products = (positive * negative).sum(dim=1, keepdim=True)
    return products / (negative.square().sum(dim=1, keepdim=True) + _LEAST)


def guided(
    cond: torch.Tensor, uncond: torch.Tensor, strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the guided prediction, shaped as both, and each sample's scale (B, 1)."""
    scale = optimized_scale(cond, uncond)
    base = uncond * scale.view(-1, *[1] * (uncond.ndim - 1))
    return base + strength * (cond - base), scale
