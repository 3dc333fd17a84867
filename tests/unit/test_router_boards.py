"""Small buckets known by heart: boards, and the breakers and flags that stand on them."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

import msgspec
import pytest

from bus.records import Conflict, Record
from contracts.errors import ErrorInfo, UnknownOutcomeError
from contracts.governance import BreakerRecord, BreakerState, FlagRecord
from contracts.jobs import Run, RunState
from contracts.operating import ResetBreaker, SetFlag
from services.router import flags as flags_module
from services.router.board import Board
from services.router.breakers import Breakers
from services.router.flags import Flags, off

pytestmark = pytest.mark.unit

R = TypeVar("R")
NOW = 1000.0


class Shelf(Generic[R]):
    """A bucket in memory; every call gives way to the others, so that races are races."""

    def __init__(self) -> None:
        self.records: dict[str, Record[R]] = {}
        self.sequence = 0
        self.writes = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, key: str) -> Record[R] | None:
        await asyncio.sleep(0)
        return self.records.get(key)

    async def create(self, key: str, value: R) -> int | Conflict:
        return await self.update(key, value, 0)

    async def update(self, key: str, value: R, revision: int) -> int | Conflict:
        await asyncio.sleep(0)
        found = self.records.get(key)
        if (found.revision if found else 0) != revision:
            return Conflict(found.revision if found else 0)
        self.sequence += 1
        self.writes += 1
        self.records[key] = Record(value, self.sequence, key)
        return self.sequence

    async def delete(self, key: str, revision: int) -> bool:
        await asyncio.sleep(0)
        found = self.records.get(key)
        if found is None or found.revision != revision:
            return False
        del self.records[key]
        return True

    async def under(self, prefix: str = "") -> list[Record[R]]:
        found = [r for r in self.records.values() if r.key.startswith(prefix)]
        await self.answers.wait()
        return found


def error(code: str = "STALLED", retry_after: float = 0.0) -> ErrorInfo:
    return ErrorInfo(code=code, message="m", retryable=True, retry_after_seconds=retry_after)


def ended(state: RunState, **fields: object) -> Run:
    run = Run(attempt=1, owner="w", state=state, job_key="k", ended_at=NOW)
    return msgspec.structs.replace(run, **fields)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


# boards


async def test_changes_that_race_are_all_made() -> None:
    shelf: Shelf[list[int]] = Shelf()
    boards = [Board(shelf) for _ in range(4)]
    add = [
        boards[n % 4].change("k", lambda old, n=n: [*(old or []), n])  # type: ignore[misc]  # n is bound for each
        for n in range(20)
    ]
    await asyncio.gather(*add)
    assert sorted(shelf.records["k"].value) == list(range(20))


async def test_what_was_written_here_while_it_was_read_is_not_forgotten() -> None:
    shelf: Shelf[list[int]] = Shelf()
    board = Board(shelf)
    await board.change("gone", lambda _: [0])
    shelf.answers.clear()
    reading = asyncio.create_task(board.refresh())
    await asyncio.sleep(0)  # the server has looked, and its answer is on its way
    await board.change("k", lambda _: [1])
    await board.change("gone", lambda _: None)
    shelf.answers.set()
    assert await reading is False
    assert board.values == {"k": [1]}


async def test_a_refresh_says_what_others_changed_and_only_that() -> None:
    shelf: Shelf[list[int]] = Shelf()
    mine, theirs = Board(shelf), Board(shelf)
    await mine.change("k", lambda _: [1])
    assert await mine.refresh() is False
    assert await theirs.refresh() is True
    await theirs.change("k", lambda _: None)
    assert await mine.refresh() is True
    assert mine.values == {}


async def test_what_does_not_change_is_not_written() -> None:
    shelf: Shelf[list[int]] = Shelf()
    board = Board(shelf)
    await board.change("k", lambda _: [1])
    await board.change("k", lambda old: old)
    assert await board.change("other", lambda old: old) is None
    assert shelf.writes == 1


# the breakers of several routers


async def opened(clock: Clock, count: int = 5) -> tuple[Shelf[BreakerRecord], Breakers]:
    shelf: Shelf[BreakerRecord] = Shelf()
    breakers = Breakers(shelf, clock)
    for number in range(count):
        run = ended(RunState.FAILED, error=error())
        await breakers.learn("flux", f"j{number}", run)
    return shelf, breakers


async def test_of_fifty_jobs_and_three_routers_one_is_the_probe() -> None:
    clock = Clock()
    shelf, first = await opened(clock)
    routers = [first, Breakers(shelf, clock), Breakers(shelf, clock)]
    for router in routers[1:]:
        await router.refresh()
    assert [r.room("flux") for r in routers] == [0, 0, 0]
    clock.now += 30
    allowed = await asyncio.gather(*(routers[n % 3].admit("flux", f"w{n}") for n in range(50)))
    assert sum(allowed) == 1
    assert first.room("another") is None


async def test_the_state_outlives_the_process_and_the_probe_closes_it() -> None:
    clock = Clock()
    shelf, _ = await opened(clock)
    later = Breakers(shelf, clock)
    await later.refresh()
    assert await later.admit("flux", "p") is False
    clock.now += 30
    assert await later.admit("flux", "p") is True
    await later.learn("flux", "p", ended(RunState.OK))
    assert await later.admit("flux", "next") is True
    assert shelf.records["flux"].value == BreakerRecord(changed_at=clock.now)


async def test_what_goes_well_is_counted_and_not_written() -> None:
    clock = Clock()
    shelf: Shelf[BreakerRecord] = Shelf()
    breakers = Breakers(shelf, clock)
    for number in range(6):
        await breakers.learn("flux", f"ok{number}", ended(RunState.OK))
    assert shelf.writes == 0
    for number in range(5):
        await breakers.learn("flux", f"j{number}", ended(RunState.FAILED, error=error()))
    assert breakers.room("flux") is None  # five of eleven
    clock.now += 31  # what went well is long ago
    for number in range(5):
        run = ended(RunState.FAILED, error=error(), ended_at=clock.now)
        await breakers.learn("flux", f"k{number}", run)
    assert breakers.room("flux") == 0


async def test_every_start_that_failed_counts_in_its_time_and_once() -> None:
    clock = Clock()
    shelf: Shelf[BreakerRecord] = Shelf()
    breakers = Breakers(shelf, clock)
    run = ended(RunState.IDLE, failures=[error()], ended_at=0.0)
    for _ in range(3):
        await breakers.learn("flux", "j", run)
    assert len(shelf.records["flux"].value.failures) == 1
    clock.now += 100
    second = msgspec.structs.replace(run, failures=[error(), error()])
    await breakers.learn("flux", "j", second)
    last = msgspec.structs.replace(second, state=RunState.FAILED, attempt=3, error=error())
    for _ in range(2):  # its message is delivered again
        await breakers.learn("flux", "j", last)
    assert [f.attempt for f in shelf.records["flux"].value.failures] == [2, 3]


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (ended(RunState.OK), BreakerState.CLOSED),
        (ended(RunState.IDLE, failures=[error("PROVIDER_TIMEOUT")]), BreakerState.OPEN),
        (ended(RunState.FAILED, error=error("PROVIDER_REFUSED")), BreakerState.CLOSED),
        (ended(RunState.FAILED, error=error("MODEL_FAILED")), BreakerState.CLOSED),
        (ended(RunState.FAILED, error=error("PROVIDER_TIMEOUT")), BreakerState.OPEN),
        (ended(RunState.CANCELLED), BreakerState.OPEN),
        (ended(RunState.FAILED, attempt=0, error=error("NOT_IMPLEMENTED")), BreakerState.OPEN),
        (ended(RunState.FAILED, error=error("DEADLINE_EXPIRED")), BreakerState.OPEN),
    ],
)
async def test_what_the_end_of_a_probe_says(run: Run, state: BreakerState) -> None:
    clock = Clock()
    shelf, breakers = await opened(clock)
    clock.now += 30
    other = Breakers(shelf, clock)
    await other.refresh()
    assert await breakers.admit("flux", "p")
    # Heard by a router that has not read yet who the probe is.
    await other.learn("flux", "p", run)
    assert shelf.records["flux"].value.state is state
    await breakers.refresh()
    codes = {told.code for told in (run.error, *run.failures) if told is not None}
    assert (breakers.room("flux") == 0) is ("PROVIDER_TIMEOUT" in codes)


async def test_a_reset_is_said_as_it_is() -> None:
    clock = Clock()
    shelf, _ = await opened(clock)
    other = Breakers(shelf, clock)  # it has not read the record yet
    done = await other.reset(ResetBreaker(service="flux"))
    assert (done.changed, other.room("flux")) == (1, None)
    assert (await other.reset(ResetBreaker(service="flux"))).changed == 0


# flags


def test_the_operators_word_goes_before_the_environments() -> None:
    records = {
        "a": FlagRecord(enabled=True),
        "b": FlagRecord(enabled=False, reason="it burns"),
        "c": FlagRecord(enabled=False),
    }
    assert off(records, ["a", "b", "d"]) == {
        "b": "it burns",
        "c": "an operator turned it off",
        "d": "USE_D=0 in the router's environment",
    }


async def test_a_flag_is_answered_only_when_nothing_can_be_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flags_module, "AGREED_SECONDS", 0.0)
    monkeypatch.setattr(flags_module, "LOOK_AGAIN_SECONDS", 0.0)
    left = [3, 2, 1, 0]
    seen: list[tuple[str, bool]] = []

    async def settle(service: str) -> int:
        seen.append((service, service in flags.off()))
        return left.pop(0)

    flags = Flags(Shelf(), [], settle)
    done = await flags.set(SetFlag(service="flux", enabled=False, reason="it burns"))
    assert (done.changed, done.message) == (1, "flux is off: it burns")
    assert seen == [("flux", True)] * 4  # the record stood before anybody was looked at
    left.extend([0, 0])
    assert (await flags.set(SetFlag(service="flux", enabled=False, reason="it burns"))).changed == 0


async def test_jobs_that_cannot_be_looked_at_leave_the_command_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flags_module, "CLEAR_SECONDS", 0.01)

    async def settle(_: str) -> int:
        return 1

    with pytest.raises(UnknownOutcomeError):
        await Flags(Shelf(), [], settle).set(SetFlag(service="flux", enabled=False))


async def test_default_gives_it_back_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags_module, "AGREED_SECONDS", 0.0)

    async def settle(_: str) -> int:
        return 0

    shelf: Shelf[FlagRecord] = Shelf()
    flags = Flags(shelf, ["flux"], settle)
    on = await flags.set(SetFlag(service="flux", enabled=True))
    assert (on.message, flags.off()) == ("flux is on", {})
    assert (await flags.set(SetFlag(service="flux", enabled=None))).changed == 1
    assert (list(flags.off()), shelf.records) == (["flux"], {})
