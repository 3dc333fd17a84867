"""How things move: eased, never jumping, the same at any frame rate."""

from __future__ import annotations

import math


def ease_out(t: float) -> float:
    """Return 0..1 for 0..1: fast, then settling like something with weight."""
    t = min(1.0, max(0.0, t))
    return 1 - 2 ** (-9 * t) * (1 - t)


def ease(t: float) -> float:
    """Return 0..1 for 0..1: slow, faster, slow."""
    t = min(1.0, max(0.0, t))
    return t * t * t * (t * (6 * t - 15) + 10)


def drift(seconds: float, total: float) -> float:
    """Return -1..1 over a shot: nearly even, a little slower at both ends, never quite still."""
    t = seconds / max(total, 1e-6)
    return 0.85 * (2 * t - 1) + 0.15 * math.sin(math.pi * (t - 0.5))


def sway(seconds: float, period: float, phase: float = 0.0) -> float:
    """Return -1..1, to and fro."""
    return math.sin(2 * math.pi * (seconds / period + phase))
