"""Who goes next: JOBS is kept shallow, so that order stays a decision. No IO, no clock.

`release(queued, capacity, now)` takes out of the queues as many jobs as there are places. For each
service it asks, in this order:

    is there a place           what its workers can take, less what is inside; none while its
                               breaker is open, one while it is half-open
    is its model loaded        if not, and another service on the same device has its model loaded
                               and jobs waiting, it stands back for up to HOLD_SECONDS, unless
                               somebody presses: a rank, or a deadline that is near
    has a person ranked it     ranked before unranked, the lower rank first, then the older job;
                               this overrides everything below, between tenants too
    whose turn is it           the tenant with the fewest jobs inside (by its weight), then the one
                               that was served longest ago: a tenant's own words about priority and
                               deadlines count among its own jobs only
    what of that tenant's      the highest level: 10 for a deadline that is near, else the priority
                               0 to 9; plus one for every OVERTAKES releases that have passed it
    which of that level        level 10: the nearest deadline; a priority: the oldest

Near is a deadline that would be missed if the job waited for all the others; hopeless is one that
cannot be met even at once: such a job goes in its turn, and steals nobody's.

Nothing starves: between two releases of one priority of one tenant, at most MOST_PASSED of that
tenant's other jobs go; between two turns of a tenant, every other one has had its turn as often as
it weighs. The n-th oldest of a priority therefore waits for at most n x MOST_PASSED of its
tenant's jobs, however many come behind it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.manifest import ServiceRecord
from services.router.waiting import MOST_PASSED, OVERTAKES, Queue, Rush, Waiting, Weight

__all__ = [
    "DEPTH",
    "HOLD_SECONDS",
    "MOST_PASSED",
    "OVERTAKES",
    "UNKNOWN_CAPACITY",
    "Capacity",
    "Queue",
    "Rush",
    "Waiting",
    "Weight",
    "places",
    "release",
]

DEPTH = 2
"""Jobs in JOBS for each one that a service can run at once: one runs, one is at hand."""
UNKNOWN_CAPACITY = 2
"""For a service that announces nothing at the moment: its workers may come back."""
HOLD_SECONDS = 20.0
"""How long a service whose model is not loaded stands back behind one whose model is."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a service can take now: `free` of its `places` in JOBS; a job takes `seconds`.

    `device` names the memory that its model shares with others, empty for none; `resident` says
    whether its model is loaded there. Without a device nobody stands back.
    """

    free: int
    places: int = 1
    seconds: float = 0.0
    resident: bool = True
    device: str = ""


def places(service: ServiceRecord | None) -> int:
    """Return how many jobs of a service may be in JOBS at once."""
    if service is None:
        return UNKNOWN_CAPACITY
    return max(1, DEPTH * service.workers)


def release(
    queued: Mapping[str, Queue], capacity: Mapping[str, Capacity], now: float
) -> list[tuple[str, Waiting]]:
    """Take out the jobs that go next, with their services' names; never more than there is room.

    `now` in Unix seconds. The same queues, capacity and time always give the same answer.
    """
    released: list[tuple[str, Waiting]] = []
    for name in sorted(capacity):
        queue, room = queued.get(name), capacity[name]
        if not queue or room.free < 1 or _stands_back(name, queued, capacity, now):
            continue
        queue.held_since = None
        for _ in range(room.free):
            job = queue.take(now, _rush(queue, room))
            if job is None:
                break
            released.append((name, job))
    return released


def _rush(queue: Queue, room: Capacity) -> Rush:
    at_once = max(1, room.places // DEPTH)
    rounds = 1 + len(queue) / at_once
    return Rush(room.seconds, room.seconds * rounds)


def _stands_back(
    name: str, queued: Mapping[str, Queue], capacity: Mapping[str, Capacity], now: float
) -> bool:
    room, queue = capacity[name], queued[name]
    if room.resident or not room.device:
        return False
    loaded = (n for n, c in capacity.items() if c.device == room.device and c.resident)
    if not any(queued.get(n) for n in loaded) or queue.pressing(now, _rush(queue, room)):
        return False
    if queue.held_since is None:
        queue.held_since = now
    return now - queue.held_since < HOLD_SECONDS
