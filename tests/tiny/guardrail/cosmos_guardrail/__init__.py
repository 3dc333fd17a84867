"""Stands in for NVIDIA's package of this name in tests: its shape, with almost nothing inside.

The real one needs gated weights and packages that cannot be had beside a CPU's torch.
"""

from .cosmos_guardrail import CosmosSafetyChecker

__all__ = ["CosmosSafetyChecker"]
