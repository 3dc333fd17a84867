"""The rule of a budget, one write for many, and the limit of a tenant with a past."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_world import MemoryStores, Process, World

from contracts.capability import Capability
from contracts.errors import UnknownOutcomeError
from contracts.governance import BudgetRecord, Limit
from contracts.jobs import JobRecord, JobState
from contracts.operating import SetBudget
from services.router import budget
from services.router.budgets import Answer, Budgets, Want
from services.router.facts import Held, NoRoom, Seen
from services.router.limits import Limits
from services.router.operations import Done
from services.router.sharing import Shared

pytestmark = pytest.mark.unit

keys = st.sampled_from([f"acme.c.r{n}" for n in range(8)])
prices = st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.0, 2.5])
moves = st.lists(st.tuples(st.sampled_from(["reserve", "end"]), keys, prices), max_size=60)


@given(moves=moves, limit=st.sampled_from([0.0, 0.3, 1.0, 3.0, 10.0]))
def test_what_is_charged_never_exceeds_the_limit(
    moves: list[tuple[str, str, float]], limit: float
) -> None:
    record, charged = BudgetRecord(limit=limit), 0.0
    for move, key, price in moves:
        if move == "reserve":
            record = budget.reserve(record, key, price) or record
        elif key in record.reserved:
            charge = min(price, record.reserved[key])
            charged += charge
            record = budget.settle(record, {key: charge, "acme.c.unknown": 9.0})
        assert record.spent == pytest.approx(charged)
        assert record.spent + sum(record.reserved.values()) <= limit + budget.TOLERANCE


def test_ten_times_a_tenth_is_one() -> None:
    record = BudgetRecord(limit=1.0)
    for number in range(10):
        after = budget.reserve(record, f"r{number}", 0.1)
        assert after is not None
        record = after
    assert budget.reserve(record, "r10", 0.1) is None


def test_an_entry_is_raised_and_what_is_there_is_not_written() -> None:
    record = BudgetRecord(limit=3.0, reserved={"a": 1.0, "b": 1.0})
    assert budget.reserve(record, "a", 1.0) is record
    raised = budget.reserve(record, "a", 2.0)
    assert raised is not None
    assert raised.reserved == {"a": 2.0, "b": 1.0}
    assert budget.reserve(record, "a", 2.5) is None
    assert budget.left(record, "a") == 2.0


def test_what_has_not_begun_does_not_begin_once_the_limit_was_lowered() -> None:
    record = BudgetRecord(limit=1.0, spent=0.5, reserved={"a": 1.0})
    assert budget.reserve(record, "a", 1.0) is None
    assert budget.settle(record, {"b": 1.0}) is record


def test_the_limit_of_the_highest_revision_counts() -> None:
    second = budget.limited(BudgetRecord(), Limit(amount=5.0, revision=2))
    assert second.limit == 5.0
    assert budget.limited(second, Limit(amount=9.0, revision=1)) is second
    assert budget.limited(second, Limit(amount=9.0, revision=2)) is second
    assert budget.limited(second, Limit(amount=1.0, revision=3)).limit == 1.0
    assert budget.limited(second, None) is second


# one write for many


def job(request_id: str, **changes: object) -> JobRecord:
    made = JobRecord(
        tenant="acme",
        campaign_id="c1",
        request_id=request_id,
        capability=Capability.IMAGE,
        job_id=request_id,
        state=JobState.NEW,
        request_hash="h",
        accepted_at=1.0,
        service="alpha",
        price=1.0,
    )
    return msgspec.structs.replace(made, **changes)


async def test_what_comes_while_a_record_is_written_is_written_as_one() -> None:
    written: list[list[str]] = []
    writing, gate = asyncio.Event(), asyncio.Event()

    async def write(record_key: str, wants: Sequence[Want]) -> Mapping[str, Answer]:
        assert record_key == "acme.c1"
        written.append([w.key for w in wants])
        writing.set()
        await gate.wait()
        return {w.key: Held.RESERVED for w in wants}

    shared = Shared()

    def ask(key: str) -> asyncio.Task[Answer]:
        want = Want(key, Seen(job(key), 1), None)
        return asyncio.create_task(shared.share(write, "acme.c1", want))

    first = [ask("a"), ask("b")]
    await writing.wait()
    later = [ask(name) for name in "cdefg"]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*first, *later)
    assert set(answers) == {Held.RESERVED}
    assert written == [["a", "b"], list("cdefg")]


async def test_what_a_write_raises_reaches_everybody_in_it_and_nobody_after() -> None:
    async def write(_: str, wants: Sequence[Want]) -> Mapping[str, Answer]:
        if any(w.key == "a" for w in wants):
            raise UnknownOutcomeError("no answer")
        return {w.key: Held.RESERVED for w in wants}

    shared = Shared()
    wants = [Want(key, Seen(job(key), 1), None) for key in "ab"]
    answers = await asyncio.gather(
        *(shared.share(write, "k", w) for w in wants), return_exceptions=True
    )
    assert [type(a) for a in answers] == [UnknownOutcomeError, UnknownOutcomeError]
    assert await shared.share(write, "k", wants[1]) is Held.RESERVED


# on the double of the stores


def done(work: object) -> object:
    """Run something on the world until it has ended, and return what it returned."""
    returned: list[object] = []

    async def body() -> None:
        returned.append(await work)  # type: ignore[misc]  # a coroutine of the test

    process = Process(None, "test", body())
    while process.alive:
        process.happen()
    return returned[0]


def test_a_batch_gives_to_the_first_and_refuses_the_rest_once_the_ended_are_dropped() -> None:
    world = World()
    seen = {}
    for name in ("a", "b", "c"):
        world.jobs.put(f"acme.c1.{name}", job(name))
        seen[name] = world.jobs.rows[f"acme.c1.{name}"]
    world.jobs.put("acme.c1.old", job("old", state=JobState.OK, charge=0.5))
    world.budgets.put("acme.c1", BudgetRecord(limit=2.0, reserved={"acme.c1.old": 1.5}))
    wants = [Want(f"acme.c1.{n}", s, None) for n, s in seen.items()]
    answers = done(Budgets(MemoryStores(world))._write("acme.c1", wants))
    assert answers == {
        "acme.c1.a": Held.RESERVED,
        "acme.c1.b": NoRoom(0.5, "campaign"),
        "acme.c1.c": NoRoom(0.5, "campaign"),
    }
    record = world.budgets.rows["acme.c1"].value
    assert (record.spent, record.reserved) == (0.5, {"acme.c1.a": 1.0})


def test_a_tenants_first_limit_counts_what_was_spent_and_what_may_yet_be() -> None:
    world = World()
    for name, changes in (
        ("acme.c1.live", {}),
        ("acme.c1.waiting", {}),
        ("acme.-.own", {"campaign_id": "-"}),
        ("acme.-.free", {"campaign_id": "-", "price": 0.0}),
        ("acme.-.paid", {"campaign_id": "-", "state": JobState.OK, "charge": 0.25}),
    ):
        world.jobs.put(name, job(name.split(".")[-1], **changes))
        message = name.replace("acme.", "adgenx.req.acme.image.")
        world.publish_raw(message)
    world.budgets.put("acme.c1", BudgetRecord(reserved={"acme.c1.live": 1.0}))
    limits = Limits(MemoryStores(world))
    answer = done(limits.set_limit(SetBudget(of_tenant="acme", limit=7.0)))
    assert isinstance(answer, Done)
    assert answer.changed == 1
    record = world.budgets.rows["acme"].value
    assert (record.limit, record.spent, record.opening) == (7.0, 0.0, False)
    assert record.reserved == {"acme.c1.live": 1.0, "acme.-.own": 1.0, "acme.-.paid": 1.0}


def test_a_limit_is_changed_and_taken_away() -> None:
    world = World()
    limits = Limits(MemoryStores(world))
    for limit in (3.0, 4.0):
        done(limits.set_limit(SetBudget(of_tenant="acme", limit=limit)))
        assert world.budgets.rows["acme"].value == BudgetRecord(limit=limit)
    done(limits.set_limit(SetBudget(of_tenant="acme", limit=None)))
    assert "acme" not in world.budgets.rows


def test_an_operators_limit_of_a_campaign_stands_until_its_next_revision() -> None:
    world = World()
    limits = Limits(MemoryStores(world))
    command = SetBudget(of_tenant="acme", of_campaign="c1", limit=3.0)
    done(limits.set_limit(command))
    record = world.budgets.rows["acme.c1"].value
    assert record.limit == 3.0
    assert budget.limited(record, Limit(amount=99.0, revision=1)).limit == 3.0
    closed = msgspec.structs.replace(record, closed=True)
    world.budgets.put("acme.c1", closed)
    refused = done(limits.set_limit(command))
    assert isinstance(refused, Done)
    assert (refused.status, world.budgets.rows["acme.c1"].value) == ("refused", closed)
