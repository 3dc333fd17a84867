"""The jobs that wait for one service, ordered so that the next one costs O(log n). No IO, no clock.

Three kinds of heaps, and a table of who is live: what is dropped or ranked anew leaves its entry
behind, which is recognised and thrown away when it comes to the top. See release.py for the rules.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

import msgspec

OVERTAKES = 4
"""Each so many releases that pass it, a priority that waits counts as one higher."""
URGENT = 10
"""Above every priority: jobs whose deadline is near and can still be met."""
MOST_PASSED = (URGENT + 1) * (OVERTAKES + 1)
"""Releases of the same tenant and service that can go past the oldest job of any one priority."""
_SLACK = 64
"""Dead entries that a heap may always hold."""

Entry = tuple[float, str]
Weight = Callable[[str], float]


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A job that could run. `priority` 0 (batch) to 9 (interactive); `since` and `deadline_at` in
    Unix seconds, 0 for no deadline; `rank` is the place that a person gave it.
    """

    key: str
    priority: int
    since: float
    deadline_at: float = 0.0
    rank: int | None = None

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.key.partition(".")[0]


class Rush(NamedTuple):
    """When a deadline is near. `seconds` is what one job takes: one that has less left is hopeless;
    `within` is what may pass until the last of all that wait is done, if nothing hurries.
    """

    seconds: float = 0.0
    within: float = 0.0


def equal_shares(_: str) -> float:
    """Give every tenant the same weight."""
    return 1.0


class _Tenant:
    """What one tenant has waiting, by priority, and when its turn is."""

    __slots__ = ("counts", "credit", "deadlines", "due", "heaps", "inside", "passed", "turn")

    def __init__(self, credit: float) -> None:
        self.heaps: dict[int, list[Entry]] = {}
        self.counts: dict[int, int] = {}
        self.passed: dict[int, int] = {}
        self.deadlines: list[Entry] = []
        self.inside = 0
        self.credit = credit
        self.due = 0
        self.turn = 0


