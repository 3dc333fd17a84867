"""What to do next for one job: every transition of a JobRecord stands in this file, and no IO.

A job is looked at through `Facts`, read one by one as they are needed (facts.py). `decide` is
level-triggered: it knows nothing of what has just happened, only of what is, and names one step.
The driver (advance.py) makes the step, writes down what it learned, and asks again; a refused
compare-and-set means that somebody else was faster, so that it looks anew.

    any               its campaign was deleted      -> end its run; leave no trace of what was
                                                       not made yet
    new, no run       cancel wanted, too late, its  -> create the run as ended; the run is the
                      service is turned off            arbiter
                      claim on the cache_key:
                        free, or its holder ended, is gone, moved on or waits itself -> take it
                        its holder ended well     -> its outputs are ours (cache), unless they are
                                                     too old, gone, or fresh ones were asked for
                        its holder is at work     -> follow it, unless this job fell back before
                      mine:
                        its breaker is open, and another service may do it -> create the run as
                                                     ended
                        a place in JOBS           -> wait for it
                        passage through the breaker, a probe's included -> wait for it
                        the money, if it costs any: not enough -> create the run as ended
                      all of it                   -> release into JOBS
    new, a run        not ended: cancel wanted -> end it; nobody is at it, and it is too late or
                      turned off -> end it; otherwise release again
                      ok -> ok;  cancelled -> cancelled
                      failed -> the next service, if another one may do better; else failed
    follower          cancel wanted, or too late  -> ended; nothing of it can be running
                      holder ok -> ok;  failed -> failed;  otherwise ended or gone -> new
    ended             tell the result, book the charge, remove the request

Three rules carry it: a record is changed by compare-and-set only; the result is told from the
record, after it has ended; the request stays in its stream until that is done.
"""

from __future__ import annotations

import msgspec

from contracts.errors import (
    AdgenxError,
    BudgetExceededError,
    DeadlineExpiredError,
    DisabledError,
    ErrorInfo,
    JobCancelledError,
    ModelFailedError,
    NoProviderError,
    OutOfMemoryError,
    PoisonError,
    ProviderUnavailableError,
    UnknownIdError,
)
from contracts.jobs import Attempt, CacheClaim, JobRecord, JobState, Made, Run, RunState
from services.router import admission, breaker
from services.router.admission import Admitted
from services.router.facts import (
    UNREAD,
    Ask,
    Erase,
    Facts,
    Held,
    NoRoom,
    Read,
    Release,
    Reserve,
    Rest,
    Seen,
    Step,
    TakeClaim,
    Tell,
    Unread,
    WriteJob,
    WriteRun,
)
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
    for error in (DeadlineExpiredError, JobCancelledError, BudgetExceededError, DisabledError)
)
"""Ends of a leader that say nothing of its followers."""
ABANDONED_SECONDS = 60.0
"""So long after its deadline a run that a worker claims is ended: that worker is gone."""


def decide(facts: Facts) -> Step:  # noqa: PLR0911 - one return for each row of the table
    """Name the next step of a job."""
    if facts.job is None:
        return Rest.ABSENT
    job = facts.job.value
    if facts.closed is UNREAD:
        return Read.CLOSED
    if facts.closed:
        return _closed(facts, job)
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
            return _running(facts, job, run, revision)
        case Seen(value=run):
            return _run_ended(facts, job, run)


def _closed(facts: Facts, job: JobRecord) -> Step:
    """Leave nothing of a job whose campaign was deleted: nobody is told of it any more.

    But what had been made by then is told and charged; its record is the retention's to remove.
    """
    if job.state is JobState.OK and job.made is Made.RUN:
        return _ended(facts, job)
    if job.service and facts.run is UNREAD:
        return Read.RUN
    if isinstance(facts.run, Seen) and not facts.run.value.state.terminal:
        ended = msgspec.structs.replace(facts.run.value, state=RunState.CANCELLED)
        return WriteRun(ended, facts.run.revision)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    return Erase()


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
    hopeless = _hopeless(facts, job, facts.admitted)
    if hopeless is not None:
        return _refuse(facts, hopeless)
    match facts.claim:
        case Unread.UNREAD:
            return TakeClaim(0)
        case Unread.TAKEN:
            return Read.CLAIM
        case None:
            return TakeClaim(0)
        case Seen(value=claim) if claim.leader == facts.key:
            return _begin(facts, job, facts.admitted)
        case Seen(value=claim, revision=revision):
            return _contested(facts, job, facts.admitted, Seen(claim, revision))


def _contested(  # noqa: PLR0911 - one return for each row of the table
    facts: Facts, job: JobRecord, admitted: Admitted, claim: Seen[CacheClaim]
) -> Step:
    """Somebody else holds the claim; it is believed only after reading that one's record."""
    if facts.leader is UNREAD:
        return Read.LEADER
    assert not isinstance(facts.leader, Unread)
    leader = facts.leader.value if facts.leader else None
    if leader is None or leader.cache_key != job.cache_key:
        return TakeClaim(claim.revision)
    if leader.state is JobState.OK and _keeps(facts, admitted, leader):
        if facts.outputs_there is UNREAD:
            return Read.OUTPUTS
        if facts.outputs_there:
            return _take_over(facts, job, leader, Made.CACHE)
    if leader.state.terminal or leader.state is JobState.FOLLOWER:
        return TakeClaim(claim.revision)
    if job.tried:
        # A job that fell back never follows: two that wait for one another would wait for ever.
        return _begin(facts, job, admitted)
    leader_key = claim.value.leader
    return WriteJob(msgspec.structs.replace(job, state=JobState.FOLLOWER, leader=leader_key))


