"""What to write and whether to acknowledge: pure decisions about one job's run record.

The rule behind all of them: the message leaves JOBS if and only if the run is terminal or the job
is gone. A worker whose claim was taken over says nothing, neither ack nor nak, since either would
hit the new holder. The fence is (attempt, owner): any other change to the record, such as a
revision that moved, does not void a claim.

A verdict's write is a compare-and-set. Refused, it means: read the record and decide again.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.errors import ChildLostError, ErrorInfo, PoisonError, StalledError
from contracts.jobs import JobRecord, Run, RunState

_LOST_CODES = frozenset({ChildLostError.code, StalledError.code})


class Act(StrEnum):
    """What is done once the write, if there is one, is stored."""

    RUN = "run"
    """The claim is mine: run the model, or adopt what is finished."""
    ACK = "ack"
    """The run is terminal or the job is gone: the message may go."""
    NAK = "nak"
    """The attempt was given back: the message shall come again, to anybody."""
    SILENCE = "silence"
    """The claim is somebody else's: neither ack nor nak."""


class Verdict(msgspec.Struct, frozen=True):
    """Write this record, if any, then act. `bury`: tell DEAD before the ack."""

    act: Act
    write: Run | None = None
    bury: bool = False


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """Who decides: `owner` is unique to one delivery in one process."""

    owner: str
    max_attempts: int


class Succeeded(msgspec.Struct, frozen=True):
    """The outputs are stored and durable; `cost` in US dollars."""

    outputs: list[ArtifactRef]
    cost: float


class Failed(msgspec.Struct, frozen=True):
    """It failed on its merits: the same would happen again."""

    error: ErrorInfo


class Lost(msgspec.Struct, frozen=True):
    """It may succeed when tried again: the child was lost, or something was away for a moment."""

    error: ErrorInfo


class Returned(msgspec.Struct, frozen=True):
    """The worker cannot go on, through no fault of the job: the attempt does not count."""


Outcome = Succeeded | Failed | Lost | Returned

_ACK = Verdict(Act.ACK)
_SILENCE = Verdict(Act.SILENCE)


def wanted(job: JobRecord | None, service: str) -> bool:
    """Say whether a message still has a live job behind it; without one, nothing may run."""
    return job is not None and not job.state.terminal and job.service == service


def claim(run: Run | None, worker: Worker, *, job_key: str, adoptable: bool, now: float) -> Verdict:
    """Decide about a delivered message whose job is wanted.

    `adoptable`: a finished result of this job lies at hand, so that no child is started.
    """
    if run is None:
        first = Run(
            attempt=1,
            owner=worker.owner,
            state=RunState.CLAIMED,
            job_key=job_key,
            started_at=now,
        )
        return Verdict(Act.RUN, first)
    if run.state.terminal:
        return Verdict(Act.ACK, bury=poisoned(run))
    if run.owner == worker.owner:
        return Verdict(Act.RUN)  # my own claim, whose answer I never heard
    if run.attempt >= worker.max_attempts and not adoptable:
        return _poison(run, run.error, now)
    attempt = run.attempt if adoptable and run.attempt else run.attempt + 1
    claimed = msgspec.structs.replace(
        run, attempt=attempt, owner=worker.owner, state=RunState.CLAIMED
    )
    return Verdict(Act.RUN, claimed)


def mine(run: Run | None, held: Run) -> bool:
    """Say whether the record still is the claim that I hold."""
    return (
        run is not None
        and run.state is RunState.CLAIMED
        and (run.attempt, run.owner) == (held.attempt, held.owner)
    )


def settle(  # noqa: PLR0911 - one return for each row of the table
    run: Run | None, held: Run, outcome: Outcome, worker: Worker, now: float
) -> Verdict:
    """Decide what an outcome means for the record as it is now; `held` is my claim."""
    if run is None:
        return _ACK  # the job was deleted
    if run.state.terminal:
        return _ACK  # cancelled, or committed by me before: that is the truth
    if not mine(run, held):
        return _SILENCE
    match outcome:
        case Succeeded(outputs=outputs, cost=cost):
            ended = msgspec.structs.replace(
                run, state=RunState.OK, outputs=outputs, cost=cost, error=None, ended_at=now
            )
            return Verdict(Act.ACK, ended)
        case Failed(error=error):
            return _fail(run, error, now)
        case Lost(error=error) if run.attempt < worker.max_attempts:
            again = msgspec.structs.replace(run, attempt=run.attempt + 1, error=error)
            return Verdict(Act.RUN, again)
        case Lost(error=error) if error.code in _LOST_CODES:
            return _poison(run, error, now)
        case Lost(error=error):
            return _fail(run, error, now)
        case Returned():
            idle = msgspec.structs.replace(
                run, attempt=run.attempt - 1, owner="", state=RunState.IDLE
            )
            return Verdict(Act.NAK, idle)


def poisoned(run: Run) -> bool:
    """Say whether a terminal run belongs into DEAD."""
    return run.error is not None and run.error.code == PoisonError.code


def _fail(run: Run, error: ErrorInfo, now: float) -> Verdict:
    ended = msgspec.structs.replace(run, state=RunState.FAILED, error=error, ended_at=now)
    return Verdict(Act.ACK, ended)


def _poison(run: Run, last: ErrorInfo | None, now: float) -> Verdict:
    why = f": {last.message}" if last else ""
    error = PoisonError(f"{run.attempt} attempts lost the model's process{why}").info()
    return msgspec.structs.replace(_fail(run, error, now), bury=True)
