"""A scheduler: coordinators, the router and faults, one small step at a time, by one seed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from coordinator_double import LOST, TENANT, MemoryWorld, Router, Stored
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from contracts import subjects
from contracts.errors import TransientError
from services.coordinator import reception
from services.coordinator.advance import advance
from services.coordinator.reception import Message

Client = Sequence[tuple[int, Callable[[], None]]]
AT = 1_790_000_000.0
SCHEDULES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
seeds = st.integers(0, 2**32 - 1)


class Coordinators:
    """Several coordinators' tasks under way at once, each driven by `send`."""

    def __init__(self, world: MemoryWorld, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.tasks: list[Coroutine[Any, Any, Any]] = []
        self.paused: list[tuple[int, Coroutine[Any, Any, Any]]] = []
        self.faults = 0

    def wake(self, tick: int) -> None:
        """Let those go on that have stood still for long enough: by now the world is another."""
        for until, task in list(self.paused):
            if tick >= until:
                self.paused.remove((until, task))
                self.tasks.append(task)

    def begin(self) -> None:
        """Start a task: a message that is there, or a look at an open campaign."""
        world = self.world
        briefs = [s for s in world.requests if s.split(".")[3] == subjects.CAMPAIGN]
        commands = [
            s for s in world.control if len(s.split(".")) == 5 or s.split(".")[3] == "rerun"
        ]
        choices = sorted([*briefs, *commands, *world.opened])
        if not choices:
            return
        chosen = self.rng.choice(choices)
        if chosen in briefs:
            stored = world.requests[chosen]
            self.tasks.append(
                reception.take_brief(world, Message(chosen, stored.body, stored.sequence, AT))
            )
        elif chosen in commands:
            self.tasks.append(self._command(chosen, world.control[chosen]))
        else:
            self.tasks.append(advance(world, chosen, lambda: AT))

    async def _command(self, subject: str, stored: Stored) -> None:
        ids = subjects.parse_control(subject)
        if ids.verb is subjects.Verb.RERUN:
            message = Message(subject, stored.body, stored.sequence, AT)
            await reception.take_rerun(self.world, ids, message)
        elif ids.verb is subjects.Verb.DELETE:
            await reception.take_delete(self.world, TENANT, ids.ids[0], AT)
        else:
            await reception.take_cancel(self.world, TENANT, ids.ids[0], AT)
        if self.world.control.get(subject) == stored:  # the ack: only this very message goes
            del self.world.control[subject]

    def step(self, faulty: float, tick: int) -> None:
        """Move one task on, or break it: kill it, lose its answer, or let it stand still."""
        task = self.rng.choice(self.tasks)
        try:
            if self.rng.random() < faulty:
                self.faults += 1
                match self.rng.choice(["kill", "pause", "lose"]):
                    case "kill":
                        self.tasks.remove(task)
                        task.close()
                    case "pause":
                        self.tasks.remove(task)
                        self.paused.append((tick + self.rng.randrange(10, 1500), task))
                    case _:
                        task.throw(LOST)
            else:
                task.send(None)
        except StopIteration:
            self.tasks.remove(task)
        except TransientError:
            self.tasks.remove(task)  # abandoned: it comes again


def run(
    world: MemoryWorld,
    router: Router,
    seed: int,
    *,
    faulty: float = 0.0,
    client: Client = (),
    steps: int = 60_000,
) -> Coordinators:
    """Run until nothing is left to do; faults stop half-way, so that the end must come.

    `client` are what the client does and at which tick: each once the one before is done, and the
    campaign has a record.
    """
    todo = list(client)
    rng = random.Random(seed)  # noqa: S311 - one seed is one schedule, no secret
    coordinators = Coordinators(world, rng)
    for tick in range(steps):
        calm = tick > 4000
        coordinators.wake(tick)
        if len(coordinators.tasks) < 2 and rng.random() < (0.2 if not calm else 0.8):
            coordinators.begin()
        if coordinators.tasks and rng.random() < 0.8:
            coordinators.step(0.0 if calm else faulty, tick)
        elif rng.random() < 0.6:
            router.step(rng)
        if todo and tick >= todo[0][0] and world.campaigns:
            todo.pop(0)[1]()
        busy = coordinators.tasks or coordinators.paused or todo
        if is_quiet(world) and not busy:
            return coordinators
    raise AssertionError(f"not quiet after {steps} steps")


def is_quiet(world: MemoryWorld) -> bool:
    return not (world.opened or world.requests or world.control)


def drive(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine to its end without faults."""
    with contextlib.suppress(StopIteration):
        while True:
            coroutine.send(None)


def drive_until(coroutine: Coroutine[Any, Any, Any], there: Callable[[], bool]) -> None:
    """Run a coroutine until something is so, and leave it standing there."""
    while not there():
        coroutine.send(None)


def serve(world: MemoryWorld, router: Router, *, commands_only: bool = False) -> None:
    """Let everything that waits be done by an undisturbed coordinator and router."""
    rng = random.Random(0)  # noqa: S311 - one seed is one schedule, no secret
    coordinators = Coordinators(world, rng)
    for _ in range(5000):
        coordinators.begin()
        while coordinators.tasks:
            coordinators.step(0.0, 0)
        if not commands_only:
            while router.step(rng):
                pass
        if is_quiet(world):
            return
        if commands_only and not world.control:
            return
    raise AssertionError("it does not come to rest")
