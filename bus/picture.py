"""How things stand on the bus: for the observer and `adgenx top`. Pure; bus/look.py looks."""

from __future__ import annotations

import msgspec

from bus.survey import ConsumerState, StreamState
from contracts.governance import BreakerRecord, BreakerState, BudgetRecord, FlagRecord
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Stream

SILENT_SECONDS = 60.0
"""A worker announces itself every few seconds; after so long without a word something is wrong."""
FORGOTTEN_SECONDS = 300.0
"""A worker that has been silent for so long is taken for gone, if another one is there."""
GB = 1e9


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of one kind that wait or are worked on. `kind` is a capability (REQUESTS, with
    `campaign` for briefs), a provider (JOBS, DEAD) or empty. Seconds.
    """

    queue: str
    kind: str = ""
    depth: int = 0
    oldest_seconds: float = 0.0
    target_seconds: float = 0.0


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One model service, over all its workers. `heard_seconds` ago one of them announced itself;
    `in_flight` jobs are in their hands, of `workers` places.
    """

    name: str
    tier: str = ""
    capabilities: list[str] = []
    state: str = "gone"
    reason: str = ""
    enabled: bool = True
    breaker: str = BreakerState.CLOSED.value
    retry_at: float = 0.0
    workers: int = 0
    busy: int = 0
    resident: int = 0
    memory_bytes: float = 0.0
    target_seconds: float = 0.0
    heard_seconds: float = 0.0
    silent_workers: int = 0
    in_flight: int = 0


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars of a tenant's own budget (`scope` tenant), or of its campaigns' together."""

    tenant: str
    scope: str
    limit: float = 0.0
    spent: float = 0.0
    reserved: float = 0.0


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one look has found; `at` is Unix seconds."""

    at: float
    providers: list[Provider] = []
    queues: list[Queue] = []
    streams: list[StreamState] = []
    consumers: list[ConsumerState] = []
    stuck: dict[str, int] = {}
    budgets: list[Budget] = []
    campaigns_open: int = 0
    memory_available_bytes: int = 0
    disks: dict[str, float] = {}


def merged(
    announced: list[ServiceRecord],
    flags: dict[str, FlagRecord],
    breakers: dict[str, BreakerRecord],
    consuming: list[ConsumerState],
    *,
    now: float,
    off: frozenset[str],
) -> list[Provider]:
    """Return one entry for each model service, by name. Pure."""
    in_flight = {c.consumer: c.in_hand for c in consuming if c.stream == Stream.JOBS}
    workers: dict[str, list[ServiceRecord]] = {}
    for record in announced:
        workers.setdefault(record.manifest.name, []).append(record)
    found = []
    for name, records in sorted(workers.items()):
        flag, breaker = flags.get(name), breakers.get(name, BreakerRecord())
        found.append(
            msgspec.structs.replace(
                _one(name, records, now),
                enabled=flag.enabled if flag else name not in off,
                breaker=breaker.state.value,
                retry_at=breaker.retry_at,
                in_flight=in_flight.get(name, 0),
            )
        )
    return found


def _one(name: str, records: list[ServiceRecord], now: float) -> Provider:
    """Merge the workers of one service: those that are ready and heard of count."""
    newest = max(records, key=lambda r: r.announced_at)
    ready = [r for r in records if r.state is ServiceState.READY]
    heard = [r for r in ready if now - r.announced_at <= SILENT_SECONDS]
    silent = [r for r in ready if r not in heard]
    lost = [r for r in silent if now - r.announced_at <= FORGOTTEN_SECONDS]
    return Provider(
        name=name,
        tier=newest.manifest.tier.value,
        capabilities=[c.value for c in newest.manifest.capabilities],
        state="ready" if heard else "silent" if silent else "unavailable",
        reason="" if heard else newest.reason,
        workers=sum(r.workers for r in heard),
        busy=sum(r.busy for r in heard),
        resident=sum(r.resident for r in heard),
        memory_bytes=sum(r.memory_gb for r in heard if r.resident) * GB,
        target_seconds=newest.manifest.resources.target_seconds,
        heard_seconds=max(0.0, now - newest.announced_at),
        silent_workers=len(lost),
    )


def summed(budgets: dict[str, BudgetRecord]) -> list[Budget]:
    """Return the budgets that have a limit, the campaigns' summed up by tenant. Pure."""
    found: dict[tuple[str, str], Budget] = {}
    for key, record in sorted(budgets.items()):
        if record.limit is None or record.closed:
            continue
        tenant, _, campaign_id = key.partition(".")
        place = (tenant, "campaigns" if campaign_id else "tenant")
        before = found.get(place, Budget(tenant=tenant, scope=place[1]))
        found[place] = msgspec.structs.replace(
            before,
            limit=before.limit + record.limit,
            spent=before.spent + record.spent,
            reserved=before.reserved + sum(record.reserved.values()),
        )
    return list(found.values())
