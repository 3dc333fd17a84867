"""Where every step of a plan stands: one walk over the build graph. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property

from contracts.artifacts import ArtifactRef
from contracts.campaign import CampaignRecord, Step
from contracts.capability import Capability
from contracts.codec import BODY_LIMIT, encode
from contracts.errors import AdgenxError, ErrorInfo, TooLargeError
from contracts.jobs import JobRecord, JobState
from contracts.requests import Request
from services.coordinator import delivery, terms, wiring
from services.coordinator.telling import request_id_of
from services.coordinator.wiring import OutputMissingError


class Standing(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"
    """A step that it needs is not over."""
    READY = "ready"
    """It can be asked for, and has no record."""
    ASKED = "asked"
    OK = "ok"
    BAD = "bad"
    """It failed or was cancelled."""
    DEAD = "dead"
    """It never will be asked for: something that it needs is missing."""


class Graph:
    """A campaign's plan beside the records of its steps, as of `now` (Unix seconds)."""

    def __init__(
        self, record: CampaignRecord, jobs: Mapping[str, JobRecord], now: float = 0.0
    ) -> None:
        self.record = record
        self.jobs = jobs
        self._now = now
        self.steps = {s.name: s for s in record.plan.steps} if record.plan else {}
        self.errors: dict[str, ErrorInfo] = {}
        self._requests: dict[str, Request] = {}

    def job(self, step: str) -> JobRecord | None:
        """Return the record of a step of the current revision."""
        return self.jobs.get(request_id_of(self.record, step))

    @cached_property
    def standings(self) -> dict[str, Standing]:
        """Where each step stands. The plan lists every step behind the ones it needs."""
        found: dict[str, Standing] = {}
        for step in self.steps.values():
            found[step.name] = self._standing(step, found)
        return found

    def _standing(self, step: Step, found: dict[str, Standing]) -> Standing:
        job = self.job(step.name)
        if job is not None:
            if not job.state.terminal:
                return Standing.ASKED
            return Standing.OK if job.state is JobState.OK else Standing.BAD
        needs = [found[need] for need in step.needs]
        if any(n in (Standing.BAD, Standing.DEAD) for n in needs):
            return Standing.DEAD
        if any(n is not Standing.OK for n in needs):
            return Standing.WAITING
        try:
            self._requests[step.name] = self._resolved(step)
        except AdgenxError as error:
            self.errors[step.name] = error.info()
            return Standing.DEAD
        return Standing.READY

    def request(self, step: str) -> Request:
        """Return the request of a step whose inputs are there; raises OutputMissingError."""
        return self._requests.get(step) or self._resolved(self.steps[step])

    def body(self, step: str) -> bytes:
        """Return a ready step's message."""
        return encode(self.request(step))

    def _resolved(self, step: Step) -> Request:
        record = self.record
        if step.capability is Capability.PACKAGE and record.plan is not None:
            plain = delivery.filled(record.plan, step, self.find, self._made)
        else:
            plain = wiring.resolve(step.request, self.find)
        request = wiring.request_of({**plain, **terms.envelope(record, step.name, self._now)})
        if len(encode(request)) > BODY_LIMIT:
            raise TooLargeError(f"the request of step {step.name} is larger than one may be")
        return request

    def find(self, step: str, name: str) -> ArtifactRef:
        """Return an output of a step that is ok; raises OutputMissingError."""
        for ref in self._made(step).outputs:
            if ref.name == name:
                return ref
        raise OutputMissingError(f"step {step} made no {name}")

    def _made(self, step: str) -> JobRecord:
        job = self.job(step)
        if job is None or job.state is not JobState.OK:
            raise OutputMissingError(f"step {step} has not been made")
        return job
