"""The running machine: its units stopped, started and watched through systemctl."""

from __future__ import annotations

import grp
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from appliance.plan import InstallError
from appliance.steps import run
from appliance.units import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BOOTED = Path("/run/systemd/system")
STEADY_SECONDS = 5.0
"""So long nothing may have been started again before a box is taken for well."""
LOOK_SECONDS = 0.5
_PROPERTIES = "Id,LoadState,ActiveState,SubState,Result,NRestarts"


class UnitState(msgspec.Struct, frozen=True):
    """What systemd says of a unit."""

    name: str
    active: str
    detail: str
    result: str
    restarts: int

    @property
    def well(self) -> bool:
        """Say whether it runs, or has done what it was for."""
        return self.active == "active"

    def __str__(self) -> str:
        """Say how it is."""
        because = "" if self.result == "success" else f", {self.result}"
        return f"{self.name} is {self.active} ({self.detail}{because})"


def booted() -> bool:
    """Say whether systemd runs this machine; in an image or a chroot it does not."""
    return BOOTED.is_dir()


def facts() -> Machine:
    """Return what matters of this machine for its units; 0 for a systemd that is not there."""
    groups = frozenset(entry.gr_name for entry in grp.getgrall())
    try:
        said = run(["systemctl", "--version"])
    except InstallError:
        return Machine(systemd=0, groups=groups)
    number = said.split()[1]  # `systemd 252 (252.38-1~deb12u1)`
    return Machine(systemd=int(number) if number.isdecimal() else 0, groups=groups)


def reload_units() -> None:
    """Let systemd read its units anew."""
    run(["systemctl", "daemon-reload"])


def start(units: Iterable[str]) -> None:
    """Start units; returns at once, since whoever watches them sees more than systemctl says."""
    _each("start", units, "--no-block")


def restart(units: Iterable[str]) -> None:
    """Restart those of the units that run; returns at once, as `start` does."""
    _each("try-restart", units, "--no-block")


def stop(units: Iterable[str]) -> None:
    """Stop units and wait until each has drained."""
    _each("stop", units)


def active(pattern: str) -> list[str]:
    """Return the units of a pattern that run, or try to."""
    argv = ["systemctl", "list-units", "--plain", "--no-legend", "--full", pattern]
    return [line.split()[0] for line in run(argv).splitlines() if line.strip()]


def _each(verb: str, units: Iterable[str], *options: str) -> None:
    if names := list(units):
        run(["systemctl", verb, *options, *names])


def states(units: Iterable[str]) -> list[UnitState]:
    """Return how each unit is; one that systemd does not know is inactive."""
    names = list(units)
    if not names:
        return []
    said = run(["systemctl", "show", f"--property={_PROPERTIES}", *names])
    blocks = [dict(_pairs(block)) for block in said.strip().split("\n\n")]
    return [
        UnitState(
            name=name,
            active=told.get("ActiveState", "unknown"),
            detail=told.get("SubState", ""),
            result=told.get("Result", "") or "success",
            restarts=int(told.get("NRestarts") or 0),
        )
        for name, told in zip(names, blocks, strict=True)
    ]


def _pairs(block: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (line.partition("=") for line in block.split("\n"))]


def journal(unit: str, lines: int = 5) -> str:
    """Return the last lines that a unit wrote, as good as they can be had."""
    argv = ["journalctl", "--unit", unit, "--lines", str(lines), "--output=cat", "--no-pager"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    return ended.stdout.strip()


def wait_until_well(
    units: Iterable[str],
    seconds: float,
    *,
    look: Callable[[Iterable[str]], list[UnitState]] = states,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until every unit is active and none has been started again for a while.

    Raises InstallError saying which is not, after so many seconds.
    """
    names = list(units)
    until = now() + seconds
    steady_since, before = now(), look(names)
    while True:
        found = look(names)
        if found != before or not all(unit.well for unit in found):
            steady_since = now()
        before = found
        if now() - steady_since >= STEADY_SECONDS:
            return
        if now() > until:
            raise InstallError(_complaint(found, seconds))
        sleep(LOOK_SECONDS)


def wait_until_it_says_so(
    command: Path,
    seconds: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until `adgenx health` ends with 0: ready, or degraded with work going on.

    Raises InstallError with what it said last.
    """
    until = now() + seconds
    while True:
        argv = [str(command), "health"]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False)
        if ended.returncode == 0:
            return
        if now() > until:
            raise InstallError(f"`adgenx health` says: {ended.stdout.strip()[:500]}")
        sleep(LOOK_SECONDS)


def _complaint(found: list[UnitState], seconds: float) -> str:
    ill = [unit for unit in found if not unit.well]
    if not ill:
        busy = max(found, key=lambda unit: unit.restarts)
        return f"not steady after {seconds:.0f} s: {busy.name} was started {busy.restarts} times"
    told = [f"  {unit}\n    {journal(unit.name)}".rstrip() for unit in ill]
    return f"not well after {seconds:.0f} s:\n" + "\n".join(told)
