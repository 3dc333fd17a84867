"""The device that models run on: chosen, measured, and given back."""

from __future__ import annotations

import gc
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from contracts.manifest import Manifest

_KIB = 1024


def device() -> str:
    """Return `cuda` where there is an accelerator, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype(manifest: Manifest, on: str) -> torch.dtype:
    """Return the number type that the manifest asks for; a CPU always computes in float32."""
    import torch

    if on == "cpu":
        return torch.float32
    found: torch.dtype = getattr(torch, manifest.runtime.dtype)
    return found


def peak_gb() -> float:
    """Return the most memory held at once so far, in 10^9 bytes: the device's, or the process's."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB / 1e9


def free() -> None:
    """Give memory back that nothing refers to any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
