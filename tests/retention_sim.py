"""A store, its records and their users in memory, one small step at a time by one seed.

The sweeper is the real one. Around it workers store, hits take over, uploads come, deletions take
names away, readers read; any of them may stand still or die at every call, and a delete may arrive
late. The one assumption is the grace's own: whoever has seen an object names it within half of it,
and a delete that is on its way arrives within a quarter.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from datetime import UTC, datetime
from typing import Any

from bus.s3 import Stat
from bus.trash import Objects, read_through
from contracts.artifacts import artifact_key, parse_trash
from contracts.errors import ArtifactMissingError, UnknownOutcomeError
from services.retention.collect import Collector, Mark, Rules
from services.retention.names import Names

TENANT = "acme"
GRACE = 400.0
START = 1_790_000_000.0
PAGE = 2
BUSY = ["worker", "worker", "hit", "hit", "deleter", "deleter", "deleter", "reader", "sweeper"]
LONELY = ["worker", "deleter", "sweeper", "sweeper"]
"""Nobody reads, so that nobody but the sweeper brings anything back."""

Read = Callable[[Objects, str, Callable[[], Awaitable[None]]], Awaitable[None]]


class Stop(Awaitable[None]):
    """A point at which a coroutine hands control to the scheduler."""

    def __await__(self) -> Generator[str, None, None]:
        yield "stop"


class UnreadableError(AssertionError):
    """A named object could not be read."""


class MemoryObjects:
    """A bucket: when each key was last written, and deletes that are still on their way."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.keys: dict[str, float] = {}
        self.late: list[tuple[float, str]] = []

    async def put(self, key: str) -> bool:
        """Write unless it is there."""
        await Stop()
        fresh = key not in self.keys
        if fresh:
            self.keys[key] = self._world.now
        await Stop()
        return fresh

    async def stat(self, key: str) -> Stat | None:
        await Stop()
        found = self._stat(key) if key in self.keys else None
        await Stop()
        return found

    async def copy(self, source: str, target: str) -> bool:
        await Stop()
        there = source in self.keys
        if there:
            self.keys[target] = self._world.now
        await Stop()
        return there

    async def remove(self, key: str) -> None:
        # No stop before the effect: how long a delete may be on its way is what `late` says.
        if self._world.rng.random() < self._world.lateness:
            self.late.append((self._world.now + self._world.rng.random() * GRACE / 4, key))
            raise UnknownOutcomeError("the answer was lost")
        self.keys.pop(key, None)
        await Stop()

    async def pages(self, prefix: str) -> AsyncIterator[list[Stat]]:
        last = ""
        while True:
            await Stop()
            after = sorted(k for k in self.keys if k.startswith(prefix) and k > last)[:PAGE]
            page = [self._stat(k) for k in after]
            await Stop()
            if page:
                yield page
            if len(page) < PAGE:
                return
            last = page[-1].key

    def arrive(self) -> None:
        """Let the deletes that were on their way arrive."""
        for due, key in [entry for entry in self.late if entry[0] <= self._world.now]:
            self.late.remove((due, key))
            self.keys.pop(key, None)

    def _stat(self, key: str) -> Stat:
        return Stat(key, 1, "", datetime.fromtimestamp(self.keys[key], UTC))


