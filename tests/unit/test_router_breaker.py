"""The circuit breaker: its table row by row, and what holds under every sequence of events."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.governance import BreakerRecord, BreakerState, Failure
from services.router import breaker
from services.router.breaker import COUNTED, KEPT, POLICY

pytestmark = pytest.mark.unit

NOW = 1000.0
CLOSED = BreakerRecord()


def failure(job: str = "j", attempt: int = 1, at: float = NOW, code: str = "STALLED") -> Failure:
    return Failure(job_id=job, attempt=attempt, at=at, code=code)


def after(count: int, record: BreakerRecord = CLOSED, *, successes: int = 0) -> BreakerRecord:
    for number in range(count):
        record = breaker.failed(record, failure(f"j{number}"), NOW, successes=successes)
    return record


OPENED = after(5)
PROBING = breaker.admit(OPENED, "p", OPENED.retry_at).record


def test_five_failures_open_and_four_do_not() -> None:
    assert after(4).state is BreakerState.CLOSED
    assert breaker.room(after(4), NOW) is None
    assert (OPENED.state, OPENED.openings, OPENED.retry_at) == (BreakerState.OPEN, 1, NOW + 30)


def test_five_of_ten_open_and_five_of_eleven_do_not() -> None:
    assert after(5, successes=5).state is BreakerState.OPEN
    assert after(5, successes=6).state is BreakerState.CLOSED
    assert after(6, successes=6).state is BreakerState.OPEN


def test_only_the_window_counts() -> None:
    late = breaker.failed(after(4), failure("late", at=NOW + 31), NOW + 31)
    assert [f.job_id for f in late.failures] == ["late"]
    assert breaker.failed(CLOSED, failure(at=NOW - 31), NOW) is CLOSED


def test_a_start_counts_once_and_another_start_of_the_job_again() -> None:
    once = after(1)
    assert breaker.failed(once, failure("j0"), NOW) is once
    assert len(breaker.failed(once, failure("j0", attempt=2), NOW).failures) == 2


@pytest.mark.parametrize(
    "code", ["MODEL_FAILED", "PROVIDER_REFUSED", "INVALID_PARAMS", "OUT_OF_MEMORY", "CANCELLED"]
)
def test_an_answer_is_no_failure(code: str) -> None:
    assert breaker.failed(after(4), failure("x", code=code), NOW) == after(4)


def test_while_it_is_open_nobody_goes_and_then_one() -> None:
    early = NOW + 29.9
    assert breaker.room(OPENED, early) == 0
    assert breaker.admit(OPENED, "p", early) == (False, OPENED)
    assert breaker.room(OPENED, NOW + 30) == 1
    assert (PROBING.state, PROBING.probe) == (BreakerState.HALF_OPEN, "p")
    assert breaker.room(PROBING, NOW + 31) == 0
    assert breaker.admit(PROBING, "another", NOW + 31) == (False, PROBING)
    assert breaker.admit(PROBING, "p", NOW + 31) == (True, PROBING)


def test_a_probe_that_is_done_closes_and_forgets() -> None:
    closed = breaker.succeeded(PROBING, "p", NOW + 40)
    assert closed == BreakerRecord(changed_at=NOW + 40)
    # what failed before it was mended says nothing of it
    assert breaker.failed(closed, failure("old", at=NOW + 39), NOW + 41) is closed


def test_a_probe_that_fails_opens_for_twice_as_long_up_to_ten_minutes() -> None:
    record, now, pauses = OPENED, OPENED.retry_at, []
    for number in range(8):
        record = breaker.admit(record, f"p{number}", now).record
        record = breaker.failed(record, failure(f"p{number}", at=now), now)
        pauses.append(record.retry_at - now)
        now = record.retry_at
    assert pauses == [60, 120, 240, 480, 600, 600, 600, 600]
    assert breaker.pause_of(10**6) == 600


def test_others_do_not_decide_for_the_probe() -> None:
    assert breaker.succeeded(PROBING, "another", NOW + 40) is PROBING
    assert breaker.failed(PROBING, failure("another"), NOW + 40) is PROBING
    assert breaker.abandoned(PROBING, "another", NOW + 40) is PROBING
    assert breaker.succeeded(OPENED, "j0", NOW + 1) is OPENED
    assert breaker.succeeded(after(4), "j0", NOW + 1) == after(4)


def test_a_probe_that_was_cancelled_makes_way_at_once() -> None:
    free = breaker.abandoned(PROBING, "p", NOW + 40)
    assert (free.openings, breaker.room(free, NOW + 40)) == (1, 1)


def test_a_probe_that_never_ends_is_given_up() -> None:
    since = PROBING.probe_since + POLICY.patience
    assert breaker.room(PROBING, since - 1) == 0
    allowed, record = breaker.admit(PROBING, "next", since)
    assert (allowed, record.probe) == (True, "next")


@pytest.mark.parametrize(("asked", "pause"), [(5, 30), (90, 90), (10**9, 600)])
def test_retry_after_is_respected_within_reason(asked: float, pause: float) -> None:
    fifth = failure("fifth", code="RATE_LIMITED")
    opened = breaker.failed(after(4), fifth, NOW, retry_after=asked)
    assert opened.retry_at == NOW + pause
    sixth = failure("sixth", code="RATE_LIMITED")
    later = breaker.failed(OPENED, sixth, NOW + 10, retry_after=asked)
    assert later.retry_at == max(NOW + 30, NOW + 10 + min(asked, 600))


def test_a_reset_closes_whatever_it_was() -> None:
    assert breaker.reset(CLOSED, NOW) is CLOSED
    for record in (OPENED, PROBING, after(2)):
        assert breaker.reset(record, NOW + 1) == BreakerRecord(changed_at=NOW + 1)


# what holds whatever happens

_codes = st.sampled_from([*sorted(COUNTED), "MODEL_FAILED"])
_jobs = st.sampled_from([f"j{n}" for n in range(8)])
_events = st.lists(
    st.tuples(
        st.sampled_from(["failed", "succeeded", "abandoned", "admit", "admit", "reset"]),
        _jobs,
        st.integers(1, 3),
        _codes,
        st.sampled_from([0.0, 1.0, 20.0, 40.0, 700.0]),
        st.sampled_from([0.0, 0.0, 45.0, 1e12]),
    ),
    max_size=120,
)


@given(_events)
def test_at_most_one_probe_no_pause_beyond_bounds_and_a_way_back(
    events: list[tuple[str, str, int, str, float, float]],
) -> None:
    record, now = CLOSED, NOW
    for what, job, attempt, code, seconds, asked in events:
        now += seconds
        before, allowed = record, False
        match what:
            case "failed":
                word = failure(job, attempt, now, code)
                record = breaker.failed(record, word, now, retry_after=asked)
                assert breaker.failed(record, word, now, retry_after=asked) == record
            case "succeeded":
                record = breaker.succeeded(record, job, now)
            case "abandoned":
                record = breaker.abandoned(record, job, now)
            case "reset":
                record = breaker.reset(record, now)
            case "admit":
                space = breaker.room(before, now)
                allowed, record = breaker.admit(record, job, now)
                probe = before.state is BreakerState.HALF_OPEN and before.probe == job
                assert allowed is (space != 0 or probe)
                if allowed and space is not None:
                    assert (record.state, record.probe) == (BreakerState.HALF_OPEN, job)
        assert record.openings >= 0
        assert len(record.failures) <= KEPT
        assert (record.probe != "") is (record.state is BreakerState.HALF_OPEN)
        if record.state is BreakerState.OPEN:
            assert record.openings > 0
            assert record.retry_at <= now + POLICY.longest_pause
        if before.state is BreakerState.OPEN and record.state is BreakerState.CLOSED:
            assert what == "reset"
    # However it stands: whoever waits long enough gets through, and a good end closes it.
    later = now + POLICY.longest_pause
    allowed, record = breaker.admit(record, "last", later)
    assert allowed
    assert breaker.room(breaker.succeeded(record, "last", later), later) is None


@given(st.lists(st.floats(0, 60), min_size=5, max_size=5, unique=True))
def test_it_opens_exactly_when_five_lie_within_thirty_seconds(offsets: list[float]) -> None:
    record = CLOSED
    for number, offset in enumerate(sorted(offsets)):
        at = NOW + offset
        record = breaker.failed(record, failure(f"j{number}", at=at), at)
    near = (NOW + max(offsets)) - POLICY.window <= NOW + min(offsets)
    assert (record.state is BreakerState.OPEN) is near


def test_a_record_travels() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PROBING), type=BreakerRecord) == PROBING
