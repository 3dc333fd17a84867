"""A plan: small steps that know whether they are done, carried out in order or taken back.

Standard library only, like everything that runs before the box has its packages. A step is done
again only where its effect is missing, so that a second run changes nothing and a broken-off one is
finished by the next.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class InstallError(Exception):
    """The box cannot be set up as asked; the message says what to do about it."""


class Outcome(Enum):
    """What became of a step; the value is the sign that is printed."""

    ALREADY = "="
    DONE = "+"
    WOULD = "~"
    """It was not done since nothing is to be touched."""
    LEFT = "!"
    """It was not done since only root on a real box can do it."""
    REMOVED = "-"
    KEPT = "k"
    """It holds data and stays."""


class Step(ABC):
    """One effect on the machine.

    `needs_root`: below a prefix, or for an ordinary user, it is told and left out. `data`: it holds
    what somebody made; an uninstallation leaves it unless it is told to purge.
    """

    needs_root = False
    data = False

    @property
    @abstractmethod
    def title(self) -> str:
        """What it does, in one line without secrets."""

    @abstractmethod
    def done(self) -> bool:
        """Say whether its effect is there. Changes nothing."""

    @abstractmethod
    def do(self) -> None:
        """Bring its effect about. Raises InstallError or OSError."""

    def undo(self) -> None:  # noqa: B027 - most commands leave nothing to take back
        """Take its effect away; nothing if it is not there."""


@dataclass
class Report:
    """What was done, step by step."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    done: list[Step] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in one sentence."""
        counted = self.outcomes
        if counted[Outcome.WOULD]:
            return f"{counted[Outcome.WOULD]} steps would be done, {counted[Outcome.ALREADY]} are"
        said = [f"{counted[Outcome.DONE]} steps done, {counted[Outcome.ALREADY]} were already"]
        if not counted[Outcome.DONE]:
            said = [f"nothing to change: all {counted[Outcome.ALREADY]} steps were done before"]
        if counted[Outcome.LEFT]:
            said.append(f"{counted[Outcome.LEFT]} left for root on a real box")
        return "; ".join(said)


def print_step(outcome: Outcome, step: Step) -> None:
    """Print one step's line."""
    print(f" {outcome.value} {step.title}", flush=True)  # noqa: T201 - the installer's own output


def carry_out(
    steps: Iterable[Step],
    *,
    dry_run: bool = False,
    as_root: bool | None = None,
    tell: Callable[[Outcome, Step], None] = print_step,
) -> Report:
    """Do every step that is not done, in order, and say what became of each.

    Without `as_root` (by default: who runs this) steps that need it are left out.
    """
    may_all = os.geteuid() == 0 if as_root is None else as_root
    report = Report()
    for step in steps:
        if step.needs_root and not may_all:
            outcome = Outcome.LEFT
        elif step.done():
            outcome = Outcome.ALREADY
        elif dry_run:
            outcome = Outcome.WOULD
        else:
            _do(step)
            report.done.append(step)
            outcome = Outcome.DONE
        report.outcomes[outcome] += 1
        tell(outcome, step)
    return report


def _do(step: Step) -> None:
    try:
        step.do()
    except OSError as error:
        raise InstallError(f"{step.title}: {error}") from error


def take_back(
    steps: Iterable[Step],
    *,
    purge: bool = False,
    dry_run: bool = False,
    as_root: bool | None = None,
    tell: Callable[[Outcome, Step], None] = print_step,
) -> Report:
    """Undo every step, the last first; data stays unless it is to be purged."""
    may_all = os.geteuid() == 0 if as_root is None else as_root
    report = Report()
    for step in reversed(list(steps)):
        if step.needs_root and not may_all:
            outcome = Outcome.LEFT
        elif step.data and not purge:
            outcome = Outcome.KEPT
        elif dry_run:
            outcome = Outcome.WOULD
        else:
            step.undo()
            outcome = Outcome.REMOVED
        report.outcomes[outcome] += 1
        tell(outcome, step)
    return report
