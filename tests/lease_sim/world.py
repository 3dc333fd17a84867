"""The simulated device: a router, a worker for each service and the manager around its ledger.

The manager is the real ledger and policy; the worker does what bus/worker/lease.py does: it asks
before it loads and before it runs, says every few seconds that it is there, and ends its process
when told to. Asks and answers take no time; a job needs a moment from one step to the next.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple

import msgspec

from contracts.lease import DeviceRecord, Holds, LeaseAnswer, LeaseAsk, Wants, Word
from services.model_manager.ledger import Ledger, Room

from .trace import MODELS, Job, Model

STEP_SECONDS = 0.2
"""From a step's end until the next one is in a worker's hand: result, plan, route, release."""
RENEW_SECONDS = 5.0
RETRY_SECONDS = 2.0
TICK_SECONDS = 1.0
END_SECONDS = 0.3
DEPTH = 2
"""Jobs of one service in JOBS."""
REDELIVERY_SECONDS = 30.0
DOWN_SECONDS = 2.0
"""How long the manager is away when it starts anew."""
MOST_SECONDS = 1e6
ACTUAL = 0.9
"""How much of what its manifest says a model really takes."""


class Outcome(NamedTuple):
    """What a schedule came to. `waits` are the seconds from ready to begun, by job."""

    makespan: float
    loads: int
    waits: dict[int, float]


class Faults(NamedTuple):
    """When the manager ends and starts anew, and when which worker is killed."""

    restarts: Sequence[float] = ()
    kills: Sequence[tuple[float, str]] = ()


NO_FAULTS = Faults()


class World:
    """Runs one trace to its end under the manager. Every event checks what must never happen."""

    def __init__(
        self,
        jobs: Sequence[Job],
        models: dict[str, Model] = MODELS,
        *,
        budget_gb: float,
        slots: int = 1,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self.jobs = jobs
        self.models = models
        self.budget_gb = budget_gb
        self.slots = slots
        self.now = 0.0
        self.ledger: Ledger | None = Ledger("box", None, 0.0)
        self.stored: DeviceRecord | None = None
        self.loads = 0
        self.waits: dict[int, float] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._done: set[int] = set()
        self._ready_at: dict[int, float] = {}
        self._queues: dict[str, list[int]] = defaultdict(list)
        self._inside: dict[str, list[int]] = defaultdict(list)
        self._followers: dict[int, list[int]] = defaultdict(list)
        self._ended_at = 0.0
        self.workers = {name: Worker(self, name) for name in models}
        for number, job in enumerate(jobs):
            for before in job.after:
                self._followers[before].append(number)
            if not job.after:
                self.at(job.arrives, partial(self._ready, number))
        for moment in faults.restarts:
            self.at(moment, self._crash)
            self.at(moment + DOWN_SECONDS, self._restart)
        for moment, service in faults.kills:
            self.at(moment, self.workers[service].die)
        self.at(0.0, self._tick)

    def run(self) -> Outcome:
        """Return what it came to."""
        while len(self._done) < len(self.jobs):
            moment, _, call = heapq.heappop(self._events)
            self.now = moment
            assert self.now < MOST_SECONDS, "it does not end"
            call()
            self._check()
        return Outcome(self._ended_at, self.loads, self.waits)

    def at(self, moment: float, call: Callable[[], None]) -> None:
        """Call at a moment."""
        heapq.heappush(self._events, (moment, next(self._order), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after so long."""
        self.at(self.now + seconds, call)

    # What the router does.

    def _ready(self, number: int) -> None:
        job = self.jobs[number]
        self._ready_at[number] = self.now
        if job.service not in self.models:
            self.after(job.seconds, lambda: self.finish(number))
            return
        queue = self._queues[job.service]
        queue.append(number)
        queue.sort(key=lambda n: (-self.jobs[n].priority, self._ready_at[n], n))
        self._release(job.service)

    def _release(self, service: str) -> None:
        inside, queue = self._inside[service], self._queues[service]
        while queue and len(inside) < DEPTH:
            inside.append(queue.pop(0))
        self.workers[service].look()

    def next_of(self, service: str) -> int | None:
        """Return the job that a worker is given next."""
        return self._inside[service][0] if self._inside[service] else None

    def began(self, number: int) -> None:
        """Take note that a job runs."""
        self.waits[number] = self.now - self._ready_at[number]

    def finish(self, number: int) -> None:
        """A job is done: its followers may begin."""
        self._done.add(number)
        self._ended_at = self.now
        service = self.jobs[number].service
        if service in self.models:
            self._inside[service].remove(number)
            self.after(STEP_SECONDS, lambda: self._release(service))
        for follower in self._followers[number]:
            if all(b in self._done for b in self.jobs[follower].after):
                moment = max(self.now + STEP_SECONDS, self.jobs[follower].arrives)
                self.at(moment, partial(self._ready, follower))

    # What the manager does.

    def ask(self, ask: LeaseAsk) -> LeaseAnswer | None:
        """Return the manager's answer; None while it is away."""
        if self.ledger is None:
            return None
        self.ledger.hear(ask, self.now)
        self._decide()
        return self.ledger.answer(ask)

    def _decide(self) -> None:
        assert self.ledger is not None
        queued = {name: len(found) for name, found in self._inside.items()}
        free = self.budget_gb + 4.0 - sum(w.takes_gb for w in self.workers.values())
        self.ledger.surround(Room(budget_gb=self.budget_gb, free_gb=free, slots=self.slots), queued)
        before = self.ledger.charged_gb()
        for holder in self.ledger.decide(self.now):
            self._nudge(holder)
        after = self.ledger.charged_gb()
        assert after <= max(before, self.budget_gb) + 1e-6, "a grant went over the budget"
        self.stored = self.ledger.record(self.now)

    def _nudge(self, holder: str) -> None:
        for worker in self.workers.values():
            if worker.holder == holder:
                self.after(0.0, partial(worker.noticed, holder))

    def _tick(self) -> None:
        if self.ledger is not None:
            self.ledger.expire(self.now)
            self._decide()
        self.after(TICK_SECONDS, self._tick)

    def _crash(self) -> None:
        self.ledger = None

    def _restart(self) -> None:
        stored = msgspec.json.decode(msgspec.json.encode(self.stored), type=DeviceRecord | None)
        self.ledger = Ledger("box", stored, self.now)

    # What must never happen.

    def _check(self) -> None:
        taken = sum(w.takes_gb for w in self.workers.values())
        assert taken <= self.budget_gb + 1e-6, f"{taken} GB are taken at {self.now}"
        running = sum(w.holds is Holds.RUNNING for w in self.workers.values())
        assert running <= self.slots, f"{running} run at {self.now}"


