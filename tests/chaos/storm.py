"""One chaos run: load and bad weather together, then quiet, then what the stores say."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from pathlib import Path

import invariants
import msgspec
import stores
from load import CAMPAIGNS, Clients
from noop_services import whole_house
from stores import Stores
from weather import CALM_SECONDS, Weather
from yard import COORDINATOR, ROUTER, Yard, worker, yard

from bus import gate
from bus.connection import connected
from bus.records import Records
from contracts import subjects
from contracts.codec import encode
from contracts.errors import TransientError
from contracts.governance import BreakerRecord, BreakerState
from contracts.operating import ResetBreaker
from contracts.subjects import Bucket

QUIET_SECONDS = 90.0
"""No run may need longer than this to come to rest: the slowest sweep comes every 30 s."""
BACKLOG = 0.1
"""Seconds more for every second of load: what bad weather has held up must be done first."""
RECEIPTS = {"noop_director"}
ATTEMPTS = {"noop_brittle": 2, "draft_copy": 3}


class Outcome(msgspec.Struct):
    """What a run came to; `wrong` is empty if every promise was kept."""

    wrong: list[str]
    faults: list[str]
    quiet_seconds: float
    counts: dict[str, int]


def disks_of(folder: Path) -> dict[str, Path]:
    """Return the folders that are worth filling."""
    return {
        "nats": folder / "data" / "nats",
        "s3": folder / "data" / "s3",
        "spool": folder / "spool",
    }


async def storm(folder: Path, seed: int, seconds: float, disks: dict[str, Path]) -> Outcome:
    """Run once. `folder` is the run's own; what `disks` names lies in it."""
    async with yard(folder) as made:
        await made.add_lines()
        services = [*whole_house(made.services), "draft_copy"]
        for name in ("router.1", "router.2"):
            made.add(name, ROUTER)
        for name in ("coordinator.1", "coordinator.2"):
            made.add(name, COORDINATOR)
        for service in services:
            made.add(f"{service}.1", worker(service))
        made.add("noop_painter.2", worker("noop_painter"))
        made.add("noop_studio.2", worker("noop_studio"))
        await made.announced(*services)
        weather = Weather(made, seed, disks)
        async with connected(made.settings, "clients") as bus:
            clients = Clients(bus, seed, campaigns=max(CAMPAIGNS, int(seconds / 10)))
            end = time.monotonic() + seconds
            await asyncio.gather(clients.run(end), weather.run(end - CALM_SECONDS))
        began = time.monotonic()
        found = await rest(made, QUIET_SECONDS + BACKLOG * seconds)
        quiet = time.monotonic() - began
        return await judge(made, found, clients, weather, quiet)


async def rest(made: Yard, patience: float = QUIET_SECONDS) -> Stores:
    """Wait until nothing moves any more; what still does when patience ends is a violation.

    The reading that is returned began when everything was at rest: it is of one moment.
    """
    deadline = time.monotonic() + patience
    closing = asyncio.create_task(close_breakers(made))
    try:
        return await _at_rest(made, deadline)
    finally:
        closing.cancel()


async def close_breakers(made: Yard) -> None:
    """Be the operator who says that all is well again: a breaker may else wait ten minutes."""
    for number in itertools.count():
        with contextlib.suppress(TransientError):
            for record in await Records(made.bus, Bucket.BREAKERS, BreakerRecord).under():
                if record.value.state is not BreakerState.CLOSED:
                    subject = subjects.operation(f"calm-{record.key}-{number}")
                    body = encode(ResetBreaker(service=record.key))
                    await gate.publish_once(made.bus, subject, body)
        await asyncio.sleep(1)


async def _at_rest(made: Yard, deadline: float) -> Stores:
    at_rest = False
    while True:
        with contextlib.suppress(TransientError):
            found = await stores.read(made.bus)
            owed = [name for name, (pending, held) in found.consumers.items() if pending or held]
            was_at_rest = at_rest
            at_rest = not found.restless and all(n.startswith("REQUESTS") for n in owed)
            if (at_rest and was_at_rest) or time.monotonic() > deadline:
                return found
        await asyncio.sleep(0.3)


async def judge(
    made: Yard, found: Stores, clients: Clients, weather: Weather, quiet: float
) -> Outcome:
    """Check every invariant."""
    promised = clients.promised
    promised.attempts |= ATTEMPTS
    wanted = invariants.delivered(found)
    keys = stores.receipt_keys(found, RECEIPTS)
    bodies = await stores.objects(made.direct, {*wanted, *keys.values()})
    wrong = [
        *invariants.check(found, promised),
        *invariants.bytes_of(bodies, wanted),
        *invariants.receipts(found, bodies, keys),
        *invariants.same_content(found, promised, clients.contents),
    ]
    generations = made.generations.read_text().splitlines()
    states = [job.state.value for job in found.jobs.values()]
    counts = {
        "accepted": len(promised.requests),
        "jobs": len(found.jobs),
        **{state: states.count(state) for state in sorted(set(states))},
        "campaigns": len(found.campaigns),
        "charges": len(found.ledger),
        "buried": len(found.dead),
        "runs": len(found.runs),
        "generations": len(generations),
        "faults": len(weather.log),
        "unheralded": len(invariants.unheralded(found)),
    }
    errors = Counter(job.error.code for job in found.jobs.values() if job.error is not None)
    counts |= errors
    if wrong:
        wrong.append(f"the logs lie in {made.folder}")
    return Outcome(wrong, weather.log, quiet, counts)
