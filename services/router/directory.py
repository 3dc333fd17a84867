"""Who is there: what the workers of each service announce, read again and again, made one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from bus.records import Records
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket
from services.router.watch import Watch

if TYPE_CHECKING:
    from bus.connection import Bus

SILENT_SECONDS = 60.0
"""A service that has not announced itself for so long is taken for gone."""
FRESH_SECONDS = 0.2
"""A look that nobody need repeat sooner."""


class Directory:
    """The announced services as last read; `watch` is what all looks so far add up to."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = time.time) -> None:
        self._records = Records(bus, Bucket.SERVICES, ServiceRecord)
        self._clock = clock
        self._known: dict[str, ServiceRecord] = {}
        self._read_at = 0.0
        self.watch = Watch()

    async def refresh(self) -> bool:
        """Read what is announced; say whether anything that routing looks at has changed."""
        if time.monotonic() - self._read_at < FRESH_SECONDS:
            return False
        now = self._clock()
        found = merged((r.value for r in await self._records.under()), now)
        self._read_at = time.monotonic()
        changed = _essence(found) != _essence(self._known)
        self._known = found
        self.watch = self.watch.look(ready(self.services()), now)
        return changed

    def services(self) -> list[ServiceRecord]:
        """Return every announced service; one that fell silent counts as unavailable."""
        now = self._clock()
        return [_judged(service, now) for service in self._known.values()]

    def announced(self, name: str) -> ServiceRecord | None:
        """Return one service, or None."""
        return self._known.get(name)


def merged(workers: Iterable[ServiceRecord], now: float) -> dict[str, ServiceRecord]:
    """Return one record for each service, by name; `now` in Unix seconds.

    Only workers count that were heard of lately and, where some of them are ready, those; of
    several engines' the newest. A service none of whose workers was heard of is as the last said.
    """
    by_name: dict[str, list[ServiceRecord]] = {}
    for worker in workers:
        by_name.setdefault(worker.manifest.name, []).append(worker)
    return {name: _one(found, now) for name, found in by_name.items()}


def ready(services: Iterable[ServiceRecord]) -> list[str]:
    """Return the names of those that take jobs."""
    return [s.manifest.name for s in services if s.state is ServiceState.READY and s.workers]


def _one(workers: list[ServiceRecord], now: float) -> ServiceRecord:
    fresh = [w for w in workers if now - w.announced_at <= SILENT_SECONDS]
    ready = [w for w in fresh if w.state is ServiceState.READY]
    candidates = ready or fresh
    if not candidates:
        return max(workers, key=lambda w: w.announced_at)
    # While a new version is rolled out both announce themselves in turns: the version decides.
    newest = max(candidates, key=lambda w: (_version(w), w.announced_at))
    same = [w for w in candidates if w.revision == newest.revision]
    return msgspec.structs.replace(
        newest,
        worker="",
        workers=sum(w.workers for w in same),
        busy=sum(w.busy for w in same),
        resident=any(w.resident for w in same),
        resident_since=min((w.resident_since for w in same if w.resident), default=0.0),
        memory_gb=sum(w.memory_gb for w in same),
        announced_at=max(w.announced_at for w in same),
    )


def _version(worker: ServiceRecord) -> tuple[int, ...]:
    return tuple(int(part) for part in worker.manifest.version.split("."))


def _judged(service: ServiceRecord, now: float) -> ServiceRecord:
    if now - service.announced_at <= SILENT_SECONDS:
        return service
    return msgspec.structs.replace(
        service, state=ServiceState.UNAVAILABLE, reason="it has not been heard of for a minute"
    )


def _essence(known: dict[str, ServiceRecord]) -> dict[str, ServiceRecord]:
    """Leave out what changes with every announcement and decides nothing."""
    return {
        name: msgspec.structs.replace(
            service, announced_at=0.0, busy=0, memory_gb=0.0, resident_since=0.0
        )
        for name, service in known.items()
    }
