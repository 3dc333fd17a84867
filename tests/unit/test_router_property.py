"""Random schedules of two routers, two workers, clients and faults: the promises hold after each.

And the same with the driver broken on purpose: a test that cannot fail proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sim import CALM, Chances, Sim

from contracts import subjects
from contracts.governance import BudgetRecord
from contracts.jobs import JobRecord, JobState
from services.router import advance, budget, budgets, decide, limits, taking, telling
from services.router.admission import Message
from services.router.facts import (
    Facts,
    Held,
    Release,
    Reserve,
    Rest,
    Seen,
    Step,
    TakeClaim,
    Tell,
    WriteJob,
    WriteRun,
)
from services.router.watch import Watch

pytestmark = pytest.mark.unit

EXAMPLES = int(os.environ.get("ADGENX_TEST_SCHEDULES", "150"))
CONTROL_SEEDS = 1500
NARROW = Chances(paused=0.05, narrow=True)
OUTAGE = Chances(outage=True)
seeds = st.integers(0, 2**32)


@given(seed=seeds)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150)
def test_the_promises_hold_under_faults(seed: int) -> None:
    assert Sim(seed, Chances()).run() == []


@given(seed=seeds)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150)
def test_the_promises_hold_while_a_service_is_away(seed: int) -> None:
    assert Sim(seed, OUTAGE).run() == []


@given(seed=seeds)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150)
def test_nothing_runs_twice_on_a_calm_day(seed: int) -> None:
    assert Sim(seed, CALM).run() == []


def caught(chances: Chances, first: int = 0) -> set[str]:
    """What the judge says of the first schedules that go wrong."""
    for seed in range(first, first + CONTROL_SEEDS):
        complaints = Sim(seed, chances).run()
        if complaints:
            return set(complaints)
    return set()


def broken(monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    whole = decide.decide

    def wrong(facts: Facts) -> Step:
        step: Step = change(facts, whole(facts))  # type: ignore[operator]  # a variant of this file
        return step

    monkeypatch.setattr(advance, "decide", wrong)


def test_control_a_follower_that_is_never_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(facts: Facts, step: Step) -> Step:
        follows = facts.job is not None and facts.job.value.state is JobState.FOLLOWER
        promoted = isinstance(step, WriteJob) and step.job.state is JobState.NEW
        return Rest.WAITING if follows and promoted else step

    broken(monkeypatch, change)
    assert "no quiescence" in caught(Chances())


def test_control_no_single_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(_: Facts, step: Step) -> Step:
        return Release(again=False) if isinstance(step, TakeClaim) else step

    broken(monkeypatch, change)
    assert "equal requests ran twice on a calm day" in caught(CALM)


def test_control_told_before_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(facts: Facts, step: Step) -> Step:
        # Taken for ended as soon as a cancel is wished, whatever the run says.
        if isinstance(step, WriteRun) and facts.job is not None:
            ended: JobRecord = msgspec.structs.replace(
                facts.job.value, state=JobState.CANCELLED, ended_at=facts.now
            )
            facts.job = facts.job._replace(value=ended)
            return Tell() if isinstance(facts.message_sequence, int) else step
        return step

    broken(monkeypatch, change)
    assert caught(Chances())


def test_control_a_request_removed_before_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hasty(self: advance.Advancer, facts: Facts, job: JobRecord) -> None:
        if isinstance(facts.message_sequence, int):
            await self._stores.remove(facts.message_sequence)
        await self._stores.publish_once(telling.result(job))

    monkeypatch.setattr(advance.Advancer, "_tell", hasty)
    assert caught(Chances()) & {"an ended job was not told", "delivered and not charged"}


# governance: the holes of the reservation, and what the judge says of each


def test_control_settled_without_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(record: BudgetRecord, charges: dict[str, float]) -> BudgetRecord:
        left = {k: p for k, p in record.reserved.items() if k not in charges}
        spent = record.spent + sum(charges.values())
        return msgspec.structs.replace(record, spent=spent, reserved=left)

    monkeypatch.setattr(budget, "settle", settle)
    assert "what was spent differs from the ledger" in caught(Chances())


def test_control_a_reservation_that_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "settle", lambda record, _: record)
    assert caught(Chances()) & {"a reservation is left", "refused although there was room"}


def test_control_a_reserve_that_drops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    settle_one = budgets.Budgets.settle_one
    settle = budget.settle

    async def sweep(self: budgets.Budgets, record_key: str) -> None:
        monkeypatch.setattr(budget, "settle", settle)
        await settle_one(self, record_key)

    async def write(
        self: budgets.Budgets, record_key: str, wants: list[budgets.Want]
    ) -> Mapping[str, budgets.Answer]:
        monkeypatch.setattr(budget, "settle", lambda record, _: record)
        return await whole(self, record_key, wants)

    whole = budgets.Budgets._write
    monkeypatch.setattr(budgets.Budgets, "settle_one", sweep)
    monkeypatch.setattr(budgets.Budgets, "_write", write)
    assert "refused although there was room" in caught(Chances())


def test_control_a_job_that_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "_same", lambda _found, _seen: True)
    # Rare: about one schedule of 600. Seed 1067 is the first.
    assert "what was spent differs from the ledger" in caught(NARROW, first=1000)


def test_control_a_service_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "away", lambda _watch, _service: 0.0)
    assert "a job was left to a service that is away" in caught(OUTAGE)


def test_control_a_reservation_before_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = taking.Taker._record

    async def record(
        self: taking.Taker, job: JobRecord, ids: object, message: Message
    ) -> taking.Taken:
        key = subjects.job_key(job.tenant, job.campaign_id, job.request_id)
        if job.price and await self._stores.jobs.get(key) is None:
            book = budgets.Budgets(self._stores)
            monkeypatch.setattr(budgets, "_same", lambda _found, _seen: True)
            await book.reserve(key, Seen(job, 0), None)
            monkeypatch.setattr(budgets, "_same", same)
        return await whole(self, job, ids, message)  # type: ignore[arg-type]  # handed through

    same = budgets._same
    monkeypatch.setattr(taking.Taker, "_record", record)
    assert caught(NARROW) & {
        "what was spent differs from the ledger",
        "published without a reservation",
    }


def test_control_published_without_asking_for_money(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(_: Facts, step: Step) -> Step:
        return Release(again=False) if isinstance(step, Reserve) else step

    broken(monkeypatch, change)
    assert "published without a reservation" in caught(Chances())


def test_control_charged_whatever_it_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(facts: Facts, step: Step) -> Step:
        if isinstance(step, WriteJob) and step.job.charge and isinstance(facts.run, Seen):
            return WriteJob(msgspec.structs.replace(step.job, charge=facts.run.value.cost))
        return step

    broken(monkeypatch, change)
    assert caught(Chances()) & {"a charge above its price", "charges above a limit"}


def test_control_a_dearer_fallback_keeps_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def reserve(record: BudgetRecord, key: str, price: float) -> BudgetRecord | None:
        return record if key in record.reserved else whole(record, key, price)

    whole = budget.reserve
    monkeypatch.setattr(budget, "reserve", reserve)
    assert "published without a reservation" in caught(Chances())


def test_control_a_tenant_whose_past_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: limits.Limits, _past: object) -> dict[str, float]:
        return {}

    monkeypatch.setattr(limits.Limits, "_entries", nothing)
    assert caught(Chances()) & {"what was spent differs from the ledger", "charges above a limit"}


def test_control_a_tenant_that_goes_on_while_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = budgets._unasked

    def unasked(
        record_key: str, seen: Seen[BudgetRecord] | None, wants: list[budgets.Want]
    ) -> dict[str, budgets.Answer] | None:
        if seen is not None and seen.value.opening:
            return {w.key: Held.RESERVED for w in wants}
        return whole(record_key, seen, wants)

    monkeypatch.setattr(budgets, "_unasked", unasked)
    assert caught(Chances()) & {"what was spent differs from the ledger", "charges above a limit"}


def test_control_a_deletion_looked_for_before_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = taking.Taker._record

    async def record(
        self: taking.Taker, job: JobRecord, ids: object, message: Message
    ) -> taking.Taken:
        closed = await self._closed(job.tenant, job.campaign_id)
        taken = await whole(self, job, ids, message)  # type: ignore[arg-type]  # handed through
        if not closed:
            key = subjects.job_key(job.tenant, job.campaign_id, job.request_id)
            self._memory.see_open(key)
        return taken

    monkeypatch.setattr(taking.Taker, "_record", record)
    assert caught(Chances()) & {
        "a record of a deleted campaign",
        "a run of a deleted campaign",
        "something ran for a deleted campaign",
    }
