"""What to do next for one job: the table of every transition of a JobRecord, and no IO.

A job is looked at through `Facts`, read one by one as they are needed (facts.py). `decide` is
level-triggered: it knows nothing of what has just happened, only of what is, and names one step.
The driver (advance.py) makes the step, writes down what it learned, and asks again; a refused
compare-and-set means that somebody else was faster, so that it looks anew. The rows `new, no run`
are spelled out in beginning.py, how a run or a job ends in ending.py, all others here.

    any               its campaign was deleted      -> end its run; leave no trace of what was
                                                       not made yet
    new, no run       cancel wanted, too late, its  -> create the run as ended; the run is the
                      service is turned off, or has    arbiter
                      been away too long (outage.py)
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
    new, a run        not ended: cancel wanted -> end it; nobody is at it, and it is too late,
                      turned off or away too long -> end it; otherwise release again
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

from contracts.errors import AdgenxError
from contracts.jobs import JobRecord, JobState, Made, Run, RunState
from services.router import admission
from services.router.beginning import hopeless, unstarted
from services.router.ending import OWN_FATE, cancelled, fail, run_ended, take_over
from services.router.facts import (
    UNREAD,
    Erase,
    Facts,
    Read,
    Release,
    Rest,
    Seen,
    Step,
    Tell,
    Unread,
    WriteJob,
    WriteRun,
)

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
            return unstarted(facts, job)
        case Seen(value=run, revision=revision) if not run.state.terminal:
            return _running(facts, job, run, revision)
        case Seen(value=run):
            return run_ended(facts, job, run)


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


def _running(facts: Facts, job: JobRecord, run: Run, revision: int) -> Step:
    if job.cancel_wanted:
        return WriteRun(msgspec.structs.replace(run, state=RunState.CANCELLED), revision)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    if facts.admitted is None:
        return Rest.WAITING
    if run.state is RunState.IDLE:
        error: AdgenxError | None = hopeless(facts, job, facts.admitted)
    else:  # its worker ends it in time, if there still is one
        error = admission.expired(facts.admitted, facts.now - ABANDONED_SECONDS)
    if error is None:
        return Release(again=True)
    ended = msgspec.structs.replace(
        run, state=RunState.FAILED, error=error.info(), ended_at=facts.now
    )
    return WriteRun(ended, revision)


def _follower(facts: Facts, job: JobRecord) -> Step:  # noqa: PLR0911 - one return for each row of the table
    if job.cancel_wanted:
        return cancelled(job, facts.now)
    late = admission.expired(facts.admitted, facts.now) if facts.admitted else None
    if late is not None:
        return fail(facts, job, late.info())
    if facts.leader is UNREAD:
        return Read.LEADER
    assert not isinstance(facts.leader, Unread)
    leader = facts.leader.value if facts.leader else None
    if leader is not None and leader.state is JobState.OK and leader.cache_key == job.cache_key:
        return take_over(facts, job, leader, Made.FOLLOWER)
    if leader is not None and leader.state is JobState.FAILED:
        error = leader.error
        if error is not None and error.code not in OWN_FATE:
            return fail(facts, msgspec.structs.replace(job, tried=leader.tried), error)
    if leader is None or leader.state.terminal:
        # Promoted: it goes on by itself.
        return WriteJob(msgspec.structs.replace(job, state=JobState.NEW, leader=""))
    return Rest.WAITING