class World:
    """Everything there is; `records` hold the name of one artifact each, under a sequence."""

    def __init__(self, seed: int, *, lateness: float = 0.1) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - one seed is one schedule, no secret
        self.now = START
        self.lateness = lateness
        self.objects = MemoryObjects(self)
        self.records: dict[int, str] = {}
        self.count = 0
        self.unnamed_at: dict[str, float] = {}
        self.reads = 0
        self.rescues = 0

    @property
    def named(self) -> set[str]:
        return set(self.records.values())

    def name(self, key: str, seen_at: float) -> None:
        """Write a record, unless it took too long: that is what the grace is for."""
        if self.now - seen_at <= GRACE / 2:
            self.count += 1
            self.records[self.count] = key

    async def mark(self) -> Mark:
        """Walk the records by sequence, as the server's direct get does."""
        began_at, names, at = self.now, Names(), 0
        while True:
            await Stop()
            at = min((s for s in self.records if s > at), default=0)
            if not at:
                return Mark(names, began_at)
            names.add(self.records[at])

    async def worker(self, key: str) -> None:
        """Store an output, and commit it a while later; an upload does the same."""
        await Stop()
        seen_at = self.now
        await self.objects.put(key)
        await Stop()
        self.name(key, seen_at)

    async def hit(self, key: str) -> None:
        """Take over what another record names, if the object is there."""
        await Stop()
        if key not in self.named:
            return
        await Stop()
        seen_at = self.now
        try:
            await read_through(self.objects, key, lambda: self._look(key))
        except ArtifactMissingError:
            return  # a miss
        await Stop()
        self.name(key, seen_at)

    async def reader(self, key: str, read: Read = read_through) -> None:
        """Read what is named; if it is named all the while, it must be there."""
        began_at, was_there = self.now, key in self.named
        try:
            await read(self.objects, key, lambda: self._look(key))
        except ArtifactMissingError:
            still = key in self.named and self.unnamed_at.get(key, 0.0) < began_at
            if was_there and still:
                raise UnreadableError(key) from None
        self.reads += 1

    async def deleter(self) -> None:
        """Delete a record."""
        await Stop()
        if self.records:
            gone = self.rng.choice(sorted(self.records))
            key = self.records.pop(gone)
            if key not in self.named:
                self.unnamed_at[key] = self.now

    async def sweeper(self, kind: type[Collector], rules: Rules) -> None:
        """Sweep once, with the real code."""

        async def nothing() -> None:
            await Stop()

        collector = kind(self.objects, self.mark, nothing, nothing, lambda: self.now, rules)
        collector.token = lambda: f"{self.rng.randrange(16**8):08x}"
        await collector.sweep([TENANT], await self.mark())

    async def _look(self, key: str) -> None:
        await Stop()
        if key not in self.objects.keys:
            raise ArtifactMissingError(key)
        await Stop()

    def check(self) -> None:
        """Whatever is named is in its place or in the trash."""
        kept = {
            copy.original for k in self.objects.keys if (copy := parse_trash(k)) is not None
        } | set(self.objects.keys)
        lost = self.named - kept
        if lost:
            raise UnreadableError(", ".join(sorted(lost)))


class Schedule:
    """Drives everybody by hand, so that one seed is one schedule."""

    def __init__(
        self,
        seed: int,
        *,
        kind: type[Collector] = Collector,
        read: Read = read_through,
        grace: float = GRACE,
    ) -> None:
        self.world = World(seed)
        self.rng = self.world.rng
        self.kind = kind
        self.read = read
        self.rules = Rules(grace)
        self.keys = [artifact_key(TENANT, hashlib.sha256(bytes([n])).hexdigest()) for n in range(5)]
        self.mix = self.rng.choice([BUSY, LONELY])
        self.tasks: list[Coroutine[Any, Any, None]] = []
        self.paused: list[tuple[float, Coroutine[Any, Any, None]]] = []

    def run(self, steps: int = 6000) -> World:
        """Let everybody work, then let the sweepers finish; return the world as it ends."""
        for _ in range(steps):
            self._tick(1.0)
            if len(self.tasks) < 4 and self.rng.random() < 0.25:
                self.tasks.append(self._begin())
            if self.tasks:
                self._step(faulty=0.03)
        while self.tasks or self.paused:
            self._tick(1.0)
            if self.tasks:
                self._step(faulty=0.0)
        self._finish()
        return self.world

    def _finish(self) -> None:
        """Sweep without faults until nothing that is unnamed can be left."""
        self.world.lateness = 0.0
        for _ in range(4):
            self._tick(GRACE + 1)
            self.tasks.append(self.world.sweeper(self.kind, self.rules))
            while self.tasks:
                self._tick(0.01)
                self._step(faulty=0.0)

    def _tick(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.objects.arrive()
        for until, task in list(self.paused):
            if until <= self.world.now:
                self.paused.remove((until, task))
                self.tasks.append(task)

    def _begin(self) -> Coroutine[Any, Any, None]:
        key = self.rng.choice(self.keys)
        match self.rng.choice(self.mix):
            case "worker":
                return self.world.worker(key)
            case "hit":
                return self.world.hit(key)
            case "deleter":
                return self.world.deleter()
            case "reader":
                return self.world.reader(key, self.read)
            case _:
                return self.world.sweeper(self.kind, self.rules)

    def _step(self, *, faulty: float) -> None:
        """Move one of them on, or let it stand still, or kill it."""
        task = self.rng.choice(self.tasks)
        if self.rng.random() < faulty:
            self.tasks.remove(task)
            if self.rng.random() < 0.3:
                task.close()
            else:
                until = self.world.now + self.rng.random() * 3 * GRACE
                self.paused.append((until, task))
            return
        try:
            task.send(None)
        except (StopIteration, UnknownOutcomeError):
            self.tasks.remove(task)
        self.world.check()
