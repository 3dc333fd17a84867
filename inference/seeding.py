"""Noise that depends on the seed alone, and not on the device that it is used on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def generator(seed: int) -> torch.Generator:
    """Return a source of noise; it draws on the CPU, whose numbers are the same everywhere."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)
