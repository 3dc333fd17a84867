"""How a job ends, or goes on with another service after its run has ended. Pure.

The rows of the table in decide.py for a run that has ended, and the words in which every other row
ends a job.
"""

from __future__ import annotations

import msgspec

from contracts.errors import (
    BudgetExceededError,
    DeadlineExpiredError,
    DisabledError,
    ErrorInfo,
    JobCancelledError,
    ModelFailedError,
    NoProviderError,
    OutOfMemoryError,
    PoisonError,
)
from contracts.jobs import Attempt, JobRecord, JobState, Made, Run, RunState
from services.router import admission
from services.router.admission import Admitted
from services.router.facts import UNREAD, Facts, NoRoom, Read, Step, WriteJob
from services.router.routing import Route, choose

ELSEWHERE = frozenset(
    error.code
    for error in (
        ModelFailedError,
        OutOfMemoryError,
        PoisonError,
        DisabledError,
        BudgetExceededError,
    )
)
"""Ends that say something of the service, not of the request: another one may do better.

So does every error that may be repeated (STALLED, CHILD_LOST, RATE_LIMITED, PROVIDER_UNAVAILABLE,
PROVIDER_TIMEOUT, SPOOL): its worker has repeated it already. PROVIDER_REFUSED is none of them: a
provider that read the request and refuses it (400, 413, 422, 451) speaks of the request, and asking
the next one would be paying for a second refusal, or shopping for whoever does not look.
"""
OWN_FATE = frozenset(
    error.code
    for error in (
        DeadlineExpiredError,
        JobCancelledError,
        BudgetExceededError,
        DisabledError,
        NoProviderError,
    )
)
"""Ends of a leader that say nothing of its followers."""


def run_ended(facts: Facts, job: JobRecord, run: Run) -> Step:
    """Take an ended run into the job's record."""
    attempt = Attempt(
        service=job.service, starts=run.attempt, error=run.error, failures=run.failures
    )
    ran = msgspec.structs.replace(job, tried=[*job.tried, attempt], started_at=run.started_at)
    ended_at = run.ended_at or facts.now
    match run.state:
        case RunState.OK:
            return WriteJob(
                msgspec.structs.replace(
                    ran,
                    state=JobState.OK,
                    outputs=run.outputs,
                    charge=min(run.cost, job.price),
                    made=Made.RUN,
                    ended_at=ended_at,
                )
            )
        case RunState.CANCELLED:
            return cancelled(ran, ended_at)
        case _:
            return _run_failed(facts, ran, run)


def _run_failed(facts: Facts, job: JobRecord, run: Run) -> Step:
    """Go on with the next service, if another one may do better."""
    error = run.error or ModelFailedError("the run failed without saying why").info()
    if job.cancel_wanted or not (error.retryable or error.code in ELSEWHERE):
        return fail(facts, job, error)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    if facts.admitted is None:
        return fail(facts, job, error)
    route = elsewhere(facts, facts.admitted, frozenset(a.service for a in job.tried))
    if route is None:
        return fail(facts, job, error)
    again = msgspec.structs.replace(job, started_at=0.0)
    return WriteJob(admission.with_service(again, facts.admitted.request, route.chosen))


def elsewhere(facts: Facts, admitted: Admitted, tried: frozenset[str]) -> Route | None:
    """Return who may do it beside those; after a refusal for want of money, for what is left."""
    at_most = facts.money.left if isinstance(facts.money, NoRoom) else None
    try:
        return choose(
            admitted.request, facts.landscape, tried, at_most, deadline_at=admitted.deadline_at
        )
    except (NoProviderError, DisabledError, BudgetExceededError):
        return None


def take_over(facts: Facts, job: JobRecord, leader: JobRecord, made: Made) -> WriteJob:
    """End with another job's outputs, at no charge."""
    return WriteJob(
        msgspec.structs.replace(
            job,
            state=JobState.OK,
            outputs=leader.outputs,
            provenance=leader.provenance,
            made=made,
            ended_at=facts.now,
        )
    )


def cancelled(job: JobRecord, ended_at: float) -> WriteJob:
    """End as somebody wished."""
    error = JobCancelledError("it was cancelled").info()
    return WriteJob(
        msgspec.structs.replace(job, state=JobState.CANCELLED, error=error, ended_at=ended_at)
    )


def fail(facts: Facts, job: JobRecord, error: ErrorInfo) -> WriteJob:
    """End with an error, which nobody else may mend."""
    return WriteJob(
        msgspec.structs.replace(job, state=JobState.FAILED, error=error, ended_at=facts.now)
    )


def stillborn(facts: Facts, state: RunState, error: ErrorInfo | None) -> Run:
    """Return a run that ended before any worker claimed it."""
    return Run(attempt=0, owner="", state=state, job_key=facts.key, error=error, ended_at=facts.now)
