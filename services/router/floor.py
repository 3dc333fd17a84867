"""The shallow end: which jobs are in JOBS, and which wait for a place there.

Kept in memory from what this process releases and sees ending, and put right by what JOBS really
holds (`sync`): after a restart, and where another router releases too. Being wrong for a moment
costs a job too many or too few in JOBS, never a job.

A job that `release` takes out of its queue is called: its place is kept until it enters, or until
CALLED_SECONDS have passed without a word of it, so that a call that got lost costs a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from contracts.jobs import JobRecord
from contracts.manifest import ServiceRecord
from services.router.admission import Admitted
from services.router.landscape import Load
from services.router.release import Capacity, Queue, Waiting, places, release
from services.router.waiting import Weight, equal_shares

CALLED_SECONDS = 5.0
"""How long a place is kept for a job that was called."""
NEWEST = 0.25
"""How much the newest run counts in what a service's runs take."""
PROBE_SECONDS = 60.0
"""A probe that has not come back after so long no longer holds back the next one."""


class Residence(NamedTuple):
    """Where a service's model lives: on which shared device, empty for none, and whether now."""

    device: str = ""
    resident: bool = True


class _Inside(NamedTuple):
    """A job in JOBS since when (monotonic); its tenant, empty if another router let it in."""

    since: float
    tenant: str


class _Service(msgspec.Struct):
    """One service's jobs: who is inside (by job id), called (by key, since when), or waits."""

    queue: Queue
    inside: dict[str, _Inside] = {}
    called: dict[str, tuple[float, Waiting]] = {}
    unheard: dict[str, None] = {}
    probes: dict[str, float] = {}

    def admit(self, key: str, job: JobRecord, now: float) -> None:
        """Let a job in."""
        before = self.inside.get(job.job_id)
        if before is not None and before.tenant:
            self.queue.left(before.tenant)
        self.inside[job.job_id] = _Inside(now, job.tenant)
        self.queue.entered(job.tenant)
        self.queue.drop(key)
        self.called.pop(key, None)
        self.unheard.pop(key, None)

    def dismiss(self, job_id: str) -> None:
        """Take note that a job is in JOBS no longer."""
        gone = self.inside.pop(job_id, None)
        if gone is not None and gone.tenant:
            self.queue.left(gone.tenant)

    def forget(self, key: str) -> None:
        """Keep no place for a job, neither in the queue nor as a called one."""
        self.queue.drop(key)
        self.called.pop(key, None)
        self.unheard.pop(key, None)
        self.probes.pop(key, None)


def _waiting(job: JobRecord, admitted: Admitted) -> Waiting:
    priority = admitted.request.priority
    return Waiting(admitted.key, priority, job.accepted_at, admitted.deadline_at, job.rank)


def _no_limit(_: str) -> int | None:
    return None


def _no_probe(_: str) -> str:
    return ""


def _no_device(_: str) -> Residence:
    return Residence()


