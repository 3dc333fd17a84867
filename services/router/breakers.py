"""The services' circuit breakers as records: read by every router, changed by compare-and-set."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from contracts.errors import (
    InvalidRequestError,
    MediaRejectedError,
    ModelFailedError,
    ProviderRefusedError,
)
from contracts.governance import BreakerRecord, BreakerState, Failure
from contracts.jobs import RunState
from services.router import breaker
from services.router.board import Board, Shelf
from services.router.breaker import COUNTED, POLICY, Policy
from services.router.operations import Done

if TYPE_CHECKING:
    from contracts.errors import ErrorInfo
    from contracts.jobs import Run
    from contracts.operating import ResetBreaker

log = structlog.get_logger(__name__)

CLOSED = BreakerRecord()
ANSWERS = frozenset(
    error.code
    for error in (InvalidRequestError, MediaRejectedError, ModelFailedError, ProviderRefusedError)
)
"""Errors of a service that works: it looked at the request, and said no."""
SUCCESSES = 1000
"""Successes of a service that are remembered at most; more within a window change nothing."""
HEARD = 10_000
"""Unfinished jobs whose failures are counted at most; a failure of a forgotten one counts once."""


class Breakers:
    """Every service's breaker. The state outlives this process; what went well is counted in it.

    Methods that write raise UnknownOutcomeError; all of them may be repeated.
    """

    def __init__(
        self,
        shelf: Shelf[BreakerRecord],
        clock: Callable[[], float] = time.time,
        policy: Policy = POLICY,
    ) -> None:
        self._board = Board(shelf)
        self._clock = clock
        self._policy = policy
        self._successes: dict[str, deque[float]] = {}
        self._heard: OrderedDict[str, int] = OrderedDict()

    async def refresh(self) -> bool:
        """Read the records; say whether another router has changed one."""
        return await self._board.refresh()

    async def keep_up(self, changed: Callable[[], None]) -> None:
        """Read the records again and again until cancelled; `changed` is called after news."""
        await self._board.keep_up(changed)

    def snapshot(self) -> Mapping[str, BreakerRecord]:
        """Return every record by service."""
        return self._board.values

    def room(self, service: str) -> int | None:
        """Return how many jobs may go to a service now: None for any number, 1 for a probe, 0."""
        return breaker.room(self._known(service), self._clock(), self._policy)

    def probe(self, service: str) -> str:
        """Return the id of the job that is a service's probe now, empty if there is none."""
        return self._known(service).probe

    async def admit(self, service: str, job_id: str) -> bool:
        """Say whether a job may go to the service now, having written it down as the probe where
        the breaker is half-open: of all jobs and routers exactly one hears yes.
        """
        now = self._clock()
        if breaker.admit(self._known(service), job_id, now, self._policy) == (True, CLOSED):
            return True
        allowed = False

        def ask(record: BreakerRecord) -> BreakerRecord:
            nonlocal allowed
            allowed, after = breaker.admit(record, job_id, now, self._policy)
            return after

        await self._change(service, ask)
        return allowed

    async def learn(self, service: str, job_id: str, run: Run) -> None:
        """Take in what a run tells of its service: the starts that failed, and how it ended."""
        at = run.ended_at or self._clock()
        count = len(run.failures)
        known = self._known(service)
        if known.state is not BreakerState.CLOSED and known.probe != job_id:
            # Another router may have made it the probe since, and what its probe says is said once.
            await self._board.look(service)
        # What failed before this process heard of the job was heard by another one, in its time.
        heard = self._heard.get(job_id, count if run.state.terminal else count - 1)
        for number in range(max(0, heard) + 1, count + 1):
            await self.failed(service, job_id, number, run.failures[number - 1], at)
        if not run.state.terminal:
            self._remember(job_id, count)
            return
        self._heard.pop(job_id, None)
        if run.state is RunState.OK or _answered(run):
            await self.succeeded(service, job_id, at)
        elif run.error is not None and run.error.code in COUNTED and run.attempt:
            await self.failed(
                service, job_id, max(run.attempt, len(run.failures) + 1), run.error, at
            )
        else:
            await self.abandoned(service, job_id)

    async def failed(
        self, service: str, job_id: str, attempt: int, error: ErrorInfo, at: float
    ) -> None:
        """Count the failure of a start, once; errors that do not count change nothing."""
        if error.code not in COUNTED:
            return
        failure = Failure(job_id=job_id, attempt=attempt, at=at, code=error.code)
        now = self._clock()
        well = self._well(service, now)

        def count(record: BreakerRecord) -> BreakerRecord:
            return breaker.failed(
                record,
                failure,
                now,
                self._policy,
                retry_after=error.retry_after_seconds,
                successes=well,
            )

        await self._change(service, count)

    async def succeeded(self, service: str, job_id: str, at: float) -> None:
        """Take in that a job went well; nothing is written unless it was the probe."""
        self._successes.setdefault(service, deque(maxlen=SUCCESSES)).append(at)
        now = self._clock()
        await self._change(service, lambda record: breaker.succeeded(record, job_id, now))

    async def abandoned(self, service: str, job_id: str) -> None:
        """Take in that a job ended without a word on the service, or went elsewhere."""
        now = self._clock()
        await self._change(service, lambda record: breaker.abandoned(record, job_id, now))

    async def reset(self, command: ResetBreaker) -> Done:
        """Close a breaker: somebody has mended what was broken."""
        if self._known(command.service) == CLOSED and not await self._board.refresh():
            return Done(0, f"{command.service}: its breaker is closed and counts no failure")
        before = self._known(command.service)
        now = self._clock()
        after = await self._change(command.service, lambda record: breaker.reset(record, now))
        self._successes.pop(command.service, None)
        if after is before:
            return Done(0, f"{command.service}: its breaker is closed and counts no failure")
        return Done(1, f"{command.service}: its breaker was {before.state} and is closed now")

    async def _change(
        self, service: str, make: Callable[[BreakerRecord], BreakerRecord]
    ) -> BreakerRecord:
        before = self._known(service)

        def change(old: BreakerRecord | None) -> BreakerRecord | None:
            nonlocal before
            before = old or CLOSED
            after = make(before)
            return old if after is before else after

        after = await self._board.change(service, change) or CLOSED
        if after.state is not before.state:
            _report(service, after)
        return after

    def _remember(self, job_id: str, count: int) -> None:
        """Remember how many failures of an unfinished job have been counted."""
        if not count:
            return
        self._heard[job_id] = count
        self._heard.move_to_end(job_id)
        if len(self._heard) > HEARD:
            self._heard.popitem(last=False)

    def _known(self, service: str) -> BreakerRecord:
        return self._board.get(service) or CLOSED

    def _well(self, service: str, now: float) -> int:
        """Count what went well within the window."""
        well = self._successes.get(service, deque())
        while well and well[0] < now - self._policy.window:
            well.popleft()
        return len(well)


def _answered(run: Run) -> bool:
    """Say whether a failed run shows that the service works: it answered, though not well."""
    error = run.error
    return (
        run.state is RunState.FAILED
        and run.attempt > 0
        and error is not None
        and error.code in ANSWERS
    )


def _report(service: str, record: BreakerRecord) -> None:
    if record.state is BreakerState.OPEN:
        codes = sorted({failure.code for failure in record.failures})
        log.warning(
            "breaker.opened",
            service=service,
            openings=record.openings,
            retry_at=record.retry_at,
            codes=codes,
        )
    else:
        log.info("breaker.changed", service=service, state=record.state, probe=record.probe)
