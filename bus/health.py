"""How a process is, in words: ready, or degraded and why. The box's health is made of these."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from bus.connection import Bus

DENIED_SECONDS = 60.0
"""A process is degraded for so long after NATS has refused it something."""
READY = "ready"
DEGRADED = "degraded"
UNAVAILABLE = "unavailable"
DOWN = "down"
GONE = "gone"
OFF = "off"
STARTING = "it is starting: NATS has not answered yet"


class Health(msgspec.Struct, frozen=True):
    """Ready, or degraded and why."""

    status: str
    why: list[str] = []


def of_process(bus: Bus | None) -> Health:
    """Say whether a process can do its work now; one without a connection has not begun."""
    if bus is None:
        return Health(DEGRADED, [STARTING])
    why = []
    if not bus.nc.is_connected:
        why.append("the connection to NATS is gone")
    if bus.stopping.is_set():
        why.append("it is ending")
    if time.monotonic() - bus.denied_at < DENIED_SECONDS:
        why.append("NATS has refused it a subject")
    return Health(DEGRADED, why) if why else Health(READY)


class ServiceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One service of a box: `ready`, `degraded`, `unavailable` (it is there and takes no work),
    `gone` (no process answers) or `off` (an operator turned it off). `workers` are processes.
    """

    state: str
    why: list[str] = []
    workers: int = 0


class BoxHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A box: `ready`, `degraded` (it works, without some of what it should have) or `down`; and
    why. `at` is when somebody looked, Unix seconds.
    """

    status: str
    why: list[str] = []
    services: dict[str, ServiceHealth] = {}
    at: float = 0.0


ADDRESS_FILE = "health.address"
"""In the data directory of a running observer: where its page is, if it took any free port."""
