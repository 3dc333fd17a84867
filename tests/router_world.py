"""The router's outside world in memory, where every effect is a point at which things go wrong.

An effect is a closure that a coroutine yields to the scheduler. The scheduler decides whose effect
comes next, and whether it happens, happens unheard, happens later, or ends the process that wanted
it. The semantics are those of bus.records and bus.gate; tests/router_stores.py holds both to them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from random import Random
from typing import Generic, TypeVar

import msgspec

from bus.records import Conflict, Record
from contracts.artifacts import ArtifactRef
from contracts.errors import UnknownOutcomeError
from contracts.governance import BreakerRecord, BudgetRecord
from contracts.jobs import CacheClaim, JobRecord, Run
from contracts.ledger import Charge
from services.router.admission import Message
from services.router.facts import Seen
from services.router.stores import Past, job_key_of
from services.router.telling import Word

R = TypeVar("R")
Effect = Callable[[], object]


class Point:
    """Awaiting it hands an effect to the scheduler and returns what the effect did."""

    def __init__(self, effect: Effect, *, writes: bool) -> None:
        self.effect = effect
        self.writes = writes

    def __await__(self) -> Generator[Point, object, object]:
        return (yield self)


class MemoryTable(Generic[R]):
    """Records with one revision counter, as a stream gives them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rows: dict[str, Seen[R]] = {}

    async def get(self, key: str) -> Seen[R] | None:
        return await Point(lambda: self.rows.get(key), writes=False)  # type: ignore[return-value]  # the effect's own type

    async def create(self, key: str, value: R) -> int | None:
        return await Point(lambda: self._write(key, value, 0), writes=True)  # type: ignore[return-value]  # the same

    async def update(self, key: str, value: R, revision: int) -> int | None:
        return await Point(lambda: self._write(key, value, revision), writes=True)  # type: ignore[return-value]  # the same

    async def delete(self, key: str, revision: int) -> bool:
        return await Point(lambda: self._remove(key, revision), writes=True)  # type: ignore[return-value]  # the same

    async def each(self, keys: Sequence[str]) -> dict[str, Seen[R]]:
        found = {key: await self.get(key) for key in keys}
        return {key: seen for key, seen in found.items() if seen is not None}

    async def under(self) -> dict[str, Seen[R]]:
        return await Point(lambda: dict(self.rows), writes=False)  # type: ignore[return-value]  # the same

    def put(self, key: str, value: R) -> None:
        """Write whatever is there, at once."""
        found = self.rows.get(key)
        self._write(key, value, found.revision if found else 0)

    def _write(self, key: str, value: R, expected: int) -> int | None:
        found = self.rows.get(key)
        if (found.revision if found else 0) != expected:
            return None
        revision = self._world.next()
        self.rows[key] = Seen(value, revision)
        self._world.watch(key, value)
        return revision

    def _remove(self, key: str, revision: int) -> bool:
        found = self.rows.get(key)
        if found is None or found.revision != revision:
            return False
        del self.rows[key]
        self._world.next()
        return True


class Shelf(Generic[R]):
    """A table as bus.records has it: what `Board` stands on."""

    def __init__(self, table: MemoryTable[R]) -> None:
        self._table = table

    async def get(self, key: str) -> Record[R] | None:
        found = await self._table.get(key)
        return Record(found.value, found.revision, key) if found else None

    async def create(self, key: str, value: R) -> int | Conflict:
        return await self._table.create(key, value) or Conflict(1)

    async def update(self, key: str, value: R, revision: int) -> int | Conflict:
        return await self._table.update(key, value, revision) or Conflict(1)

    async def delete(self, key: str, revision: int) -> bool:
        return await self._table.delete(key, revision)

    async def under(self, prefix: str = "") -> list[Record[R]]:
        del prefix
        rows = await self._table.under()
        return [Record(seen.value, seen.revision, key) for key, seen in rows.items()]


