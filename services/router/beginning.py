"""From a new job without a run to JOBS: the claim on its cache key, and the gates after it. Pure.

The rows `new, no run` of the table in decide.py. What keeps a job from being begun for good is
written as a run that has ended: another router may be releasing it at this very moment, and the run
is where it is settled which of the two was first.
"""

from __future__ import annotations

import msgspec

from contracts.errors import (
    AdgenxError,
    BudgetExceededError,
    DisabledError,
    ProviderUnavailableError,
    UnknownIdError,
)
from contracts.jobs import CacheClaim, JobRecord, JobState, Made, RunState
from services.router.admission import Admitted
from services.router.ending import fail, stillborn, take_over
from services.router.facts import (
    UNREAD,
    Ask,
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
    Unread,
    WriteJob,
    WriteRun,
)
from services.router.outage import another, shut, stranded


def unstarted(facts: Facts, job: JobRecord) -> Step:  # noqa: PLR0911 - one return for each row of the table
    """Take the next step towards JOBS."""
    # From here on it may be released by somebody at any moment: only its run record can tell.
    if job.cancel_wanted:
        return WriteRun(stillborn(facts, RunState.CANCELLED, None), 0)
    if facts.message_sequence is UNREAD:
        return Read.MESSAGE
    if facts.admitted is None:
        gone = UnknownIdError("the request was removed before it was done")
        return fail(facts, job, gone.info())
    why = hopeless(facts, job, facts.admitted)
    if why is not None:
        return _refuse(facts, why)
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
            return take_over(facts, job, leader, Made.CACHE)
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
    if shut(facts, job, job.service) and another(facts, job, admitted):
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


def hopeless(facts: Facts, job: JobRecord, admitted: Admitted) -> AdgenxError | None:
    """Return why a job that no worker is at shall not be begun."""
    off = facts.landscape.off.get(job.service)
    if off is not None:
        return DisabledError(f"{job.service} is turned off: {off}")
    return stranded(facts, job, admitted)


def _too_dear(job: JobRecord, left: float, whose: str) -> BudgetExceededError:
    return BudgetExceededError(
        f"{job.service} may cost {job.price:.4g} US dollars, and the {whose} has {left:.4g} left"
    )


def _refuse(facts: Facts, error: AdgenxError) -> WriteRun:
    return WriteRun(stillborn(facts, RunState.FAILED, error.info()), 0)
