"""What to write and whether to acknowledge: pure decisions about one job's run record.

The rule behind all of them: the message leaves JOBS if and only if the run is terminal or the job
is gone. A worker whose claim was taken over says nothing, neither ack nor nak, since either would
hit the new holder. The fence is (attempt, owner): any other change to the record, such as a
revision that moved, does not void a claim.

A verdict's write is a compare-and-set. Refused, it means: read the record and decide again.

A lost start that may be repeated is written down at once, with the moment before which there is no
further one (`Run.not_before`): claimed, where the worker waits in place, or idle, where it gives
the job back. Either way the attempt counts starts, and the next one is counted when it is made.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bus.worker import retry
from contracts.artifacts import ArtifactRef
from contracts.errors import ChildLostError, ErrorInfo, PoisonError, StalledError
from contracts.jobs import JobRecord, Run, RunState

FAILURES_KEPT = 10
"""Errors of lost starts that a record keeps: the newest."""

_LOST_CODES = frozenset({ChildLostError.code, StalledError.code})


class Act(StrEnum):
    """What is done once the write, if there is one, is stored."""

    RUN = "run"
    """The claim is mine: run the model, or adopt what is finished."""
    WAIT = "wait"
    """The claim is mine and its start was lost: wait so long, then begin another."""
    ACK = "ack"
    """The run is terminal or the job is gone: the message may go."""
    NAK = "nak"
    """The attempt was given back: the message shall come again after the delay, to anybody."""
    SILENCE = "silence"
    """The claim is somebody else's: neither ack nor nak."""


class Verdict(msgspec.Struct, frozen=True):
    """Write this record, if any, then act. `bury`: tell DEAD before the ack. `delay_seconds` is
    for WAIT and NAK; 0 leaves a nak's delay to the worker.
    """

    act: Act
    write: Run | None = None
    bury: bool = False
    delay_seconds: float = 0.0


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """Who decides, and on what terms: `owner` is unique to one delivery in one process;
    `deadline_at` is the job's, in Unix seconds, 0 for none.
    """

    owner: str
    max_attempts: int
    deadline_at: float = 0.0


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


class Refused(msgspec.Struct, frozen=True):
    """No start may be made, now or later: the job fails with this, and the attempt does not count.

    An operator has turned the service off.
    """

    error: ErrorInfo


Outcome = Succeeded | Failed | Lost | Returned | Refused

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
    if run.not_before > now and not adoptable:
        return Verdict(Act.NAK, delay_seconds=run.not_before - now)
    if _lost_starts(run) >= worker.max_attempts and not adoptable:
        return _poison(run, now)
    attempt = run.attempt if adoptable and run.attempt else run.attempt + 1
    claimed = msgspec.structs.replace(
        run, attempt=attempt, owner=worker.owner, state=RunState.CLAIMED, not_before=0.0
    )
    return Verdict(Act.RUN, claimed)


def mine(run: Run | None, held: Run) -> bool:
    """Say whether the record still is the claim that I hold."""
    return (
        run is not None
        and run.state is RunState.CLAIMED
        and (run.attempt, run.owner) == (held.attempt, held.owner)
    )


def settle(
    run: Run | None, held: Run, outcome: Outcome, worker: Worker, now: float, *, dice: float
) -> Verdict:
    """Decide what an outcome means for the record as it is now; `held` is my claim.

    `dice`, uniform in [0, 1), is the jitter of the wait before a further start.
    """
    if not mine(run, held):
        return _lost_claim(run)
    assert run is not None
    match outcome:
        case Succeeded(outputs=outputs, cost=cost):
            ended = msgspec.structs.replace(
                run,
                state=RunState.OK,
                outputs=outputs,
                cost=cost,
                error=None,
                not_before=0.0,
                ended_at=now,
            )
            return Verdict(Act.ACK, ended)
        case Failed(error=error):
            return _fail(run, error, now)
        case Lost(error=error):
            return _lost(run, error, worker, now, dice)
        case Returned():
            return _returned(run, now)
        case Refused(error=error):
            unmade = msgspec.structs.replace(run, attempt=_starts(run))
            return _fail(unmade, error, now)


def resume(run: Run | None, held: Run) -> Verdict:
    """Decide after a wait in place: the next start is counted, if the claim still is mine."""
    if not mine(run, held):
        return _lost_claim(run)
    assert run is not None
    again = msgspec.structs.replace(run, attempt=run.attempt + 1, not_before=0.0)
    return Verdict(Act.RUN, again)


def progressed(held: Run) -> Run | None:
    """Return the record of my claim after it has left a segment behind; None if it says so."""
    if held.progressed == held.attempt:
        return None
    return msgspec.structs.replace(held, progressed=held.attempt)


def _lost_claim(run: Run | None) -> Verdict:
    """Gone (the job was deleted) or terminal (cancelled, or committed by me before): that is the
    truth. Else the claim is somebody else's.
    """
    return _ACK if run is None or run.state.terminal else _SILENCE


def _lost(run: Run, error: ErrorInfo, worker: Worker, now: float, dice: float) -> Verdict:
    if _lost_starts(run) >= worker.max_attempts:
        if error.code in _LOST_CODES:
            return _poison(with_failure(run, error), now)
        return _fail(run, error, now)
    left = worker.deadline_at - now if worker.deadline_at else None
    # The starts and not the failures: a worker that was killed has left no error behind.
    wait = retry.pause(max(1, _lost_starts(run)), error, left, dice)
    if wait is None:
        return _fail(run, error, now)
    noted = msgspec.structs.replace(with_failure(run, error), not_before=now + wait)
    if retry.in_place(wait):
        return Verdict(Act.WAIT, noted, delay_seconds=wait)
    idle = msgspec.structs.replace(noted, owner="", state=RunState.IDLE)
    return Verdict(Act.NAK, idle, delay_seconds=wait)


def _returned(run: Run, now: float) -> Verdict:
    idle = msgspec.structs.replace(run, attempt=_starts(run), owner="", state=RunState.IDLE)
    return Verdict(Act.NAK, idle, delay_seconds=max(0.0, run.not_before - now))


def _starts(run: Run) -> int:
    """Return how many starts count when the claimed one is given back.

    In the middle of a wait the attempt is that of the start which was lost: it stays counted.
    """
    return run.attempt if run.not_before else run.attempt - 1


def _lost_starts(run: Run) -> int:
    """Return how many starts in a row have come to nothing, the claimed one included.

    One that left a segment behind was none of them: the next goes on from there.
    """
    return max(0, run.attempt - run.progressed)


def with_failure(run: Run, error: ErrorInfo) -> Run:
    """Return the run with one more lost start in it."""
    return msgspec.structs.replace(run, failures=[*run.failures, error][-FAILURES_KEPT:])


def poisoned(run: Run) -> bool:
    """Say whether a terminal run belongs into DEAD."""
    return run.error is not None and run.error.code == PoisonError.code


def _fail(run: Run, error: ErrorInfo, now: float) -> Verdict:
    ended = msgspec.structs.replace(
        run, state=RunState.FAILED, error=error, not_before=0.0, ended_at=now
    )
    return Verdict(Act.ACK, ended)


def _poison(run: Run, now: float) -> Verdict:
    why = f": {run.failures[-1].message}" if run.failures else ""
    error = PoisonError(f"{_lost_starts(run)} attempts lost the model's process{why}").info()
    return msgspec.structs.replace(_fail(run, error, now), bury=True)
