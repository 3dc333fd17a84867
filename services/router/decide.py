"""What to do next for one job: every transition of a JobRecord stands in this file, and no IO.

A job is looked at through `Facts`, read one by one as they are needed. `decide` is level-triggered:
it knows nothing of what has just happened, only of what is, and names one step. The driver
(advance.py) makes the step, writes down what it learned, and asks again; a refused compare-and-set
means that somebody else was faster, so that it looks anew.

    new, no run       cancel wanted, or too late  -> create the run as ended; the run is the arbiter
                      claim on the cache_key:
                        free, or its holder ended, is gone, moved on or waits itself -> take it
                        its holder ended well     -> its outputs are ours (cache)
                        its holder is at work     -> follow it, unless this job fell back before
                      mine                        -> release into JOBS
    new, a run        not ended: cancel wanted -> end it; otherwise release again
                      ok -> ok;  cancelled -> cancelled
                      failed -> the next service, if another one may do better; else failed
    follower          cancel wanted, or too late  -> ended; nothing of it can be running
                      holder ok -> ok;  failed -> failed;  otherwise ended or gone -> new
    ended             tell the result, book the charge, remove the request

Three rules carry it: a record is changed by compare-and-set only; the result is told from the
record, after it has ended; the request stays in its stream until that is done.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

import msgspec

from contracts.errors import (
    DeadlineExpiredError,
    ErrorInfo,
    JobCancelledError,
    ModelFailedError,
    NoProviderError,
    OutOfMemoryError,
    PoisonError,
    UnknownIdError,
)
from contracts.jobs import Attempt, CacheClaim, JobRecord, JobState, Made, Run, RunState
from services.router import admission
from services.router.admission import Admitted
from services.router.landscape import Landscape
from services.router.routing import choose

R = TypeVar("R")

ELSEWHERE = frozenset(error.code for error in (ModelFailedError, OutOfMemoryError, PoisonError))
"""Ends that say something of the service, not of the request: another one may do better."""
OWN_FATE = frozenset({DeadlineExpiredError.code, JobCancelledError.code})
"""Ends of a leader that say nothing of its followers."""


class Unread(Enum):
    """A fact that nobody has looked at; TAKEN: a claim that exists, and is not known to be ours."""

    UNREAD = auto()
    TAKEN = auto()


UNREAD = Unread.UNREAD
TAKEN = Unread.TAKEN


class Seen(NamedTuple, Generic[R]):
    """A record as it was read, and the revision to compare with when changing it."""

    value: R
    revision: int


class Facts(msgspec.Struct):
    """What is known of a job. None means: looked, and there is none.

    `message_sequence` is where its message stands in REQUESTS; `admitted` is that message
    understood, None if it never was. `landscape` is what routing looks at; `now` in Unix
    seconds.
    """

    key: str
    job: Seen[JobRecord] | None
    landscape: Landscape
    now: float
    run: Seen[Run] | Unread | None = UNREAD
    claim: Seen[CacheClaim] | Unread | None = UNREAD
    leader: Seen[JobRecord] | Unread | None = UNREAD
    outputs_there: bool | Unread = UNREAD
    message_sequence: int | Unread | None = UNREAD
    admitted: Admitted | None = None


class Read(Enum):
    """Look at one more fact."""

    RUN = auto()
    CLAIM = auto()
    LEADER = auto()
    OUTPUTS = auto()
    MESSAGE = auto()


class WriteRun(NamedTuple):
    """End a run in the worker's stead; revision 0 creates it."""

    run: Run
    revision: int


class WriteJob(NamedTuple):
    """Compare-and-set the job's record against the one in the facts."""

    job: JobRecord


class TakeClaim(NamedTuple):
    """Become the leader of the cache key; revision 0 creates the claim."""

    revision: int


class Release(NamedTuple):
    """Put the job into JOBS; `again`: it has a run, so that it needs no room of its own."""

    again: bool


class Tell(NamedTuple):
    """Tell the result, book the charge, then remove the message."""


class Rest(Enum):
    """Nothing to do now."""

    ABSENT = auto()
    WAITING = auto()
    TOLD = auto()


Step = Read | WriteRun | WriteJob | TakeClaim | Release | Tell | Rest


def decide(facts: Facts) -> Step:  # noqa: PLR0911 - one return for each row of the table
    """Name the next step of a job."""
    if facts.job is None:
        return Rest.ABSENT
    job = facts.job.value
    if job.state.terminal:
        return _ended(facts, job)
    if job.state is JobState.FOLLOWER:
        return _follower(facts, job)
    match facts.run:
        case Unread():
            return Read.RUN
        case None:
            return _unstarted(facts, job)
        case Seen(value=run, revision=revision) if not run.state.terminal:
            return _running(job, run, revision)
        case Seen(value=run):
            return _run_ended(facts, job, run)


def _ended(facts: Facts, job: JobRecord) -> Step:
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    # No message means told, but for a request that was cancelled and never asked; and that one can
    # only be told under the capability that it would have had.
    never_asked = not job.request_hash and admission.CAPABILITY_LABEL in job.labels
    if facts.message_sequence is None and not never_asked:
        return Rest.TOLD
    return Tell()


