"""What is due next: pure bookkeeping of pending deliveries, bounded in all and for each receiver.

A receiver that hangs keeps a few of the sender's hands busy and never all of them.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque

IN_FLIGHT = 32
PER_HOST = 4


class Agenda:
    """Deliveries by key, each with a time (Unix seconds) and the host that it goes to."""

    def __init__(self, in_flight: int = IN_FLIGHT, per_host: int = PER_HOST) -> None:
        self._in_flight = in_flight
        self._per_host = per_host
        self._wanted: dict[str, tuple[float, str]] = {}
        self._timed: list[tuple[float, str]] = []
        self._due: dict[str, deque[str]] = {}
        self._queued: set[str] = set()
        self._busy: dict[str, str] = {}
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._wanted) + len(self._busy)

    def put(self, key: str, at: float, host: str) -> None:
        """Plan a delivery, or plan it anew; one that is under way plans itself when it ends."""
        if key in self._busy or self._wanted.get(key) == (at, host):
            return
        self._wanted[key] = (at, host)
        if key not in self._queued:
            heapq.heappush(self._timed, (at, key))

    def take(self, now: float) -> list[str]:
        """Return the keys to begin with now; each is under way until `done`."""
        self._fall_due(now)
        taken = []
        for host in list(self._due):
            keys = self._due[host]
            while keys and self._room(host):
                taken.append(self._begin(keys.popleft(), host))
            if keys:
                self._due[host] = self._due.pop(host)  # the others come first next time
            else:
                del self._due[host]
        return taken

    def done(self, key: str) -> None:
        """Say that a delivery is no longer under way."""
        host = self._busy.pop(key)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def next_at(self) -> float | None:
        """Return when something falls due next; None if nothing is planned for later."""
        return self._timed[0][0] if self._timed else None

    def _fall_due(self, now: float) -> None:
        while self._timed and self._timed[0][0] <= now:
            at, key = heapq.heappop(self._timed)
            planned = self._wanted.get(key)
            if planned is None or planned[0] != at or key in self._queued:
                continue  # it was planned anew since
            self._queued.add(key)
            self._due.setdefault(planned[1], deque()).append(key)

    def _room(self, host: str) -> bool:
        return len(self._busy) < self._in_flight and self._hosts[host] < self._per_host

    def _begin(self, key: str, host: str) -> str:
        self._queued.discard(key)
        del self._wanted[key]
        self._busy[key] = host
        self._hosts[host] += 1
        return key
