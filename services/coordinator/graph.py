"""Where every step of a plan stands: one walk over the build graph. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property

from contracts.artifacts import ArtifactRef
from contracts.campaign import CampaignRecord, Step
from contracts.capability import Capability, Tier
from contracts.codec import BODY_LIMIT, encode
from contracts.errors import (
    AdgenxError,
    BudgetExceededError,
    ChildLostError,
    DisabledError,
    ErrorInfo,
    ModelFailedError,
    NoProviderError,
    OutOfMemoryError,
    PoisonError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    SpoolError,
    StalledError,
    TooLargeError,
)
from contracts.jobs import JobRecord, JobState
from contracts.requests import Request
from services.coordinator import delivery, terms, wiring
from services.coordinator.telling import request_id_of
from services.coordinator.wiring import NotMadeError, OutputMissingError


class Standing(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"
    """A step that it needs is not over."""
    READY = "ready"
    """It can be asked for, and has no record."""
    ASKED = "asked"
    OK = "ok"
    LEFT_OUT = "left_out"
    """It failed, and what it would have changed goes on as it is."""
    NEEDLESS = "needless"
    """It is never asked for: the step in whose place it would be is there."""
    BAD = "bad"
    """It failed or was cancelled."""
    DEAD = "dead"
    """It never will be asked for: something that it needs is missing."""


DONE = frozenset({Standing.OK, Standing.LEFT_OUT, Standing.NEEDLESS})
"""Where nothing more is wanted of a step."""

LEAVES_OUT = frozenset(
    error.code
    for error in (
        NoProviderError,
        DisabledError,
        BudgetExceededError,
        ModelFailedError,
        OutOfMemoryError,
        StalledError,
        ChildLostError,
        PoisonError,
        SpoolError,
        ProviderUnavailableError,
        ProviderTimeoutError,
        RateLimitedError,
    )
)
"""Ends that say something of who was asked: with them an optional step is left out.

The others (a refusal by the provider's rules, an input that cannot be read) say something of what
was asked, which whoever asked must hear.
"""


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
            if job.state is JobState.OK:
                return Standing.OK
            return Standing.LEFT_OUT if self._leaves_out(step, job) else Standing.BAD
        return self._unasked(step, found)

    def _unasked(self, step: Step, found: dict[str, Standing]) -> Standing:
        """Return where a step without a record stands."""
        if step.unless and found[step.unless] is Standing.OK:
            return Standing.NEEDLESS
        needs = [found[need] for need in (*step.needs, *([step.unless] if step.unless else []))]
        if any(n in (Standing.BAD, Standing.DEAD) for n in needs):
            return Standing.DEAD
        if any(n not in DONE for n in needs):
            return Standing.WAITING
        try:
            self._requests[step.name] = self._resolved(step)
        except AdgenxError as error:
            self.errors[step.name] = error.info()
            return Standing.DEAD
        return Standing.READY

    def _leaves_out(self, step: Step, job: JobRecord) -> bool:
        """Say whether a failed step's campaign goes on without it."""
        why = job.error.code if job.error else ""
        drafts = terms.allow_draft(self.record)
        allowed = step.optional == "always" or (step.optional == "drafts" and drafts)
        return allowed and job.state is JobState.FAILED and why in LEAVES_OUT

    def is_draft(self, step: str) -> bool:
        """Say whether a draft engine made a step's output, or anything that went into it."""
        return any(
            job.provenance is not None and job.provenance.tier is Tier.DRAFT
            for job in self.went_into(step).values()
        )

    def went_into(self, step: str) -> dict[str, JobRecord]:
        """Return the records of all steps whose outputs went into a step's, and its own, by name;
        without what was left out, or never asked for.
        """
        found: dict[str, JobRecord] = {}
        seen: set[str] = set()
        stack = [step]
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            job = self.job(name)
            if job is not None and job.state is JobState.OK:
                found[name] = job
                stack += self.steps[name].needs
        return found

    def left_out(self, step: str) -> list[str]:
        """Return what was left out of a step, itself included: each with its error's code."""
        found: dict[str, str] = {}
        seen: set[str] = set()
        stack = [step]
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                stack += self.steps[name].needs
                job = self.job(name)
                if job is not None and self._leaves_out(self.steps[name], job):
                    found[name] = f"{name}: {job.error.code if job.error else job.state}"
        return sorted(found.values())

    def request(self, step: str) -> Request:
        """Return the request of a step whose inputs are there; raises OutputMissingError."""
        return self._requests.get(step) or self._resolved(self.steps[step])

    def body(self, step: str) -> bytes:
        """Return a ready step's message."""
        return encode(self.request(step))

    def _resolved(self, step: Step) -> Request:
        record = self.record
        if step.capability is Capability.PACKAGE and record.plan is not None:
            plain = delivery.filled(record.plan, step, self)
        else:
            plain = wiring.resolve(step.request, self.find, self.is_draft)
        request = wiring.request_of({**plain, **terms.envelope(record, step.name, self._now)})
        if len(encode(request)) > BODY_LIMIT:
            raise TooLargeError(f"the request of step {step.name} is larger than one may be")
        return request

    def find(self, step: str, name: str) -> ArtifactRef:
        """Return an output of a step that is ok; raises OutputMissingError."""
        for ref in self.made(step).outputs:
            if ref.name == name:
                return ref
        raise OutputMissingError(f"step {step} made no {name}")

    def made(self, step: str) -> JobRecord:
        """Return the record of a step that is ok; raises NotMadeError."""
        job = self.job(step)
        if job is None or job.state is not JobState.OK:
            raise NotMadeError(f"step {step} has not been made")
        return job
