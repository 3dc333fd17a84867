"""The circuit breaker of one service: every transition of a BreakerRecord, and no IO.

    state      what happens                                    state after
    closed     a failure; with it enough within the window,
               and at least half of what ended there           open for a pause
               a failure that makes it not enough, a success   closed
    open       a failure                                       open; Retry-After may lengthen it
               a success of what was let through before        open
               a job asks, the pause is not over               open, not let through
               a job asks, the pause is over                   half-open: that job is the probe
    half-open  the probe fails                                 open for twice the pause
               the probe is done                               closed, everything forgotten
               the probe ends and says nothing (cancelled),
               or has not ended for a long time, a job asks    half-open: that job is the probe
               any other job ends                              half-open
               any other job asks                              half-open, not let through

A failure is known by its job and the start of its child, so that hearing of it twice counts once.
One that is older than the breaker's last closing says nothing of what was mended since.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from contracts.errors import (
    ChildLostError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    StalledError,
)
from contracts.governance import BreakerRecord, BreakerState, Failure

COUNTED = frozenset(
    error.code
    for error in (
        RateLimitedError,
        ProviderUnavailableError,
        ProviderTimeoutError,
        StalledError,
        ChildLostError,
    )
)
"""Errors that say that a service is unwell. Every other one is an answer: the service works."""

KEPT = 32
"""Failures that a record holds at most: more of them say nothing new."""


class Policy(NamedTuple):
    """When a breaker opens and for how long; seconds.

    It opens at `failures` within `window`, if they are at least `share` of all that ended there.
    The first pause is `pause`; each further one is twice as long, `longest_pause` at most. A probe
    is given up after `patience`.
    """

    failures: int = 5
    window: float = 30.0
    share: float = 0.5
    pause: float = 30.0
    longest_pause: float = 600.0
    patience: float = 600.0


POLICY = Policy()


class Admission(NamedTuple):
    """Whether a job may go to the service, and the record that says so."""

    allowed: bool
    record: BreakerRecord


def failed(
    record: BreakerRecord,
    failure: Failure,
    now: float,
    policy: Policy = POLICY,
    *,
    retry_after: float = 0.0,
    successes: int = 0,
) -> BreakerRecord:
    """Return the record after a failure; the same object if it changes nothing.

    `retry_after` is how long the provider asked to be left alone, in seconds; `successes` counts
    what went well within the window.
    """
    if failure.code not in COUNTED or _known(record, failure):
        return record
    match record.state:
        case BreakerState.CLOSED:
            return _failed_closed(record, failure, now, policy, retry_after, successes)
        case BreakerState.OPEN:
            later = now + min(retry_after, policy.longest_pause)
            if later <= record.retry_at:
                return record
            return msgspec.structs.replace(record, retry_at=later)
        case BreakerState.HALF_OPEN:
            if failure.job_id != record.probe:
                return record
            return _opened(record, [*record.failures, failure], now, policy, retry_after)


def succeeded(record: BreakerRecord, job_id: str, now: float) -> BreakerRecord:
    """Return the record after a job went well; the same object if it changes nothing."""
    if record.state is BreakerState.HALF_OPEN and job_id == record.probe:
        return BreakerRecord(changed_at=now)
    return record


def abandoned(record: BreakerRecord, job_id: str, now: float) -> BreakerRecord:
    """Return the record after a job ended in a way that says nothing of the service: if it was the
    probe, the next one may be it at once.
    """
    if record.state is not BreakerState.HALF_OPEN or job_id != record.probe:
        return record
    return msgspec.structs.replace(
        record,
        state=BreakerState.OPEN,
        retry_at=now,
        probe="",
        probe_since=0.0,
        changed_at=now,
    )


def admit(record: BreakerRecord, job_id: str, now: float, policy: Policy = POLICY) -> Admission:
    """Say whether a job may go to the service. A changed record must be stored before it goes:
    whoever stores it first has the probe. A probe that asks again is let through again.
    """
    if record.state is BreakerState.CLOSED:
        return Admission(allowed=True, record=record)
    if record.state is BreakerState.HALF_OPEN and record.probe == job_id:
        return Admission(allowed=True, record=record)
    if not room(record, now, policy):
        return Admission(allowed=False, record=record)
    probing = msgspec.structs.replace(
        record,
        state=BreakerState.HALF_OPEN,
        probe=job_id,
        probe_since=now,
        changed_at=now,
    )
    return Admission(allowed=True, record=probing)


def room(record: BreakerRecord, now: float, policy: Policy = POLICY) -> int | None:
    """Return how many jobs may go to the service now: None for any number, 1 for a probe, 0."""
    match record.state:
        case BreakerState.CLOSED:
            return None
        case BreakerState.OPEN:
            return int(now >= record.retry_at)
        case BreakerState.HALF_OPEN:
            return int(now - record.probe_since >= policy.patience)


def reset(record: BreakerRecord, now: float) -> BreakerRecord:
    """Return the record after somebody mended the service; the same object if nothing was amiss."""
    if record.state is BreakerState.CLOSED and not record.failures:
        return record
    return BreakerRecord(changed_at=now)


def pause_of(openings: int, policy: Policy = POLICY) -> float:
    """Return the length in seconds of the nth pause in a row, counted from 1."""
    doublings = min(openings - 1, 32)  # 2.0 ** 1024 is an error, not infinity
    return float(min(policy.longest_pause, policy.pause * 2.0**doublings))


def _known(record: BreakerRecord, failure: Failure) -> bool:
    return any((f.job_id, f.attempt) == (failure.job_id, failure.attempt) for f in record.failures)


def _failed_closed(
    record: BreakerRecord,
    failure: Failure,
    now: float,
    policy: Policy,
    retry_after: float,
    successes: int,
) -> BreakerRecord:
    since = max(now - policy.window, record.changed_at)
    if failure.at < since:
        return record
    counted = [*(f for f in record.failures if f.at >= since), failure][-KEPT:]
    enough = len(counted) >= policy.failures
    if enough and len(counted) >= policy.share * (len(counted) + successes):
        return _opened(record, counted, now, policy, retry_after)
    return msgspec.structs.replace(record, failures=counted)


def _opened(
    record: BreakerRecord,
    failures: list[Failure],
    now: float,
    policy: Policy,
    retry_after: float,
) -> BreakerRecord:
    openings = record.openings + 1
    pause = max(pause_of(openings, policy), min(retry_after, policy.longest_pause))
    return BreakerRecord(
        state=BreakerState.OPEN,
        failures=failures[-KEPT:],
        openings=openings,
        opened_at=now,
        retry_at=now + pause,
        changed_at=now,
    )