def _keeps(facts: Facts, admitted: Admitted, leader: JobRecord) -> bool:
    """Say whether what an ended leader made may be taken from the cache."""
    return not admitted.request.fresh and facts.now - leader.ended_at < facts.keep_seconds


def _begin(facts: Facts, job: JobRecord, admitted: Admitted) -> Step:  # noqa: PLR0911 - one return for each row of the table
    """Go through every gate that stands before JOBS, the one with money behind it last."""
    if _shut(facts, job, job.service) and _open_elsewhere(facts, job, admitted):
        why = f"{job.service} fails too often at the moment; another service can do it"
        return _refuse(facts, ProviderUnavailableError(why))
    if facts.place is UNREAD:
        return Ask.PLACE
    if facts.place and facts.passage is UNREAD:
        return Ask.PASSAGE
    if not facts.place or not facts.passage:
        return Rest.WAITING
    if job.price > 0:
        match facts.money:
            case NoRoom(left=left, whose=whose):
                return _refuse(facts, _too_dear(job, left, whose))
            case Held.WAIT:
                return Rest.WAITING
            case Unread():
                return Reserve(job.price)
    return Release(again=False)


def _shut(facts: Facts, job: JobRecord, service: str) -> bool:
    """Say whether a breaker lets nobody through, but for its own probe."""
    record = facts.landscape.breakers.get(service)
    if record is None or record.probe == job.job_id:
        return False
    return breaker.room(record, facts.now) == 0


def _open_elsewhere(facts: Facts, job: JobRecord, admitted: Admitted) -> bool:
    tried = frozenset(a.service for a in job.tried) | {job.service}
    route = _route(facts, admitted, tried)
    return route is not None and not _shut(facts, job, route.chosen.manifest.name)


def _running(facts: Facts, job: JobRecord, run: Run, revision: int) -> Step:
    if job.cancel_wanted:
        return WriteRun(msgspec.structs.replace(run, state=RunState.CANCELLED), revision)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    if facts.admitted is None:
        return Rest.WAITING
    if run.state is RunState.IDLE:
        error: AdgenxError | None = _hopeless(facts, job, facts.admitted)
    else:  # its worker ends it in time, if there still is one
        error = admission.expired(facts.admitted, facts.now - ABANDONED_SECONDS)
    if error is None:
        return Release(again=True)
    ended = msgspec.structs.replace(
        run, state=RunState.FAILED, error=error.info(), ended_at=facts.now
    )
    return WriteRun(ended, revision)


def _hopeless(facts: Facts, job: JobRecord, admitted: Admitted) -> AdgenxError | None:
    """Return why a job that no worker is at shall not be begun."""
    off = facts.landscape.off.get(job.service)
    if off is not None:
        return DisabledError(f"{job.service} is turned off: {off}")
    return admission.expired(admitted, facts.now)


def _run_ended(facts: Facts, job: JobRecord, run: Run) -> Step:
    ended_at = run.ended_at or facts.now
    attempt = Attempt(
        service=job.service, starts=run.attempt, error=run.error, failures=run.failures
    )
    attempts = [*job.tried, attempt]
    match run.state:
        case RunState.OK:
            return WriteJob(
                msgspec.structs.replace(
                    job,
                    state=JobState.OK,
                    outputs=run.outputs,
                    charge=min(run.cost, job.price),
                    made=Made.RUN,
                    tried=attempts,
                    started_at=run.started_at,
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
                    started_at=run.started_at,
                    ended_at=ended_at,
                )
            )
        case _:
            began = msgspec.structs.replace(job, started_at=run.started_at)
            return _run_failed(facts, began, run, attempts)


def _run_failed(facts: Facts, job: JobRecord, run: Run, attempts: list[Attempt]) -> Step:
    error = run.error or ModelFailedError("the run failed without saying why").info()
    if job.cancel_wanted or not (error.retryable or error.code in ELSEWHERE):
        return _fail(facts, job, error, attempts)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    if facts.admitted is None:
        return _fail(facts, job, error, attempts)
    route = _route(facts, facts.admitted, frozenset(a.service for a in attempts))
    if route is None:
        return _fail(facts, job, error, attempts)
    again = msgspec.structs.replace(job, tried=attempts, started_at=0.0)
    return WriteJob(admission.with_service(again, facts.admitted.request, route.chosen))


def _route(facts: Facts, admitted: Admitted, tried: frozenset[str]) -> Route | None:
    """Return who may do it beside those; after a refusal for want of money, for what is left."""
    at_most = admission.ceiling(admitted.request)
    if isinstance(facts.money, NoRoom):
        at_most = min(facts.money.left, facts.money.left if at_most is None else at_most)
    try:
        return choose(
            admitted.request, facts.landscape, tried, at_most, deadline_at=admitted.deadline_at
        )
    except (NoProviderError, DisabledError, BudgetExceededError):
        return None


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


def _too_dear(job: JobRecord, left: float, whose: str) -> BudgetExceededError:
    return BudgetExceededError(
        f"{job.service} may cost {job.price:.4g} US dollars, and the {whose} has {left:.4g} left"
    )


def _refuse(facts: Facts, error: AdgenxError) -> WriteRun:
    return WriteRun(_stillborn(facts, RunState.FAILED, error.info()), 0)


def _stillborn(facts: Facts, state: RunState, error: ErrorInfo | None) -> Run:
    """Return a run that ended before any worker claimed it."""
    return Run(attempt=0, owner="", state=state, job_key=facts.key, error=error, ended_at=facts.now)
