"""How long a worker waits before it tries again: never too soon, never past the deadline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.worker import retry
from contracts.errors import (
    AdgenxError,
    ErrorInfo,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)

pytestmark = pytest.mark.unit

AWAY = ProviderUnavailableError("away").info()
DICE = st.floats(0, 1, exclude_max=True)


def limited(seconds: float) -> ErrorInfo:
    return RateLimitedError("later", retry_after_seconds=seconds).info()


def every_error(root: type[AdgenxError] = AdgenxError) -> list[type[AdgenxError]]:
    return [root, *(kind for sub in root.__subclasses__() for kind in every_error(sub))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_what_is_not_retryable_is_never_tried_again(kind: type[AdgenxError]) -> None:
    error = ErrorInfo(code=kind.code, message="m", retryable=kind.retryable)
    assert (retry.pause(1, error, None, 0.5) is None) is not kind.retryable


def test_the_ceiling_doubles_up_to_its_limit() -> None:
    assert [retry.ceiling(n) for n in (1, 2, 3, 7, 8, 9)] == [0.5, 1, 2, 32, 60, 60]


@given(st.integers(1, 10**9), DICE)
def test_the_jitter_is_full(failures: int, dice: float) -> None:
    wait = retry.pause(failures, AWAY, None, dice)
    assert wait == dice * retry.ceiling(failures)
    assert wait is not None
    assert 0 <= wait < retry.LONGEST_SECONDS


@given(st.floats(0.001, retry.WORTH_SECONDS - retry.LONGEST_SECONDS), DICE)
def test_who_says_retry_after_is_left_alone_for_at_least_so_long(after: float, dice: float) -> None:
    wait = retry.pause(1, limited(after), None, dice)
    assert wait is not None
    assert after <= wait <= after + retry.FIRST_SECONDS


@given(st.integers(1, 10), st.floats(0, 1e9), st.floats(0, 1e6), DICE)
def test_no_wait_reaches_the_deadline(
    failures: int, after: float, left: float, dice: float
) -> None:
    wait = retry.pause(failures, limited(after), left, dice)
    assert wait is None or wait < left


@pytest.mark.parametrize("after", [retry.WORTH_SECONDS + 1, 1e9, float("inf")])
def test_nobody_waits_for_years(after: float) -> None:
    assert retry.pause(1, limited(after), None, 0.0) is None


def test_a_refusal_with_retry_after_stays_a_refusal() -> None:
    error = ProviderRefusedError("no", retry_after_seconds=1.0).info()
    assert retry.pause(1, error, None, 0.0) is None


def test_half_a_minute_is_waited_for_in_place_and_no_longer() -> None:
    assert retry.in_place(retry.IN_PLACE_SECONDS)
    assert not retry.in_place(retry.IN_PLACE_SECONDS + 0.001)