class World:
    """What all processes share."""

    def __init__(self) -> None:
        self._last = 0
        self.changes = 0
        self.now = 1000.0
        self.jobs: MemoryTable[JobRecord] = MemoryTable(self)
        self.runs: MemoryTable[Run] = MemoryTable(self)
        self.cache: MemoryTable[CacheClaim] = MemoryTable(self)
        self.budgets: MemoryTable[BudgetRecord] = MemoryTable(self)
        self.breakers: MemoryTable[BreakerRecord] = MemoryTable(self)
        self.off: dict[str, str] = {}
        self.away: dict[str, str] = {}
        self.streams: dict[str, dict[str, Message]] = {
            name: {} for name in ("req", "ctl", "job", "evt", "charge", "ops")
        }
        self.objects: set[str] = set()
        self.watch: Callable[[str, object], None] = lambda *_: None

    def next(self) -> int:
        self._last += 1
        self.changes += 1
        return self._last

    def publish(self, word: Word) -> None:
        """Store the first message of a subject; a second one changes nothing."""
        stream = self.streams[word.subject.split(".")[1]]
        if word.subject not in stream:
            stream[word.subject] = Message(word.subject, word.body, self.next(), self.now)
            self.watch(word.subject, word)

    def publish_raw(self, subject: str) -> None:
        """Store an empty message."""
        self.publish(Word(subject, b"{}"))

    def unfinished(self, tenant: str) -> set[str]:
        """Return the keys of a tenant's jobs whose messages are in REQUESTS."""
        return {job_key_of(s) for s in self.streams["req"] if s.split(".")[2] == tenant} - {""}

    def booked(self) -> dict[str, float]:
        """Return the ledger's amounts by the keys of the jobs."""
        entries = self.streams["charge"]
        return {
            subject.removeprefix("adgenx.charge."): msgspec.json.decode(m.data, type=Charge).amount
            for subject, m in entries.items()
        }

    def remove(self, stream: str, sequence: int) -> None:
        """Remove one message; nothing if it is gone, or if another one has its subject."""
        for subject, message in list(self.streams[stream].items()):
            if message.sequence == sequence:
                del self.streams[stream][subject]
                self.changes += 1


class MemoryStores:
    """`services.router.stores.Stores` over a world."""

    def __init__(self, world: World, random: Random | None = None) -> None:
        self._world = world
        self._random = random
        self.jobs = world.jobs
        self.runs = world.runs
        self.cache = world.cache
        self.budgets = world.budgets

    async def publish_once(self, word: Word) -> None:
        await Point(lambda: self._world.publish(word), writes=True)

    async def message(self, subject: str) -> Message | None:
        return await Point(lambda: self._world.streams["req"].get(subject), writes=False)  # type: ignore[return-value]  # the effect's own type

    async def remove(self, sequence: int) -> None:
        await Point(lambda: self._world.remove("req", sequence), writes=True)

    async def exist(self, outputs: list[ArtifactRef]) -> bool:
        return await Point(  # type: ignore[return-value]  # the effect's own type
            lambda: all(ref.sha256 in self._world.objects for ref in outputs), writes=False
        )

    async def reserving(self) -> list[str]:
        return [key for key, seen in (await self.budgets.under()).items() if seen.value.reserved]

    async def booked(self, key: str) -> float:
        return await Point(lambda: self._world.booked().get(key, 0.0), writes=False)  # type: ignore[return-value]  # the effect's own type

    async def past(self, tenant: str) -> Past:
        """Three looks, in the order of the real one; anything may happen in between."""
        unfinished: set[str] = await Point(lambda: self._world.unfinished(tenant), writes=False)  # type: ignore[assignment]  # the effect's own type
        budgets = await self.budgets.under()
        mine = [seen.value for key, seen in budgets.items() if key.startswith(f"{tenant}.")]
        reserved = {key for record in mine for key in record.reserved}
        every: dict[str, float] = await Point(self._world.booked, writes=False)  # type: ignore[assignment]  # the same
        booked = {key: amount for key, amount in every.items() if key.startswith(f"{tenant}.")}
        return Past(
            sum(booked.values()),
            frozenset(reserved - booked.keys()),
            frozenset(unfinished - booked.keys()),
        )

    async def publish_all(self, words: Sequence[Word]) -> None:
        shuffled = list(words)
        if self._random is not None:
            self._random.shuffle(shuffled)
        for word in shuffled:
            await self.publish_once(word)


class Process:
    """One coroutine of one process, stopped at its next effect."""

    def __init__(self, owner: object, name: str, work: Awaitable[object]) -> None:
        self.owner = owner
        self.name = name
        self.began = 0
        self.asleep = 0
        self._work: Generator[Point, object, object] = work.__await__()
        self.alive = True
        self.point: Point | None = None
        self._go(None, None)

    def happen(self) -> None:
        """Let the effect happen and the coroutine hear of it."""
        assert self.point is not None
        self._go(self.point.effect(), None)

    def time_out(self, *, applied: bool) -> Effect | None:
        """Let the coroutine hear nothing; return the effect if it is still on its way."""
        assert self.point is not None
        effect = self.point.effect
        if applied:
            effect()
        self._go(None, UnknownOutcomeError("no answer"))
        return None if applied else effect

    def die(self) -> None:
        """End it where it stands."""
        self.alive = False
        self._work.close()

    def _go(self, value: object, error: Exception | None) -> None:
        try:
            self.point = self._work.throw(error) if error else self._work.send(value)
        except (StopIteration, UnknownOutcomeError):
            self.alive = False
