"""Looking at the bus from nothing.

Nobody is asked but the server. Every look reads streams, consumers, announcements and the records
of governance anew, in some twenty calls, so that a picture never depends on what was missed before.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from bus import device, disk, survey
from bus.direct import next_of
from bus.listing import subjects_in
from bus.picture import Picture, Provider, Queue, merged, summed
from bus.records import Records
from contracts import subjects
from contracts.governance import BreakerRecord, BudgetRecord, FlagRecord
from contracts.manifest import ServiceRecord
from contracts.subjects import Bucket, Stream

if TYPE_CHECKING:
    from bus.connection import Bus
    from bus.survey import ConsumerState, StreamState

SETTLE_SECONDS = 0.5
"""Two calls are not of one moment: what seems stuck is looked at again after so long."""
CONTROL_TARGET_SECONDS = 5.0
"""How soon a command should have been taken."""


async def look(bus: Bus) -> Picture:
    """Look at everything; raises UnknownOutcomeError when the server does not answer."""
    (listed, consuming), services, flags, breakers, budgets = await asyncio.gather(
        _server(bus),
        Records(bus, Bucket.SERVICES, ServiceRecord).under(),
        Records(bus, Bucket.FLAGS, FlagRecord).under(),
        Records(bus, Bucket.BREAKERS, BreakerRecord).under(),
        Records(bus, Bucket.BUDGETS, BudgetRecord).under(),
    )
    now = time.time()
    seen = merged(
        [r.value for r in services],
        {r.key: r.value for r in flags},
        {r.key: r.value for r in breakers},
        consuming,
        now=now,
        off=frozenset(bus.settings.disabled_services),
    )
    folders = {"spool": bus.settings.spool_dir, **disk.folders(bus.settings)}
    return Picture(
        at=now,
        providers=seen,
        queues=await _queues(bus, listed, seen),
        streams=listed,
        consumers=consuming,
        stuck=await _stuck(bus, listed, consuming),
        budgets=summed({r.key: r.value for r in budgets}),
        campaigns_open=sum(s.messages for s in listed if s.stream == f"KV_{Bucket.OPEN}"),
        memory_available_bytes=device.memory_available_bytes(),
        disks={name: device.disk_used_ratio(folder) for name, folder in folders.items()},
    )


async def _server(bus: Bus) -> tuple[list[StreamState], list[ConsumerState]]:
    listed = await survey.streams(bus)
    found = await asyncio.gather(*(survey.consumers(bus, s.stream) for s in listed if s.consumers))
    return listed, [consumer for group in found for consumer in group]


async def _stuck(
    bus: Bus, listed: list[StreamState], consuming: list[ConsumerState]
) -> dict[str, int]:
    queues = [s.stream for s in listed if s.work_queue]
    found = {name: survey.unassigned(listed, consuming, name) for name in queues}
    if not any(found.values()):
        return found
    await asyncio.sleep(SETTLE_SECONDS)
    listed, consuming = await _server(bus)
    return {n: min(found[n], survey.unassigned(listed, consuming, n)) for n in queues}


async def _queues(bus: Bus, listed: list[StreamState], providers: list[Provider]) -> list[Queue]:
    """Return every queue that holds something, and the empty ones that always exist."""
    there = {s.stream: s.messages for s in listed}
    wanted: list[tuple[Stream, str, int, str]] = []
    for stream, patterns in (
        (Stream.REQUESTS, {t: subjects.request("*", t, "*", "*") for t in subjects.REQUEST_TOKENS}),
        (Stream.JOBS, {p.name: subjects.job_filter(p.name) for p in providers}),
    ):
        # One listing of names, and none where nothing is.
        names = await subjects_in(bus, stream) if there.get(stream) else []
        place = 3 if stream is Stream.REQUESTS else 2
        counts = Counter(name.split(".")[place] for name in names)
        unknown = {k: subjects.job_filter(k) for k in counts if k not in patterns}
        wanted += [(stream, k, counts[k], p) for k, p in (patterns | unknown).items()]
    for stream in (Stream.CONTROL, Stream.DEAD):
        wanted.append((stream, "", there.get(stream, 0), ">"))
    ages = await asyncio.gather(
        *(_age(bus, stream, pattern) for stream, _, depth, pattern in wanted if depth)
    )
    found = iter(ages)
    targets = _targets(providers)
    return [
        Queue(
            queue=stream.value,
            kind=kind,
            depth=depth,
            oldest_seconds=next(found) if depth else 0.0,
            target_seconds=targets.get((stream, kind), 0.0),
        )
        for stream, kind, depth, _ in wanted
    ]


async def _age(bus: Bus, stream: Stream, pattern: str) -> float:
    oldest = await next_of(bus, stream, pattern, 0)
    return max(0.0, time.time() - oldest.stored_at) if oldest else 0.0


def _targets(providers: list[Provider]) -> dict[tuple[Stream, str], float]:
    """Return how soon each queue's messages should be gone: its slowest provider's target."""
    found = {(Stream.CONTROL, ""): CONTROL_TARGET_SECONDS}
    for provider in providers:
        found[Stream.JOBS, provider.name] = provider.target_seconds
        for capability in provider.capabilities:
            before = found.get((Stream.REQUESTS, capability), 0.0)
            found[Stream.REQUESTS, capability] = max(before, provider.target_seconds)
    return found
