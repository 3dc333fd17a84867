"""Who is there: what services announce, read again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from bus.records import Records
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket

if TYPE_CHECKING:
    from bus.connection import Bus

SILENT_SECONDS = 60.0
"""A service that has not announced itself for so long is taken for gone."""
FRESH_SECONDS = 0.2
"""A look that nobody need repeat sooner."""


class Directory:
    """The announced services as last read; `changed` says whether the last look brought news."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = time.time) -> None:
        self._records = Records(bus, Bucket.SERVICES, ServiceRecord)
        self._clock = clock
        self._known: dict[str, ServiceRecord] = {}
        self._read_at = 0.0

    async def refresh(self) -> bool:
        """Read what is announced; say whether anything that routing looks at has changed."""
        if time.monotonic() - self._read_at < FRESH_SECONDS:
            return False
        found = {r.value.manifest.name: r.value for r in await self._records.under()}
        self._read_at = time.monotonic()
        changed = _essence(found) != _essence(self._known)
        self._known = found
        return changed

    def services(self) -> list[ServiceRecord]:
        """Return every announced service; one that fell silent counts as unavailable."""
        now = self._clock()
        return [_judged(service, now) for service in self._known.values()]

    def announced(self, name: str) -> ServiceRecord | None:
        """Return one service, or None."""
        return self._known.get(name)


def _judged(service: ServiceRecord, now: float) -> ServiceRecord:
    if now - service.announced_at <= SILENT_SECONDS:
        return service
    return msgspec.structs.replace(
        service, state=ServiceState.UNAVAILABLE, reason="it has not been heard of for a minute"
    )


def _essence(known: dict[str, ServiceRecord]) -> dict[str, ServiceRecord]:
    return {n: msgspec.structs.replace(s, announced_at=0.0) for n, s in known.items()}
