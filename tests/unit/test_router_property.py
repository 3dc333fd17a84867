"""Random schedules of two routers, two workers, clients and faults: the promises hold after each.

And the same with the driver broken on purpose: a test that cannot fail proves nothing.
"""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_sim import CALM, Chances, Sim

from contracts.jobs import JobRecord, JobState
from services.router import advance, decide
from services.router.decide import Facts, Release, Rest, Step, Tell, WriteJob

pytestmark = pytest.mark.unit

EXAMPLES = int(os.environ.get("ADGENX_TEST_SCHEDULES", "150"))
CONTROL_SEEDS = 400
seeds = st.integers(0, 2**32)


@given(seed=seeds)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150)
def test_the_promises_hold_under_faults(seed: int) -> None:
    assert Sim(seed, Chances()).run() == []


@given(seed=seeds)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 150)
def test_nothing_runs_twice_on_a_calm_day(seed: int) -> None:
    assert Sim(seed, CALM).run() == []


def caught(chances: Chances) -> set[str]:
    """What the judge says of the first schedules that go wrong."""
    for seed in range(CONTROL_SEEDS):
        complaints = Sim(seed, chances).run()
        if complaints:
            return set(complaints)
    return set()


def broken(monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    whole = decide.decide

    def wrong(facts: Facts) -> Step:
        return change(facts, whole(facts))  # type: ignore[operator]  # a variant of this file

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
        return Release(again=False) if isinstance(step, decide.TakeClaim) else step

    broken(monkeypatch, change)
    assert "equal requests ran twice on a calm day" in caught(CALM)


def test_control_told_before_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(facts: Facts, step: Step) -> Step:
        # Taken for ended as soon as a cancel is wished, whatever the run says.
        if isinstance(step, decide.WriteRun) and facts.job is not None:
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
        await self._stores.publish_once(advance.telling.result(job))

    monkeypatch.setattr(advance.Advancer, "_tell", hasty)
    assert caught(Chances()) & {"an ended job was not told", "delivered and not charged"}
