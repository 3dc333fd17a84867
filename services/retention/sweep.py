"""One sweep of everything: count, purge, expire, collect; and the records that tell of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import structlog

from bus import gate
from bus.records import Records, stream_of
from contracts import subjects
from contracts.codec import encode
from contracts.identity import is_id
from contracts.operating import DeleteCampaign
from contracts.retention import STATE_KEY, SweepState, TenantSweep
from contracts.subjects import Bucket, Stream
from services.retention.census import DELIVERED_SECONDS, Census, Counter, Entry, Limits
from services.retention.collect import Collector, Rules
from services.retention.purge import Purged, Purger
from services.retention.tidy import Tidier

if TYPE_CHECKING:
    from bus.artifacts import Artifacts
    from bus.connection import Bus

log = structlog.get_logger(__name__)

T = TypeVar("T")

DAY_SECONDS = 24 * 3600.0
AGAIN_SECONDS = 2 * DAY_SECONDS
"""A campaign that was deleted so recently is purged once more: somebody may have woken since."""


class Tools(NamedTuple):
    """What a sweep works with; `rest` is waited for between pages."""

    bus: Bus
    artifacts: Artifacts
    clock: Callable[[], float]
    rest: Callable[[], Awaitable[None]]


class Sweep:
    """Sweeps when told to. Nothing that matters is in memory: begin again after any error."""

    def __init__(self, tools: Tools) -> None:
        self._bus, self._artifacts, self._clock, self._rest = tools
        settings = self._bus.settings
        self._grace_seconds = settings.retention_grace_hours * 3600
        self._kept_seconds = settings.retention_days * DAY_SECONDS
        self._objects = self._artifacts.objects
        self._purger = Purger(self._bus)
        self._counter = Counter(*tools)
        self._tidier = Tidier(self._bus, self._objects, self._rest)
        self._states = Records(self._bus, Bucket.RETENTION, SweepState)
        self._tenants = Records(self._bus, Bucket.RETENTION, TenantSweep)

    async def run(self, wanted_at: float = 0.0, *, dry_run: bool = False) -> SweepState:
        """Sweep once and return what was done. Raises TransientError: begin again later.

        A dry run counts what there is and changes nothing.
        """
        began = time.monotonic()
        before = SweepState(began_at=self._clock(), dry_run=dry_run)
        known = await self._states.get(STATE_KEY)
        shown = msgspec.structs.replace(
            known.value if known else before, began_at=before.began_at, ended_at=0.0
        )
        await self._states.put(STATE_KEY, shown)
        census = await self._counter.count(self._limits(before.began_at))
        state = msgspec.structs.replace(before, named=len(census.mark.names))
        state = self._would(census, state) if dry_run else await self._purge(census, state)
        state = await self._collect(census, state)
        state = msgspec.structs.replace(state, ended_at=self._clock(), wanted_at=wanted_at)
        await self._states.put(STATE_KEY, state)
        fields = msgspec.to_builtins(state)
        log.info("retention.swept", **fields, seconds=round(time.monotonic() - began, 3))
        return state

    async def purge(self, key: str) -> bool:
        """Purge a campaign if it was deleted; False if it must be looked at again soon."""
        return not (await _spared(key, self._purger.campaign(key), Purged())).pending

    def _limits(self, now: float) -> Limits:
        return Limits(
            ended_before=now - self._kept_seconds if self._kept_seconds else 0.0,
            unused_before=now - self._grace_seconds,
            delivered_before=now - DELIVERED_SECONDS,
        )

    def _would(self, census: Census, state: SweepState) -> SweepState:
        """Count what a sweep would do, as far as one walk can tell."""
        return msgspec.structs.replace(
            state,
            campaigns=len(census.remains),
            expired=len(census.expired_campaigns),
            requests=len(census.expired_requests),
            runs=len(census.orphans),
            claims=len(census.claims),
            uploads=len(census.uploads),
            deliveries=len(census.deliveries),
            segments=len(census.segments),
        )

    def _to_purge(self, census: Census, now: float) -> list[str]:
        recent = {k for k, at in census.deleted.items() if now - at < AGAIN_SECONDS}
        return sorted(census.remains | census.unclosed | recent)

    async def _purge(self, census: Census, state: SweepState) -> SweepState:
        """Remove the records and messages that have had their time."""
        campaigns = pending = requests = 0
        for key in self._to_purge(census, state.began_at):
            purged = await _spared(key, self._purger.campaign(key), Purged())
            campaigns += bool(purged.requests or purged.messages)
            pending += purged.pending
            requests += purged.requests
            await self._rest()
        for key in census.expired_campaigns:
            # By the one command that there is: the coordinator alone writes a tombstone.
            tenant, _, campaign_id = key.partition(".")
            command = subjects.delete_campaign(tenant, campaign_id)
            await gate.publish_once(self._bus, command, encode(DeleteCampaign()))
        for key in census.expired_requests:
            requests += await _spared(key, self._purger.request(key), otherwise=False)
            await self._rest()
        for sequence in census.burials:
            await gate.remove(self._bus, Stream.DEAD, sequence)
        return msgspec.structs.replace(
            state,
            campaigns=campaigns,
            pending=pending,
            expired=len(census.expired_campaigns),
            requests=requests,
            runs=await self._each(census.orphans, self._purger.orphan),
            claims=await self._each(census.claims, self._purger.claim),
            uploads=await self._each_of(Bucket.UPLOADS, census.uploads),
            deliveries=await self._each_of(Bucket.DELIVERIES, census.deliveries),
            segments=await self._each_of(Bucket.SEGMENTS, census.segments),
        )

    async def _each(
        self, entries: list[Entry], remove: Callable[[str, int], Awaitable[bool]]
    ) -> int:
        done = 0
        for key, revision in entries:
            done += await _spared(key, remove(key, revision), otherwise=False)
            await self._rest()
        return done

    async def _each_of(self, bucket: Bucket, entries: list[Entry]) -> int:
        async def remove(_: str, revision: int) -> bool:
            return await gate.remove(self._bus, stream_of(bucket), revision)

        return await self._each(entries, remove)

    async def _collect(self, census: Census, state: SweepState) -> SweepState:
        """Sweep the store, and write down what was done to each tenant."""
        collector = Collector(
            self._objects,
            self._counter.mark,
            self._artifacts.make_durable,
            self._rest,
            self._clock,
            Rules(self._grace_seconds, state.dry_run),
        )
        tenants = [name for name in await self._objects.folders() if is_id(name)]
        for tenant, swept in (await collector.sweep(tenants, census.mark)).items():
            tidied = (0, 0)
            if not state.dry_run:
                tidied = await self._tidier.tidy(
                    tenant, census, state.began_at - self._grace_seconds
                )
            told = msgspec.structs.replace(swept, receipts=tidied[0], uploads=tidied[1])
            await self._tenants.put(tenant, told)
        if state.dry_run:
            return state
        torn = await self._tidier.abort(state.began_at - self._grace_seconds)
        return msgspec.structs.replace(state, unfinished=torn)


async def _spared(key: str, removal: Awaitable[T], otherwise: T) -> T:
    """Return what a removal comes to. One that meets a damaged record leaves it as it is: it must
    not keep the others.
    """
    try:
        return await removal
    except msgspec.DecodeError as error:
        log.warning("record.unreadable", key=key, error=str(error))
        return otherwise