class Floor:
    """Implements `advance.Room` for one process.

    `room(service)` is what its circuit breaker lets through: None for everything, 0 for nothing, 1
    for a probe; `probe(service)` is the id of the job that it has let through as one.
    `residence(service)` is the model manager's word, `weight(tenant)` how much a tenant counts.
    """

    def __init__(
        self,
        announced: Callable[[str], ServiceRecord | None],
        clock: Callable[[], float] = time.monotonic,
        *,
        now: Callable[[], float] = time.time,
        room: Callable[[str], int | None] = _no_limit,
        probe: Callable[[str], str] = _no_probe,
        residence: Callable[[str], Residence] = _no_device,
        weight: Weight = equal_shares,
    ) -> None:
        self._announced = announced
        self._clock = clock
        self._now = now
        self._room = room
        self._probe = probe
        self._residence = residence
        self._weight = weight
        self._took: dict[str, float] = {}
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
                floor.forget(key)
        self._asked.discard(key)

    def enter(self, service: str, job: JobRecord, admitted: Admitted, *, again: bool) -> bool:
        """Say whether the job may be published now; if not, it waits."""
        floor = self._floor(service)
        key = admitted.key
        self._asked.add(key)
        # A probe that was let through and not published, its router having died in between: whoever
        # else waits is waiting for it.
        probe = job.job_id == self._probe(service)
        if again or probe or job.job_id in floor.inside or key in floor.called:
            floor.admit(key, job, self._clock())
            return True
        floor.queue.put(_waiting(job, admitted))
        self._call(service)
        if key not in floor.called:
            return False
        floor.admit(key, job, self._clock())
        return True

    def hand_back(self, service: str, job: JobRecord, admitted: Admitted) -> None:
        """Let a job wait again that was let in, and could not be published for another reason."""
        self.left(service, admitted.key, job.job_id)
        self._floor(service).queue.put(_waiting(job, admitted))

    def left(self, service: str, key: str, job_id: str) -> None:
        """Take note that a job needs no place with this service any more."""
        floor = self._floor(service)
        floor.dismiss(job_id)
        floor.forget(key)

    def took(self, service: str, seconds: float) -> None:
        """Take note of how long a run of a service has taken; what is recent weighs more."""
        before = self._took.get(service, seconds)
        self._took[service] = before + (seconds - before) * NEWEST

    def rank(self, service: str, key: str, rank: int | None) -> None:
        """Give a waiting job the place that a person wants for it."""
        floor = self._floor(service)
        waiting = floor.queue.get(key)
        if waiting is not None:
            floor.queue.put(msgspec.structs.replace(waiting, rank=rank))

    def called(self, service: str) -> list[str]:
        """Return the keys of the waiting jobs that have a place now, each one once.

        A job of another service may be among them: one that stood back for this one's model.
        """
        self._call(service)
        keys: list[str] = []
        for name in self._neighbours(service):
            floor = self._services[name]
            keys += floor.unheard
            floor.unheard = {}
        return keys

    def waits(self, key: str, now: float) -> bool:
        """Say whether a job is waiting, and may still (`now` in Unix seconds)."""
        waiting = (floor.queue.get(key) for floor in self._services.values())
        return any(w is not None and not 0 < w.deadline_at < now for w in waiting)

    def load(self, service: str) -> Load:
        """Return how busy a service is."""
        seconds = self._took.get(service, 0.0)
        floor = self._services.get(service)
        if floor is None:
            return Load(seconds=seconds)
        waiting = len(floor.queue) + len(floor.called)
        return Load(waiting=waiting, inside=len(floor.inside), seconds=seconds)

    @property
    def crowded(self) -> list[str]:
        """Services for which somebody waits."""
        return [n for n, floor in self._services.items() if len(floor.queue) or floor.called]

    def wanted(self) -> list[str]:
        """Return the services for which somebody waits or is inside."""
        return [n for n, f in self._services.items() if f.inside or f.called or len(f.queue)]

    def sync(self, inside: Iterable[tuple[str, str]], asked_at: float) -> None:
        """Believe what JOBS held, as (service, job_id), when it was asked at `asked_at`.

        What this process has let in since then stays.
        """
        held = {name: dict[str, None]() for name in self._services}
        for service, job_id in inside:
            held.setdefault(service, {})[job_id] = None
        for service, job_ids in held.items():
            floor = self._floor(service)
            for job_id, entry in list(floor.inside.items()):
                if job_id not in job_ids and entry.since < asked_at:
                    floor.dismiss(job_id)
            for job_id in job_ids:
                floor.inside.setdefault(job_id, _Inside(asked_at, ""))
        self._recall()

    def _recall(self) -> None:
        """Let those who were called and never came wait again."""
        now = self._clock()
        for floor in self._services.values():
            for key, (since, waiting) in list(floor.called.items()):
                if now - since > CALLED_SECONDS:
                    floor.forget(key)
                    floor.queue.put(waiting)

    def _call(self, service: str) -> None:
        """Keep a place for whoever goes next."""
        neighbours = self._neighbours(service)
        if not any(len(self._services[name].queue) for name in neighbours):
            return
        capacity = {name: self._capacity(name) for name in neighbours}
        queued = {name: self._services[name].queue for name in neighbours}
        now = self._clock()
        for name, waiting in release(queued, capacity, self._now()):
            floor = self._services[name]
            floor.called[waiting.key] = (now, waiting)
            floor.unheard[waiting.key] = None
            if self._room(name) is not None:
                floor.probes[waiting.key] = now

    def _neighbours(self, service: str) -> list[str]:
        """Return the services that share a device with this one, itself included."""
        self._floor(service)
        device = self._residence(service).device
        if not device:
            return [service]
        return [name for name in self._services if self._residence(name).device == device]

    def _capacity(self, service: str) -> Capacity:
        floor = self._services[service]
        announced = self._announced(service)
        most = places(announced)
        free = most - len(floor.inside) - len(floor.called)
        let_through = self._room(service)
        if let_through is not None:
            since = self._clock() - PROBE_SECONDS
            probes = sum(at > since for at in floor.probes.values())
            free = min(free, let_through - probes)
        residence = self._residence(service)
        expected = announced.manifest.cost.expected_seconds if announced else 0.0
        return Capacity(
            free=free,
            places=most,
            seconds=self._took.get(service, expected),
            resident=residence.resident,
            device=residence.device,
        )

    def _floor(self, service: str) -> _Service:
        floor = self._services.get(service)
        if floor is None:
            floor = self._services[service] = _Service(Queue(self._weight))
        return floor
