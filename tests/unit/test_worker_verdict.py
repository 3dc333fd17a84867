"""The verdict table, and any number of workers and routers on one record in any order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.worker import verdict
from bus.worker.verdict import Act, Failed, Lost, Outcome, Returned, Succeeded, Worker
from contracts.artifacts import ArtifactRef
from contracts.capability import Capability
from contracts.errors import (
    ChildLostError,
    ModelFailedError,
    StalledError,
    StoreUnavailableError,
)
from contracts.jobs import JobRecord, JobState, Run, RunState

pytestmark = pytest.mark.unit

NOW = 100.0
KEY = "t.c.r"
ME = Worker(owner="me", max_attempts=3)
REF = ArtifactRef(key="t/sha256/aa/aa", sha256="a" * 64, media_type="image/png", size_bytes=1)
MADE = Succeeded([REF], 0.5)
LOST = Lost(ChildLostError("killed").info())
FAILED = Failed(ModelFailedError("dry").info())
TERMINAL = [RunState.OK, RunState.FAILED, RunState.CANCELLED]


def run(
    attempt: int = 1, owner: str = "me", state: RunState = RunState.CLAIMED, **more: object
) -> Run:
    return Run(attempt=attempt, owner=owner, state=state, job_key=KEY, **more)  # type: ignore[arg-type]  # names as in the contract


def job(state: JobState = JobState.NEW, service: str = "svc") -> JobRecord:
    return JobRecord(
        tenant="t",
        campaign_id="c",
        request_id="r",
        capability=Capability.IMAGE,
        job_id="j",
        state=state,
        request_hash="h",
        accepted_at=1.0,
        service=service,
    )


def decide(found: Run | None, *, adoptable: bool = False, worker: Worker = ME) -> verdict.Verdict:
    return verdict.claim(found, worker, job_key=KEY, adoptable=adoptable, now=NOW)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, False),
        (job(), True),
        (job(service="another"), False),
        (job(JobState.OK), False),
        (job(JobState.FAILED), False),
        (job(JobState.CANCELLED), False),
    ],
)
def test_nothing_runs_without_a_live_job_of_this_service(
    record: JobRecord | None, *, expected: bool
) -> None:
    assert verdict.wanted(record, "svc") is expected


def test_an_unclaimed_job_is_claimed_as_its_first_attempt() -> None:
    decided = decide(None)
    assert decided.act is Act.RUN
    assert decided.write == run(attempt=1, started_at=NOW)


@pytest.mark.parametrize("state", TERMINAL)
def test_a_terminal_run_is_acknowledged_and_left_as_it_is(state: RunState) -> None:
    assert decide(run(state=state)) == verdict.Verdict(Act.ACK)


def test_a_dead_owners_claim_is_taken_over_and_counts() -> None:
    decided = decide(run(attempt=2, owner="dead"))
    assert decided.write == run(attempt=3, owner="me")


def test_my_own_claim_whose_answer_was_lost_is_no_second_attempt() -> None:
    assert decide(run(attempt=2)) == verdict.Verdict(Act.RUN)


def test_used_up_attempts_poison_the_job() -> None:
    decided = decide(run(attempt=3, owner="dead"))
    assert (decided.act, decided.bury) == (Act.ACK, True)
    assert decided.write is not None
    assert decided.write.state is RunState.FAILED
    assert decided.write.error is not None
    assert decided.write.error.code == "POISON"


def test_a_finished_result_is_adopted_without_counting_even_when_attempts_are_used_up() -> None:
    decided = decide(run(attempt=3, owner="dead"), adoptable=True)
    assert (decided.act, decided.write) == (Act.RUN, run(attempt=3, owner="me"))


def test_a_returned_attempt_is_claimed_again_under_its_number() -> None:
    decided = decide(run(attempt=0, owner="", state=RunState.IDLE))
    assert decided.write == run(attempt=1)


def test_a_redelivered_poison_is_buried_again_before_the_ack() -> None:
    poison = decide(run(attempt=3, owner="dead")).write
    assert decide(poison) == verdict.Verdict(Act.ACK, bury=True)


@pytest.mark.parametrize("outcome", [MADE, FAILED, LOST, Returned()])
@pytest.mark.parametrize(
    ("found", "act"),
    [
        (None, Act.ACK),
        (run(state=RunState.CANCELLED), Act.ACK),
        (run(state=RunState.OK, owner="other"), Act.ACK),
        (run(attempt=2, owner="other"), Act.SILENCE),
        (run(attempt=2), Act.SILENCE),
        (run(attempt=0, owner="", state=RunState.IDLE), Act.SILENCE),
    ],
)
def test_who_holds_the_claim_no_more_writes_nothing(
    found: Run | None, act: Act, outcome: Outcome
) -> None:
    assert verdict.settle(found, run(), outcome, ME, NOW) == verdict.Verdict(act)


@pytest.mark.parametrize(
    ("outcome", "act", "state", "code", "attempt"),
    [
        (MADE, Act.ACK, RunState.OK, None, 1),
        (FAILED, Act.ACK, RunState.FAILED, "MODEL_FAILED", 1),
        (LOST, Act.RUN, RunState.CLAIMED, "CHILD_LOST", 2),
        (Returned(), Act.NAK, RunState.IDLE, None, 0),
    ],
)
def test_what_each_outcome_writes(
    outcome: Outcome, act: Act, state: RunState, code: str | None, attempt: int
) -> None:
    decided = verdict.settle(run(), run(), outcome, ME, NOW)
    assert decided.act is act
    assert decided.write is not None
    assert (decided.write.state, decided.write.attempt) == (state, attempt)
    assert (decided.write.error.code if decided.write.error else None) == code


@pytest.mark.parametrize(
    ("error", "code", "bury"),
    [
        (ChildLostError("killed"), "POISON", True),
        (StalledError("hung"), "POISON", True),
        (StoreUnavailableError("away"), "STORE_UNAVAILABLE", False),
    ],
)
def test_the_last_lost_attempt_ends_the_job(
    error: ChildLostError | StalledError | StoreUnavailableError, code: str, *, bury: bool
) -> None:
    held = run(attempt=3)
    decided = verdict.settle(held, held, Lost(error.info()), ME, NOW)
    assert (decided.act, decided.bury) == (Act.ACK, bury)
    assert decided.write is not None
    assert decided.write.error is not None
    assert decided.write.error.code == code


def test_another_change_to_the_record_does_not_void_the_claim() -> None:
    touched = msgspec.structs.replace(run(), started_at=55.0)
    decided = verdict.settle(touched, run(), MADE, ME, NOW)
    assert decided.write is not None
    assert (decided.write.state, decided.write.started_at) == (RunState.OK, 55.0)


OUTCOMES: list[Outcome] = [MADE, FAILED, LOST, Returned()]
STEP = st.tuples(
    st.sampled_from(["deliver", "settle", "cancel", "crash"]),
    st.integers(0, 3),
    st.sampled_from(OUTCOMES),
    st.booleans(),
)


@given(st.lists(STEP, max_size=40))
def test_any_schedule_keeps_the_rules(schedule: list[tuple[str, int, Outcome, bool]]) -> None:
    """Deliveries to four workers, their ends, cancels and crashes, in any order."""
    record: Run | None = None
    held: dict[int, Run] = {}
    names = 0
    for kind, who, outcome, adoptable in schedule:
        before = record
        if kind == "deliver":
            names += 1
            worker = Worker(owner=f"{who}-{names}", max_attempts=3)
            decided = decide(record, adoptable=adoptable, worker=worker)
            record = decided.write or record
            if decided.act is Act.RUN:
                assert record is not None
                held[who] = record
        elif kind == "settle" and who in held:
            mine = held.pop(who)
            worker = Worker(owner=mine.owner, max_attempts=3)
            decided = verdict.settle(record, mine, outcome, worker, NOW)
            if not verdict.mine(record, mine):
                assert decided.write is None
            record = decided.write or record
            if decided.act is Act.RUN:
                assert record is not None
                held[who] = record
        elif kind == "cancel" and record is not None and not record.state.terminal:
            record = msgspec.structs.replace(record, state=RunState.CANCELLED)
            continue
        else:
            held.pop(who, None)
            continue
        if decided.act is Act.ACK:
            assert record is None or record.state.terminal
        if before is not None and before.state.terminal:
            assert record == before, "a terminal run is never changed"
        assert record is None or 0 <= record.attempt <= 3
        assert sum(verdict.mine(record, claim) for claim in held.values()) <= 1
