"""The shallow end: which jobs are in JOBS, and which wait for a place there.

Kept in memory from what this process releases and sees ending, and put right by what JOBS really
holds (`sync`): after a restart, and where another router releases too. Being wrong for a moment
costs a job too many or too few in JOBS, never a job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from contracts.jobs import JobRecord
from contracts.manifest import ServiceRecord
from services.router.admission import Admitted
from services.router.release import Waiting, capacity, release


class _Service(msgspec.Struct):
    """One service's jobs: since when each is inside (monotonic), and who waits."""

    inside: dict[str, float] = {}
    waiting: dict[str, Waiting] = {}


class Floor:
    """Implements `advance.Room` for one process."""

    def __init__(
        self,
        announced: Callable[[str], ServiceRecord | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._announced = announced
        self._clock = clock
        self._services: dict[str, _Service] = {}
        self._asked: set[str] = set()

    def begin(self, key: str) -> None:
        """Take note that a job is about to be advanced."""
        self._asked.discard(key)

    def settle(self, key: str) -> None:
        """Forget a waiting job that did not ask for a place when it was advanced.

        Another router has released or ended it: without this it would be called for ever.
        """
        if key not in self._asked:
            for floor in self._services.values():
                floor.waiting.pop(key, None)
        self._asked.discard(key)

    def enter(self, service: str, job: JobRecord, admitted: Admitted, *, again: bool) -> bool:
        """Say whether the job may be published now; if not, it waits."""
        floor = self._floor(service)
        key = admitted.key
        self._asked.add(key)
        if again or job.job_id in floor.inside:
            floor.inside[job.job_id] = self._clock()
            floor.waiting.pop(key, None)
            return True
        floor.waiting[key] = Waiting(
            key, admitted.request.priority, job.accepted_at, admitted.deadline_at
        )
        if key not in self.called(service):
            return False
        del floor.waiting[key]
        floor.inside[job.job_id] = self._clock()
        return True

    def left(self, service: str, key: str, job_id: str) -> None:
        """Take note that a job needs no place with this service any more."""
        floor = self._floor(service)
        floor.inside.pop(job_id, None)
        floor.waiting.pop(key, None)

    def called(self, service: str) -> list[str]:
        """Return the keys of the waiting jobs for which there is a place now."""
        floor = self._floor(service)
        if not floor.waiting:
            return []
        free = capacity(self._announced(service)) - len(floor.inside)
        return release(floor.waiting.values(), free)

    def waits(self, key: str, now: float) -> bool:
        """Say whether a job is waiting, and may still (`now` in Unix seconds)."""
        waiting = (floor.waiting.get(key) for floor in self._services.values())
        return any(w is not None and not 0 < w.deadline_at < now for w in waiting)

    @property
    def crowded(self) -> list[str]:
        """Services for which somebody waits."""
        return [name for name, floor in self._services.items() if floor.waiting]

    def sync(self, inside: Iterable[tuple[str, str]], asked_at: float) -> None:
        """Believe what JOBS held, as (service, job_id), when it was asked at `asked_at`.

        What this process has let in since then stays.
        """
        for floor in self._services.values():
            for job_id in [j for j, since in floor.inside.items() if since < asked_at]:
                del floor.inside[job_id]
        for service, job_id in inside:
            self._floor(service).inside.setdefault(job_id, asked_at)

    def _floor(self, service: str) -> _Service:
        return self._services.setdefault(service, _Service())
