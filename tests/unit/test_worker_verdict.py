"""The verdict table, and any number of workers and routers on one record in any order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.worker import verdict
from bus.worker.retry import IN_PLACE_SECONDS
from bus.worker.verdict import Act, Failed, Lost, Outcome, Refused, Returned, Succeeded, Worker
from contracts.artifacts import ArtifactRef
from contracts.capability import Capability
from contracts.errors import (
    ChildLostError,
    DisabledError,
    ModelFailedError,
    ProviderUnavailableError,
    RateLimitedError,
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
REFUSED = Refused(DisabledError("off").info())
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


def settle(
    found: Run | None, held: Run, outcome: Outcome, worker: Worker = ME, dice: float = 0.5
) -> verdict.Verdict:
    return verdict.settle(found, held, outcome, worker, NOW, dice=dice)


@pytest.mark.parametrize("outcome", [MADE, FAILED, LOST, Returned(), REFUSED])
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
    assert settle(found, run(), outcome) == verdict.Verdict(act)
    assert verdict.resume(found, run()) == verdict.Verdict(act)


@pytest.mark.parametrize(
    ("outcome", "act", "state", "code", "attempt"),
    [
        (MADE, Act.ACK, RunState.OK, None, 1),
        (FAILED, Act.ACK, RunState.FAILED, "MODEL_FAILED", 1),
        (LOST, Act.WAIT, RunState.CLAIMED, None, 1),
        (Returned(), Act.NAK, RunState.IDLE, None, 0),
        (REFUSED, Act.ACK, RunState.FAILED, "NOT_IMPLEMENTED", 0),
    ],
)
def test_what_each_outcome_writes(
    outcome: Outcome, act: Act, state: RunState, code: str | None, attempt: int
) -> None:
    decided = settle(run(), run(), outcome)
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
    decided = settle(held, held, Lost(error.info()))
    assert (decided.act, decided.bury) == (Act.ACK, bury)
    assert decided.write is not None
    assert decided.write.error is not None
    assert decided.write.error.code == code


def test_a_lost_start_is_written_down_at_once_and_counted_again_when_it_is_made() -> None:
    decided = settle(run(), run(), LOST)
    noted = decided.write
    assert noted is not None
    assert decided.delay_seconds > 0
    assert (noted.failures, noted.not_before) == ([LOST.error], NOW + decided.delay_seconds)
    again = verdict.resume(noted, noted)
    assert again.act is Act.RUN
    assert again.write == msgspec.structs.replace(noted, attempt=2, not_before=0.0)


def rate_limited(seconds: float) -> Lost:
    return Lost(RateLimitedError("later", retry_after_seconds=seconds).info())


def test_a_long_wait_gives_the_job_back_with_its_attempt_counted() -> None:
    decided = settle(run(), run(), rate_limited(IN_PLACE_SECONDS + 1))
    idle = decided.write
    assert idle is not None
    assert (decided.act, idle.state, idle.owner, idle.attempt) == (Act.NAK, RunState.IDLE, "", 1)
    assert decided.delay_seconds > IN_PLACE_SECONDS
    early = decide(idle)
    assert (early.act, early.write) == (Act.NAK, None)
    assert early.delay_seconds == pytest.approx(decided.delay_seconds)
    late = verdict.claim(idle, ME, job_key=KEY, adoptable=False, now=idle.not_before)
    assert late.write is not None
    assert (late.write.attempt, late.write.not_before) == (2, 0.0)
    assert late.write.failures == idle.failures


def test_a_worker_that_stops_in_the_middle_of_a_wait_gives_back_what_was_not_begun() -> None:
    noted = settle(run(), run(), LOST).write
    assert noted is not None
    decided = settle(noted, noted, Returned())
    assert decided.act is Act.NAK
    assert decided.write == msgspec.structs.replace(noted, owner="", state=RunState.IDLE)
    assert decided.delay_seconds == pytest.approx(noted.not_before - NOW)


def test_a_finished_result_does_not_wait() -> None:
    idle = settle(run(), run(), rate_limited(99)).write
    decided = decide(idle, adoptable=True)
    assert (decided.act, decided.write and decided.write.attempt) == (Act.RUN, 1)


def test_a_wait_that_would_pass_the_deadline_fails_at_once_with_the_providers_own_error() -> None:
    worker = Worker(owner="me", max_attempts=3, deadline_at=NOW + 20)
    for seconds, act in ((25, Act.ACK), (15, Act.WAIT)):
        outcome = rate_limited(seconds)
        decided = settle(run(), run(), outcome, worker)
        assert decided.act is act
        assert decided.write is not None
        assert decided.write.error == (outcome.error if act is Act.ACK else None)


def test_every_lost_start_stands_once_in_the_record() -> None:
    held = run()
    errors = [ProviderUnavailableError(f"answer {n}").info() for n in range(3)]
    for error in errors[:2]:
        held = settle(held, held, Lost(error)).write or held
        held = verdict.resume(held, held).write or held
    ended = settle(held, held, Lost(errors[2])).write
    assert ended is not None
    assert (ended.failures, ended.error, ended.attempt) == (errors[:2], errors[2], 3)


def test_a_poisoned_run_keeps_what_its_last_start_came_to() -> None:
    held = run(attempt=3)
    ended = settle(held, held, LOST).write
    assert ended is not None
    assert ended.failures == [LOST.error]
    assert ended.error is not None
    assert "killed" in ended.error.message


def test_a_service_that_is_turned_off_during_a_wait_keeps_the_starts_that_were_made() -> None:
    noted = settle(run(), run(), LOST).write
    assert noted is not None
    ended = settle(noted, noted, REFUSED).write
    assert ended is not None
    assert (ended.state, ended.attempt, ended.not_before) == (RunState.FAILED, 1, 0.0)


def test_another_change_to_the_record_does_not_void_the_claim() -> None:
    touched = msgspec.structs.replace(run(), started_at=55.0)
    decided = settle(touched, run(), MADE)
    assert decided.write is not None
    assert (decided.write.state, decided.write.started_at) == (RunState.OK, 55.0)


OUTCOMES: list[Outcome] = [
    MADE,
    FAILED,
    LOST,
    rate_limited(5),
    rate_limited(90),
    Returned(),
    REFUSED,
]
STEP = st.tuples(
    st.sampled_from(["deliver", "settle", "resume", "cancel", "crash"]),
    st.integers(0, 3),
    st.sampled_from(OUTCOMES),
    st.booleans(),
)


@given(st.lists(STEP, max_size=40))
def test_any_schedule_keeps_the_rules(schedule: list[tuple[str, int, Outcome, bool]]) -> None:
    """Deliveries to four workers, their ends, waits, cancels and crashes, in any order.

    A delivery comes when all waits are over, unless its flag says that it is too early.
    """
    record: Run | None = None
    held: dict[int, Run] = {}
    waiting: dict[int, Run] = {}
    names = starts = 0
    for kind, who, outcome, flag in schedule:
        before = record
        if kind == "deliver":
            names += 1
            worker = Worker(owner=f"{who}-{names}", max_attempts=3)
            now = NOW if flag else NOW + 1000
            decided = verdict.claim(record, worker, job_key=KEY, adoptable=False, now=now)
            started = held
        elif kind == "settle" and who in held:
            mine = held.pop(who)
            decided = settle(record, mine, outcome, Worker(owner=mine.owner, max_attempts=3))
            started = waiting
            assert verdict.mine(record, mine) or decided.write is None
        elif kind == "resume" and who in waiting:
            decided = verdict.resume(record, waiting.pop(who))
            started = held
        elif kind == "cancel" and record is not None and not record.state.terminal:
            record = msgspec.structs.replace(record, state=RunState.CANCELLED)
            continue
        else:
            held.pop(who, None)
            waiting.pop(who, None)
            continue
        record = decided.write or record
        if decided.act in (Act.RUN, Act.WAIT):
            assert record is not None
            started[who] = record
            starts += decided.act is Act.RUN
        if decided.act is Act.ACK:
            assert record is None or record.state.terminal
        if before is not None and before.state.terminal:
            assert record == before, "a terminal run is never changed"
        assert record is None or 0 <= record.attempt <= 3
        assert record is None or record.attempt <= starts, "only starts are counted"
        claims = [*held.values(), *waiting.values()]
        assert sum(verdict.mine(record, claim) for claim in claims) <= 1


def test_a_start_that_left_a_segment_behind_was_not_lost() -> None:
    """Counted are starts in a row that got no further, however many there were before."""
    far = run(attempt=40, progressed=40, owner="dead")
    claimed = decide(far)
    assert (claimed.act, claimed.write and claimed.write.attempt) == (Act.RUN, 41)
    assert decide(run(attempt=42, progressed=40, owner="dead")).act is Act.RUN
    stuck = decide(run(attempt=43, progressed=40, owner="dead"))
    assert stuck.bury
    assert stuck.write is not None
    assert stuck.write.error is not None
    assert stuck.write.error.message.startswith("3 attempts")
    held = run(attempt=40, progressed=40)
    waits = [settle(held, held, LOST, dice=1.0).delay_seconds]
    held = run(attempt=41, progressed=40)
    waits.append(settle(held, held, LOST, dice=1.0).delay_seconds)
    assert waits[0] == waits[1], "and the next is begun as soon as after a first failure"
    held = run(attempt=43, progressed=40)
    assert settle(held, held, LOST).bury


def test_a_segment_is_written_into_the_run_once_for_each_start() -> None:
    written = verdict.progressed(run(attempt=2))
    assert written == run(attempt=2, progressed=2)
    assert verdict.progressed(run(attempt=2, progressed=2)) is None
    assert verdict.mine(written, run(attempt=2)), "the fence is attempt and owner"
