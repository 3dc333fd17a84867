"""What must hold of a box, each a function that fails if it does not.

The suite calls them on a whole box, and on boxes that were broken on purpose: there the named one
must fail (test_broken_units.py).
"""

from __future__ import annotations

import json

from box import ONCE, TARGET, Box
from machine import wait_for

RESTART_SECONDS = 45.0
NATS, ROUTER, STORE = "adgenx-nats.service", "adgenx-router.service", "adgenx-s3.service"
ACTIVE_SECONDS = 60.0
CEILINGS = {NATS: 1.2, STORE: 0.8, "adgenx-s3-proxy.service": 0.6}
"""Exposure that `systemd-analyze security` may count, of 10."""
CEILING = 1.2
"""Of every other unit of ours."""


def everything_is_active(box: Box) -> None:
    """Every unit that the target wants runs, and the box says that it is ready."""
    box.wait_ready(ACTIVE_SECONDS)


def comes_back(box: Box, unit: str) -> None:
    """A unit that is killed has another process soon."""
    before = box.pid(unit)
    assert before, f"{unit} does not run"
    box.machine.run("kill", "-KILL", str(before))
    wait_for(
        lambda: box.active(unit) and box.pid(unit) not in (0, before),
        f"{unit} to come back",
        RESTART_SECONDS,
    )


def watchdog_catches(box: Box, unit: str, *, child: bool = False) -> None:
    """A unit that hangs is ended and comes back; `child`: the server that its process watches."""
    before = box.pid(unit)
    starts = int(box.show(unit, "NRestarts"))
    own = box.show(unit, "WatchdogUSec")
    assert own not in ("", "0", "infinity"), f"{unit} has no watchdog"
    box.alter(unit, "[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\n")
    try:
        # A changed WatchdogSec counts from the next start on.
        box.systemctl("restart", unit)
        box.wait_active(unit)
        before, starts = box.pid(unit), int(box.show(unit, "NRestarts"))
        hung = _child(box, before) if child else before
        box.hang(hung)
        wait_for(
            lambda: int(box.show(unit, "NRestarts")) > starts and box.active(unit),
            f"{unit} to be ended by its watchdog",
            RESTART_SECONDS,
        )
        assert box.pid(unit) != before
    finally:
        box.restore(unit)


def _child(box: Box, pid: int) -> int:
    return int(box.machine.run("pgrep", "--parent", str(pid)).stdout.split()[0])


def moves_with_the_target(box: Box) -> None:
    """Whoever stops the target stops every unit of it, and starts them again with it."""
    units = box.units()
    box.systemctl("stop", TARGET)
    # A target does not wait for those that stop with it.
    wait_for(
        lambda: all(box.show(u, "ActiveState") in ("inactive", "failed") for u in units),
        "every unit to stop with the target",
        RESTART_SECONDS,
    )
    box.systemctl("start", TARGET)
    box.wait_active(*units)


def starts_in_order(box: Box) -> None:
    """At a boot no service was started before the servers served and the streams were there."""
    behind = {unit for unit in box.units() if unit not in CEILINGS}
    served = max(int(box.show(unit, "ActiveEnterTimestampMonotonic")) for unit in (NATS, *ONCE))
    for unit in sorted(behind):
        started = int(box.show(unit, "InactiveExitTimestampMonotonic"))
        assert started >= served, f"{unit} was started {served - started} µs too early"
        assert box.show(unit, "NRestarts") == "0", f"{unit} was started in vain at first"


def is_little_exposed(box: Box) -> None:
    """No unit of ours may do more than it needs, as systemd counts it."""
    told = box.machine.run("systemd-analyze", "security", "--json=short", "--no-pager").stdout
    found = {row["unit"]: float(row["exposure"]) for row in json.loads(told)}
    ours = {unit: score for unit, score in found.items() if unit.startswith("adgenx")}
    assert set(box.units()) <= set(ours)
    over = {u: s for u, s in ours.items() if s > CEILINGS.get(u, CEILING)}
    assert not over, over


def reads_clean(box: Box) -> None:
    """`systemd-analyze verify` has nothing to say: of an unknown key it says so, and returns 0."""
    units = [*box.units(), *ONCE, TARGET, "adgenx-s3-proxy.socket"]
    timers = box.systemctl("list-unit-files", "--no-legend", "adgenx-*.timer").split()
    units += [word for word in timers if word.endswith(".timer")]
    ran = box.machine.run("systemd-analyze", "verify", "--man=no", *units, check=False)
    said = [line for line in (ran.stdout + ran.stderr).splitlines() if "adgenx" in line]
    assert not said, "\n".join(said)
    assert ran.returncode == 0


def fails_alone(box: Box, unit: str, secret: str) -> None:
    """A unit whose secret is missing does not run; everybody else does not even notice."""
    path = f"/etc/adgenx/secrets/{secret}"
    others = {u: box.pid(u) for u in box.units() if u != unit}
    box.machine.run("mv", path, f"{path}.away")
    try:
        box.systemctl("restart", unit, check=False)
        wait_for(lambda: not box.active(unit), f"{unit} to fail", RESTART_SECONDS)
        assert {u: box.pid(u) for u in others} == others
        assert box.active(*others)
    finally:
        box.machine.run("mv", f"{path}.away", path)
    box.wait_active(unit)
