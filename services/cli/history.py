"""How long steps of a kind took on this machine: where an ETA comes from."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from services.cli.state import CampaignView

_WEIGHT = 0.3
"""Of the newest measurement in the running mean."""
_TRUST = 4.0
"""Once a quarter is done, a campaign's own pace is all that counts."""


class History(msgspec.Struct, kw_only=True):
    """Mean seconds of work by kind of step, and how many steps run side by side."""

    seconds: dict[str, float] = {}
    parallel: float = 2.0

    @classmethod
    def load(cls, path: Path) -> History:
        """Read the history; a missing or unreadable one is empty."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return cls()

    def save(self, path: Path) -> None:
        """Write the history in one step, so that two commands at once cannot tear it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.replace(path)

    def learn(self, view: CampaignView, wall_seconds: float) -> None:
        """Take in what a finished campaign measured; cache hits teach nothing."""
        ran = [s for s in view.steps.values() if s.made == "run" and s.status == "ok"]
        for step in ran:
            old = self.seconds.get(step.kind, step.seconds)
            self.seconds[step.kind] = (1 - _WEIGHT) * old + _WEIGHT * step.seconds
        if wall_seconds > 0 and ran:
            side_by_side = sum(s.seconds for s in ran) / wall_seconds
            self.parallel = (1 - _WEIGHT) * self.parallel + _WEIGHT * max(1.0, side_by_side)

    def eta(self, view: CampaignView, elapsed_seconds: float = 0.0) -> float | None:
        """Return the seconds still to go, or None while nothing is known to reckon from.

        Other campaigns' means say how the steps compare; the further this one is, the more its own
        pace counts, so that a smaller or larger one than usual is soon reckoned right.
        """
        if not view.complete:
            return None
        done = left = 0.0
        for step in view.steps.values():
            mean = self.seconds.get(step.kind)
            if mean is None:
                if step.ended:
                    continue
                return None
            done += mean * step.fraction if step.made in ("", "run") else 0.0
            left += mean * (1 - step.fraction)
        if not done or not elapsed_seconds:
            return left / self.parallel
        trust = min(1.0, _TRUST * done / (done + left))
        return trust * elapsed_seconds * left / done + (1 - trust) * left / self.parallel