class Queue:
    """Who waits for one service, and how many jobs each tenant has inside it.

    `weight(tenant)` is at least 1: how many jobs it may have inside, or take in a row, for each one
    of a tenant of weight 1. `held_since` belongs to release.py.
    """

    def __init__(self, weight: Weight = equal_shares) -> None:
        self._weight = weight
        self._live: dict[str, Waiting] = {}
        self._ranked: list[tuple[int, float, str]] = []
        self._tenants: dict[str, _Tenant] = {}
        self._turns: list[tuple[float, int, str, int]] = []
        self._released = 0
        self._turn = 0
        self.held_since: float | None = None

    def __len__(self) -> int:
        return len(self._live)

    def get(self, key: str) -> Waiting | None:
        """Return a waiting job, or None."""
        return self._live.get(key)

    def put(self, job: Waiting) -> None:
        """Let a job wait; one that waits already takes the new one's place."""
        if self._live.get(job.key) == job:
            return
        self.drop(job.key)
        self._live[job.key] = job
        if job.rank is not None:
            heapq.heappush(self._ranked, (job.rank, job.since, job.key))
            return
        tenant = self._tenant(job.tenant)
        count = tenant.counts.get(job.priority, 0)
        heap = tenant.heaps.setdefault(job.priority, [])
        if len(heap) > 2 * count + _SLACK:
            heap[:] = [e for e in set(heap) if self._stands(e, job.priority) and e[1] != job.key]
            heapq.heapify(heap)
        heapq.heappush(heap, (job.since, job.key))
        if job.deadline_at:
            if len(tenant.deadlines) > 2 * sum(tenant.counts.values()) + _SLACK:
                tenant.deadlines = [e for e in set(tenant.deadlines) if e[1] in self._live]
                heapq.heapify(tenant.deadlines)
            heapq.heappush(tenant.deadlines, (job.deadline_at, job.key))
        if not tenant.counts:
            tenant.due = self._released
        tenant.counts[job.priority] = count + 1
        self._line_up(job.tenant, tenant)

    def drop(self, key: str) -> Waiting | None:
        """Let a job wait no longer; return it if it did."""
        job = self._live.pop(key, None)
        if job is None or job.rank is not None:
            return job
        tenant = self._tenants[job.tenant]
        left = tenant.counts[job.priority] - 1
        if left:
            tenant.counts[job.priority] = left
        else:
            for table in (tenant.counts, tenant.heaps, tenant.passed):
                table.pop(job.priority, None)
        if not tenant.counts:
            tenant.deadlines.clear()
        self._forget_if_idle(job.tenant, tenant)
        return job

    def entered(self, tenant: str) -> None:
        """Take note that a job of a tenant has gone inside."""
        found = self._tenant(tenant)
        found.inside += 1
        self._line_up(tenant, found)

    def left(self, tenant: str) -> None:
        """Take note that a job of a tenant is inside no longer."""
        found = self._tenants.get(tenant)
        if found is None:
            return
        found.inside = max(0, found.inside - 1)
        self._line_up(tenant, found)
        self._forget_if_idle(tenant, found)

    def pressing(self, now: float, rush: Rush) -> bool:
        """Say whether somebody waits whom a person has ranked, or whose deadline is near."""
        if self._first_ranked() is not None:
            return True
        return any(self._urgent(t, now, rush) is not None for t in self._tenants.values())

    def take(self, now: float, rush: Rush = Rush()) -> Waiting | None:  # noqa: B008 - a constant tuple
        """Take the job out that goes next; None if nobody waits."""
        ranked = self._first_ranked()
        if ranked is not None:
            heapq.heappop(self._ranked)
            return self.drop(ranked)
        name = self._next_tenant()
        if name is None:
            return None
        tenant = self._tenants[name]
        key = self._pick(tenant, now, rush)
        self._released += 1
        tenant.credit -= 1
        if tenant.credit < 1:
            tenant.credit += self._weight(name)
            tenant.due = self._released
        job = self.drop(key)
        self._line_up(name, tenant)
        return job

    def _pick(self, tenant: _Tenant, now: float, rush: Rush) -> str:
        """Return the key of the tenant's next job, and let all that it passes age."""
        urgent = self._urgent(tenant, now, rush)
        levels = list(tenant.counts)
        if urgent is None:
            tenant.passed.pop(URGENT, None)
        else:
            levels.append(URGENT)

        def standing(level: int) -> tuple[int, int]:
            passed = tenant.passed.get(level, 0)
            return level + passed // OVERTAKES, passed

        chosen = max(levels, key=standing)
        for level in levels:
            tenant.passed[level] = 0 if level == chosen else tenant.passed.get(level, 0) + 1
        if chosen == URGENT and urgent is not None:
            heapq.heappop(tenant.deadlines)
            return urgent
        heap = tenant.heaps[chosen]
        while not self._stands(heap[0], chosen):
            heapq.heappop(heap)
        return heapq.heappop(heap)[1]

    def _urgent(self, tenant: _Tenant, now: float, rush: Rush) -> str | None:
        """Return whose deadline is the nearest, if it is near; forget the hopeless ones."""
        heap = tenant.deadlines
        while heap:
            at, key = heap[0]
            job = self._live.get(key)
            live = job is not None and job.rank is None and job.deadline_at == at
            if live and at - now >= rush.seconds:
                return key if at - now < rush.within else None
            heapq.heappop(heap)
        return None

    def _stands(self, entry: Entry, priority: int) -> bool:
        job = self._live.get(entry[1])
        return (
            job is not None
            and job.rank is None
            and job.priority == priority
            and job.since == entry[0]
        )

    def _first_ranked(self) -> str | None:
        while self._ranked:
            rank, since, key = self._ranked[0]
            job = self._live.get(key)
            if job is not None and (job.rank, job.since) == (rank, since):
                return key
            heapq.heappop(self._ranked)
        return None

    def _next_tenant(self) -> str | None:
        while self._turns:
            *_, name, turn = self._turns[0]
            tenant = self._tenants.get(name)
            if tenant is not None and tenant.counts and tenant.turn == turn:
                return name
            heapq.heappop(self._turns)
        return None

    def _tenant(self, name: str) -> _Tenant:
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = _Tenant(self._weight(name))
        return found

    def _line_up(self, name: str, tenant: _Tenant) -> None:
        """Say anew when a tenant's turn is; what was said before no longer counts."""
        if not tenant.counts:
            return
        if len(self._turns) > 2 * len(self._tenants) + _SLACK:
            self._turns = [e for e in self._turns if self._is_turn(e[2], e[3])]
            heapq.heapify(self._turns)
        self._turn += 1
        tenant.turn = self._turn
        share = tenant.inside / self._weight(name)
        heapq.heappush(self._turns, (share, tenant.due, name, tenant.turn))

    def _is_turn(self, name: str, turn: int) -> bool:
        tenant = self._tenants.get(name)
        return tenant is not None and tenant.turn == turn

    def _forget_if_idle(self, name: str, tenant: _Tenant) -> None:
        if not tenant.counts and not tenant.inside:
            self._tenants.pop(name, None)