def _unstarted(facts: Facts, job: JobRecord) -> Step:  # noqa: PLR0911 - one return for each row of the table
    # From here on it may be released by somebody at any moment: only its run record can tell.
    if job.cancel_wanted:
        return WriteRun(_stillborn(facts, RunState.CANCELLED, None), 0)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    if facts.admitted is None:
        gone = UnknownIdError("the request was removed before it was done")
        return _fail(facts, job, gone.info(), job.tried)
    late = admission.expired(facts.admitted, facts.now)
    if late is not None:
        return WriteRun(_stillborn(facts, RunState.FAILED, late.info()), 0)
    match facts.claim:
        case Unread.UNREAD:
            return TakeClaim(0)
        case Unread.TAKEN:
            return Read.CLAIM
        case None:
            return TakeClaim(0)
        case Seen(value=claim) if claim.leader == facts.key:
            return Release(again=False)
        case Seen(value=claim, revision=revision):
            return _contested(facts, job, claim, revision)


def _contested(facts: Facts, job: JobRecord, claim: CacheClaim, revision: int) -> Step:  # noqa: PLR0911 - one return for each row of the table
    """Somebody else holds the claim; it is believed only after reading that one's record."""
    if facts.leader is UNREAD:
        return Read.LEADER
    assert not isinstance(facts.leader, Unread)
    leader = facts.leader.value if facts.leader else None
    if leader is None or leader.cache_key != job.cache_key:
        return TakeClaim(revision)
    if leader.state is JobState.OK:
        if facts.outputs_there is UNREAD:
            return Read.OUTPUTS
        if facts.outputs_there:
            return _take_over(facts, job, leader, Made.CACHE)
    if leader.state.terminal or leader.state is JobState.FOLLOWER:
        return TakeClaim(revision)
    if job.tried:
        # A job that fell back never follows: two that wait for one another would wait for ever.
        return Release(again=False)
    return WriteJob(msgspec.structs.replace(job, state=JobState.FOLLOWER, leader=claim.leader))


def _running(job: JobRecord, run: Run, revision: int) -> Step:
    if not job.cancel_wanted:
        return Release(again=True)
    ended = msgspec.structs.replace(run, state=RunState.CANCELLED)
    return WriteRun(ended, revision)


def _run_ended(facts: Facts, job: JobRecord, run: Run) -> Step:
    ended_at = run.ended_at or facts.now
    attempts = [*job.tried, Attempt(service=job.service, starts=run.attempt, error=run.error)]
    match run.state:
        case RunState.OK:
            return WriteJob(
                msgspec.structs.replace(
                    job,
                    state=JobState.OK,
                    outputs=run.outputs,
                    charge=run.cost,
                    made=Made.RUN,
                    tried=attempts,
                    ended_at=ended_at,
                )
            )
        case RunState.CANCELLED:
            return WriteJob(
                msgspec.structs.replace(
                    job,
                    state=JobState.CANCELLED,
                    error=JobCancelledError("it was cancelled").info(),
                    tried=attempts,
                    ended_at=ended_at,
                )
            )
        case _:
            return _run_failed(facts, job, run, attempts)


def _run_failed(facts: Facts, job: JobRecord, run: Run, attempts: list[Attempt]) -> Step:
    error = run.error or ModelFailedError("the run failed without saying why").info()
    if job.cancel_wanted or not (error.retryable or error.code in ELSEWHERE):
        return _fail(facts, job, error, attempts)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    if facts.admitted is None:
        return _fail(facts, job, error, attempts)
    request = facts.admitted.request
    try:
        route = choose(request, facts.landscape, frozenset(a.service for a in attempts))
    except NoProviderError:
        return _fail(facts, job, error, attempts)
    again = msgspec.structs.replace(job, tried=attempts)
    return WriteJob(admission.with_service(again, request, route.chosen))


def _follower(facts: Facts, job: JobRecord) -> Step:  # noqa: PLR0911 - one return for each row of the table
    if job.cancel_wanted:
        return WriteJob(
            msgspec.structs.replace(
                job,
                state=JobState.CANCELLED,
                error=JobCancelledError("it was cancelled").info(),
                ended_at=facts.now,
            )
        )
    late = admission.expired(facts.admitted, facts.now) if facts.admitted else None
    if late is not None:
        return _fail(facts, job, late.info(), job.tried)
    if facts.leader is UNREAD:
        return Read.LEADER
    assert not isinstance(facts.leader, Unread)
    leader = facts.leader.value if facts.leader else None
    if leader is not None and leader.state is JobState.OK and leader.cache_key == job.cache_key:
        return _take_over(facts, job, leader, Made.FOLLOWER)
    if leader is not None and leader.state is JobState.FAILED:
        error = leader.error
        if error is not None and error.code not in OWN_FATE:
            return _fail(facts, job, error, leader.tried)
    if leader is None or leader.state.terminal:
        # Promoted: it goes on by itself.
        return WriteJob(msgspec.structs.replace(job, state=JobState.NEW, leader=""))
    return Rest.WAITING


def _take_over(facts: Facts, job: JobRecord, leader: JobRecord, made: Made) -> WriteJob:
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


def _fail(facts: Facts, job: JobRecord, error: ErrorInfo, attempts: list[Attempt]) -> WriteJob:
    return WriteJob(
        msgspec.structs.replace(
            job, state=JobState.FAILED, error=error, tried=attempts, ended_at=facts.now
        )
    )


def _stillborn(facts: Facts, state: RunState, error: ErrorInfo | None) -> Run:
    """Return a run that ended before any worker claimed it."""
    return Run(attempt=0, owner="", state=state, job_key=facts.key, error=error, ended_at=facts.now)
