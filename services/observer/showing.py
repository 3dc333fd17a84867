"""From a picture to metrics: which value each gauge takes. Pure, but for `show`."""

from __future__ import annotations

from collections.abc import Mapping

from bus import metrics
from bus.metric import Counter, Gauge
from bus.picture import Picture
from bus.spending import Spending
from contracts.governance import BreakerState
from services.observer.tally import MOST_TENANTS, OTHER

Table = Mapping[tuple[str, ...], float]
"""Label values -> value."""


def show(picture: Picture, spending: Spending) -> None:
    """Show what was seen; what is not in the picture any more vanishes."""
    for metric, table in tables(picture, spending).items():
        metric.replace(table)


def tables(picture: Picture, spending: Spending) -> dict[Counter | Gauge, Table]:
    """Return every value that the picture gives."""
    today = spending.today(picture.at)
    paid = {p.name for p in picture.providers} | spending.total.keys()
    return (
        _providers(picture)
        | _queues(picture)
        | _streams(picture)
        | _budgets(picture)
        | {
            # Every provider's begins at 0: Prometheus sees no increase in a first value.
            metrics.LEDGER_COST: {(p,): spending.total.get(p, 0.0) for p in paid},
            metrics.LEDGER_TODAY: {(p,): today.get(p, 0.0) for p in paid},
            metrics.CAMPAIGNS_OPEN: {(): picture.campaigns_open},
            metrics.MEMORY_AVAILABLE: {(): picture.memory_available_bytes},
            metrics.DISK_USED: {(folder,): ratio for folder, ratio in picture.disks.items()},
            metrics.OBSERVED: {(): picture.at},
        }
    )


def _providers(picture: Picture) -> dict[Counter | Gauge, Table]:
    found = picture.providers
    return {
        metrics.JOBS_IN_FLIGHT: {(p.name,): p.in_flight for p in found},
        metrics.BREAKER: {
            (p.name, state.value): float(p.breaker == state)
            for p in found
            for state in BreakerState
        },
        metrics.ENABLED: {(p.name,): float(p.enabled) for p in found},
        metrics.READY_WORKERS: {(p.name,): p.workers for p in found},
        metrics.BUSY_WORKERS: {(p.name,): p.busy for p in found},
        metrics.RESIDENT: {(p.name,): p.resident for p in found},
        metrics.RESIDENT_MEMORY: {(p.name,): p.memory_bytes for p in found},
        metrics.TARGET_SECONDS: {(p.name,): p.target_seconds for p in found},
        metrics.HEARTBEAT_AGE: {
            (p.name,): p.heard_seconds for p in found if p.state != "unavailable"
        },
        metrics.SILENT_WORKERS: {(p.name,): p.silent_workers for p in found},
    }


def _queues(picture: Picture) -> dict[Counter | Gauge, Table]:
    found = picture.queues
    return {
        metrics.QUEUE_DEPTH: {(q.queue, q.kind): q.depth for q in found},
        metrics.QUEUE_OLDEST: {(q.queue, q.kind): q.oldest_seconds for q in found},
        metrics.QUEUE_TARGET: {(q.queue, q.kind): q.target_seconds for q in found},
        metrics.STUCK: {(stream,): count for stream, count in picture.stuck.items()},
    }


def _streams(picture: Picture) -> dict[Counter | Gauge, Table]:
    found, durables = picture.streams, picture.consumers
    return {
        metrics.STREAM_MESSAGES: {(s.stream,): s.messages for s in found},
        metrics.STREAM_BYTES: {(s.stream,): s.size_bytes for s in found},
        metrics.STREAM_LIMIT: {(s.stream,): s.limit_bytes for s in found if s.limit_bytes},
        metrics.CONSUMER_PENDING: {(c.stream, c.consumer): c.pending for c in durables},
        metrics.CONSUMER_IN_HAND: {(c.stream, c.consumer): c.in_hand for c in durables},
        metrics.CONSUMER_DELIVERED: {(c.stream, c.consumer): c.delivered for c in durables},
    }


def _budgets(picture: Picture) -> dict[Counter | Gauge, Table]:
    """Show the largest budgets by name and the others together: tenants are without number."""
    ranked = sorted(picture.budgets, key=lambda b: (-b.limit, b.tenant))
    named = {b.tenant for b in ranked[:MOST_TENANTS]}
    sums: dict[Counter | Gauge, dict[tuple[str, ...], float]] = {
        metrics.BUDGET_LIMIT: {},
        metrics.BUDGET_SPENT: {},
        metrics.BUDGET_RESERVED: {},
    }
    for budget in ranked:
        place = (budget.tenant if budget.tenant in named else OTHER, budget.scope)
        amounts = (budget.limit, budget.spent, budget.reserved)
        for table, amount in zip(sums.values(), amounts, strict=True):
            table[place] = table.get(place, 0.0) + amount
    return dict(sums)
