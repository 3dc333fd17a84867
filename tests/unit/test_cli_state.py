"""What a watcher shows depends on what was told, not on when or how often."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from services.cli.history import History
from services.cli.state import CampaignView

pytestmark = pytest.mark.unit


def plan(revision: int, stage: str, names: list[str], *, last: bool) -> CampaignPlan:
    steps = [StepSummary(step=n, capability="text", request_id=f"r{revision}-{n}") for n in names]
    return CampaignPlan(
        request_id="c", campaign_id="c", revision=revision, stage=stage, steps=steps, last=last
    )


def result(revision: int, name: str, status: str = "ok", made: str = "run") -> GenerationResult:
    return GenerationResult(
        request_id=f"r{revision}-{name}",
        campaign_id="c",
        capability="text",
        status=status,
        provider="draft_copy",
        latency_ms=2000,
        made=made,
        at=5.0,
    )


def asked(revision: int, name: str) -> GenerationRequest:
    return GenerationRequest(
        request_id=f"r{revision}-{name}", campaign_id="c", capability="text", provider="p", at=1.0
    )


TOLD: list[AnyEvent] = [
    plan(1, "script", ["script", "label"], last=False),
    plan(2, "script", ["script", "label"], last=False),
    plan(2, "production", ["film", "package"], last=True),
    asked(2, "script"),
    result(1, "script"),
    result(2, "script", made="cache"),
    result(2, "label"),
    result(2, "film", status="failed"),
    CampaignResult(request_id="c", campaign_id="c", revision=1, status="ok"),
]


def shown(view: CampaignView) -> tuple[object, ...]:
    steps = {n: (s.status, s.made, s.service, s.seconds) for n, s in sorted(view.steps.items())}
    return view.revision, view.complete, view.result, steps


@given(st.permutations(TOLD), st.lists(st.sampled_from(TOLD), max_size=6))
def test_any_order_with_any_repeats_shows_the_same(
    order: list[AnyEvent], repeats: list[AnyEvent]
) -> None:
    expected, view = CampaignView("c"), CampaignView("c")
    for event in TOLD:
        expected.see(event)
    for event in [*order, *repeats]:
        view.see(event)
    assert shown(view) == shown(expected)
    assert view.revision == 2
    assert view.result is None
    assert view.ended_count == 3


@given(st.permutations(TOLD))
def test_every_ended_step_is_told_once(order: list[AnyEvent]) -> None:
    view = CampaignView("c")
    ended = [s.summary.request_id for event in [*order, *order] for s in view.see(event)]
    newest = [name for name in ended if name.startswith("r2-")]
    assert sorted(newest) == ["r2-film", "r2-label", "r2-script"]


LATE: list[AnyEvent] = [
    plan(1, "all", ["script", "film"], last=True),
    result(1, "script"),
    CampaignResult(
        request_id="c",
        campaign_id="c",
        revision=1,
        status="ok",
        steps=[
            StepOutcome(step=n, request_id=f"r1-{n}", status="ok", made="run", service="draft_copy")
            for n in ("script", "film")
        ],
    ),
    result(1, "film"),
]


@given(st.permutations(LATE))
def test_a_campaigns_result_ends_the_steps_whose_own_results_come_later(
    order: list[AnyEvent],
) -> None:
    view, expected = CampaignView("c"), CampaignView("c")
    ended = []
    for event in order:
        ended += [s.summary.step for s in view.see(event)]
        if view.steps and view.result is not None:
            assert view.ended_count == 2
    for event in LATE:
        expected.see(event)
    assert sorted(ended) == ["film", "script"]
    assert shown(view) == shown(expected)


def test_progress_after_the_result_changes_nothing() -> None:
    view = CampaignView("c")
    for event in TOLD:
        view.see(event)
    before = shown(view)
    tick = Progress(
        request_id="r2-script",
        campaign_id="c",
        service="s",
        phase="x",
        done=1,
        total=2,
        fraction=0.5,
        attempt=1,
        at=1.0,
    )
    view.see_progress(tick)
    assert shown(view) == before
    view.see_progress(msgspec.structs.replace(tick, request_id="r2-package"))
    assert [s.summary.step for s in view.running] == ["package"]


def test_an_eta_comes_from_what_was_measured() -> None:
    history = History()
    view = CampaignView("c")
    for event in (
        plan(1, "all", ["film~en-US~9x16", "film~en-US~1x1"], last=True),
        result(1, "film~en-US~9x16"),
    ):
        view.see(event)
    assert history.eta(view) is None
    history.learn(view, wall_seconds=1.0)
    assert history.seconds == {"film": 2.0}
    eta = history.eta(view)
    assert eta is not None
    assert 0 < eta <= 2.0
