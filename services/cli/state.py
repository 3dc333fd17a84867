"""What a watcher knows of a campaign: a fold over its events and progress. Pure; no clock, no IO.

Events may come in any order, twice, or only after the fact: the same set of them gives the same
picture. Of several revisions only the newest is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.events import (
    AnyEvent,
    CampaignPlan,
    CampaignResult,
    GenerationRequest,
    GenerationResult,
    Progress,
    StepOutcome,
    StepSummary,
)


@dataclass
class StepView:
    """One step as it is shown. Times are Unix seconds, 0 for not yet."""

    summary: StepSummary
    service: str = ""
    status: str = "waiting"
    made: str = ""
    phase: str = ""
    done: int = 0
    total: int = 0
    fraction: float = 0.0
    asked_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    seconds: float = 0.0
    error: str = ""

    @property
    def ended(self) -> bool:
        """Say whether the step has told its result."""
        return self.status in ("ok", "failed", "cancelled")

    @property
    def kind(self) -> str:
        """Return the step name's first part: what its duration is remembered under."""
        return self.summary.step.partition("~")[0].partition(".")[0]


@dataclass
class CampaignView:
    """A campaign's newest revision. `complete` once every stage has been planned."""

    campaign_id: str
    revision: int = 0
    brief_hash: str = ""
    steps: dict[str, StepView] = field(default_factory=dict)
    complete: bool = False
    result: CampaignResult | None = None
    _results: dict[str, GenerationResult] = field(default_factory=dict)
    _outcomes: dict[str, StepOutcome] = field(default_factory=dict)
    _requests: dict[str, GenerationRequest] = field(default_factory=dict)

    def see(self, event: AnyEvent) -> list[StepView]:
        """Take an event in; return the steps that ended with it."""
        if isinstance(event, CampaignPlan):
            return self._planned(event)
        if isinstance(event, CampaignResult):
            if event.revision >= self.revision:
                self._turn_to(event.revision)
                self.result = event
                return self._summed_up(event)
            return []
        if isinstance(event, GenerationRequest):
            self._requests[event.request_id] = event
            step = self.steps.get(event.request_id)
            if step is not None:
                self._asked(step)
            return []
        if isinstance(event, GenerationResult):
            fresh = event.request_id not in self._results
            self._results[event.request_id] = event
            step = self.steps.get(event.request_id)
            if step is not None and fresh:
                news = not step.ended
                self._ended(step)
                return [step] if news else []
        return []

    def see_progress(self, progress: Progress) -> None:
        """Take a progress tick in; an older one than what is shown changes nothing."""
        step = self.steps.get(progress.request_id)
        if step is None or step.ended:
            return
        step.status = "running"
        step.phase, step.service = progress.phase, progress.service
        step.done, step.total, step.fraction = progress.done, progress.total, progress.fraction
        step.asked_at = step.asked_at or progress.at
        step.started_at = step.started_at or progress.at

    @property
    def ended_count(self) -> int:
        """Count the steps that are over."""
        return sum(step.ended for step in self.steps.values())

    @property
    def running(self) -> list[StepView]:
        """Return the steps at work now, in the plan's order."""
        return [step for step in self.steps.values() if step.status == "running"]

    @property
    def begun_at(self) -> float:
        """Return when the first step was asked for, 0 for not yet."""
        return min((s.asked_at for s in self.steps.values() if s.asked_at), default=0.0)

    def _turn_to(self, revision: int) -> None:
        if revision > self.revision:
            self.revision = revision
            self.steps.clear()
            self.complete = False
            self.result = None

    def _planned(self, event: CampaignPlan) -> list[StepView]:
        if event.revision < self.revision:
            return []
        self._turn_to(event.revision)
        self.complete = self.complete or event.last
        self.brief_hash = event.labels.get("brief", self.brief_hash)
        ended = []
        for summary in event.steps:
            if summary.request_id in self.steps:
                continue
            step = self.steps[summary.request_id] = StepView(summary)
            if summary.request_id in self._requests:
                self._asked(step)
            if summary.request_id in self._results:
                self._ended(step)
            elif summary.request_id in self._outcomes:
                _settle(step, self._outcomes[summary.request_id])
            if step.ended:
                ended.append(step)
        return ended

    def _summed_up(self, event: CampaignResult) -> list[StepView]:
        """Take over how steps ended whose own results have not been seen: they may come later."""
        told = (o for o in event.steps if o.status in ("ok", "failed"))
        self._outcomes = {o.request_id: o for o in told}
        ended = []
        for step in self.steps.values():
            outcome = self._outcomes.get(step.summary.request_id)
            if outcome is not None and not step.ended:
                _settle(step, outcome)
                ended.append(step)
        return ended

    def _asked(self, step: StepView) -> None:
        event = self._requests[step.summary.request_id]
        step.asked_at = step.asked_at or event.at
        step.service = step.service or event.provider
        if step.status == "waiting":
            step.status = "asked"

    def _ended(self, step: StepView) -> None:
        event = self._results[step.summary.request_id]
        step.status, step.made = event.status, event.made
        step.service = event.provider or step.service
        step.seconds = event.latency_ms / 1000
        step.ended_at = event.at
        step.fraction = 1.0
        step.error = event.error.message if event.error else ""


def _settle(step: StepView, outcome: StepOutcome) -> None:
    """End a step as the campaign's result says; its own result says more, and then counts."""
    step.status, step.made = outcome.status, outcome.made
    step.service = step.service or outcome.service
    step.fraction = 1.0
    step.error = outcome.error.message if outcome.error else ""