class Worker:
    """One worker of one service: at most one process, at most one job in hand."""

    def __init__(self, world: World, service: str) -> None:
        self._world = world
        self._service = service
        self._model = world.models[service]
        self._life = 0
        self._number = 0
        self._job: int | None = None
        self._leaving = False
        self._useful = False
        self._ending_gb = 0.0
        self._dead = False
        self._renewal = 0
        self.holds = Holds.NOTHING

    @property
    def holder(self) -> str:
        """Name of its process to be."""
        return f"{self._service}-{self._life}"

    @property
    def takes_gb(self) -> float:
        """What its process takes on the device."""
        mine = self._model.memory_gb if self.holds is not Holds.NOTHING else 0.0
        return (mine + self._ending_gb) * ACTUAL

    def look(self) -> None:
        """Take a job if there is one."""
        if self._job is None and not self._dead:
            self._job = self._world.next_of(self._service)
            if self._job is not None:
                self.renew()

    def noticed(self, holder: str) -> None:
        """Hear that there is news for a holder."""
        if holder == self.holder:
            self.renew()

    def renew(self) -> None:
        """Say what is and what is wanted, and do what the answer says."""
        absent = self.holds is Holds.NOTHING
        if self._dead or self._ending_gb or (absent and self._job is None):
            return
        idle = self.holds in (Holds.NOTHING, Holds.LOADED) and self._job is not None
        wants = Wants.NOTHING
        if idle:
            wants = Wants.LOAD if self.holds is Holds.NOTHING else Wants.RUN
        answer = self._say(self.holds, wants)
        self._renewal += 1
        mark = self._renewal
        pause = RETRY_SECONDS if idle else RENEW_SECONDS
        self._world.after(pause, lambda: self.renew() if mark == self._renewal else None)
        if answer is None:
            return
        if answer.word is Word.LEAVE:
            self._leaving = True
            if self.holds is Holds.LOADED:
                self._end()
        elif answer.word is Word.GRANTED and wants is Wants.LOAD:
            self._load()
        elif answer.word is Word.GRANTED and wants is Wants.RUN:
            self._run()

    def die(self) -> None:
        """Be killed, with the process; another worker starts, the job is delivered again later."""
        self._life += 1
        self._number = 0
        self._renewal += 1
        self.holds, self._job, self._dead, self._leaving = Holds.NOTHING, None, True, False

        def born() -> None:
            self._dead = False
            self.look()

        self._world.after(REDELIVERY_SECONDS, born)

    def _say(self, holds: Holds, wants: Wants) -> LeaseAnswer | None:
        self._number += 1
        return self._world.ask(
            LeaseAsk(
                device="box",
                holder=self.holder,
                service=self._service,
                number=self._number,
                memory_gb=self._model.memory_gb,
                load_seconds=self._model.load_seconds,
                holds=holds,
                wants=wants,
                used_gb=self.takes_gb,
                peak_gb=self.takes_gb,
                priority=self._world.jobs[self._job].priority if self._job is not None else 0,
            )
        )

    def _load(self) -> None:
        self.holds, self._useful = Holds.LOADING, False
        self._world.loads += 1
        life = self._life

        def loaded() -> None:
            if life == self._life:
                self.holds = Holds.LOADED
                self.renew()

        self._world.after(self._model.load_seconds, loaded)

    def _run(self) -> None:
        number = self._job
        assert number is not None
        self.holds, self._useful = Holds.RUNNING, True
        self._world.began(number)
        life = self._life

        def done() -> None:
            if life != self._life:
                return
            self.holds, self._job = Holds.LOADED, None
            self._world.finish(number)
            if self._leaving:
                self._end()
            else:
                self.renew()

        self._world.after(self._world.jobs[number].seconds, done)

    def _end(self) -> None:
        """End the process; the lease is given back when its memory is."""
        assert self._useful or self._job is None, f"{self._service} was loaded for nothing"
        self.holds, self._leaving = Holds.NOTHING, False
        self._ending_gb = self._model.memory_gb
        life = self._life

        def gone() -> None:
            self._ending_gb = 0.0
            if life == self._life:
                self._say(Holds.NOTHING, Wants.NOTHING)
                self.look()
                self.renew()

        self._world.after(END_SECONDS, gone)
