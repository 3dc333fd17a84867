"""What an operator types: what cannot be meant is refused by name, before anything is said."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from contracts.errors import ErrorInfo
from contracts.events import Candidate, GenerationRequest, GenerationResult
from contracts.jobs import Attempt
from services.cli.explain import Story, show
from services.cli.main import main

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("budget set acme nan", "no amount of US dollars"),
        ("budget set acme inf", "no amount of US dollars"),
        ("budget set acme much", "no amount of US dollars"),
        ("budget set acme/a.b 3", "campaign"),
        ("budget set acme/ 3", "campaign"),
        ("cache invalidate", "--prompt"),
        ("cache invalidate --key 12", "cache_key"),
        ("priority r1 first", "no rank"),
        ("priority r1 1000001", "no rank"),
        ("flag longcat --reason hot", "on, off or default"),
        ("flag Long.Cat", "no service's name"),
        ("flag Long.Cat off", "no service's name"),
        ("breaker reset ../x", "no service's name"),
        ("explain a.b", "request"),
    ],
)
def test_what_cannot_be_meant(
    line: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("structlog.configure", lambda **_: None)  # it would silence other tests
    assert main(line.split()) == 2
    assert words in capsys.readouterr().err


TIMEOUT = ErrorInfo(code="PROVIDER_TIMEOUT", message="no [answer]", retryable=True)
ASKED = GenerationRequest(
    request_id="r1",
    campaign_id="summer",
    capability="video",
    provider="longcat",
    tier="production",
    duration=5.0,
    budget=2.0,
    candidates=[
        Candidate(service="longcat", chosen=True, fit=True, reason="it is the only one", cost=0.42),
        Candidate(service="hunyuan", reason="its licence excludes DE"),
    ],
)
RESULT = GenerationResult(
    request_id="r1",
    capability="video",
    status="ok",
    provider="hailuo",
    tier="draft",
    latency_ms=412_300,
    run_ms=80_200,
    cost_estimate=0.0012,
    made="run",
    attempts=[
        Attempt(service="longcat", starts=2, error=TIMEOUT, failures=[TIMEOUT]),
        Attempt(service="hailuo", starts=1),
    ],
)


def told(story: Story) -> str:
    out = io.StringIO()
    show(story, Console(file=out, width=80, highlight=False))
    return out.getvalue()


def test_a_story_says_who_why_how_often_and_for_how_much() -> None:
    text = told(Story("summer", "r1", ASKED, RESULT))
    lines = text.splitlines()
    assert lines[0] == "r1 of summer"
    assert "for at most $2.00" in lines[1]
    assert any("✗  hunyuan" in line and "its licence excludes DE" in line for line in lines)
    assert any("✓  longcat" in line and "$0.42" in line for line in lines)
    assert text.count("PROVIDER_TIMEOUT: no [answer]") == 2
    assert "tried again" in text
    flat = " ".join(text.split())
    assert "ok by hailuo as a draft: it was made; 412.3 s after it was asked" in flat
    assert flat.endswith("charged $0.0012")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"made": "cache", "cost_estimate": 0.0}, "taken from the cache: nothing was made"),
        ({"made": "follower"}, "shared with an equal request"),
        ({"status": "failed", "error": TIMEOUT}, "failed: PROVIDER_TIMEOUT: no [answer]; charged"),
    ],
)
def test_a_hit_says_that_it_is_one(changes: dict[str, object], words: str) -> None:
    fields = {f: getattr(RESULT, f) for f in RESULT.__struct_fields__} | changes
    text = told(Story("-", "r1", None, GenerationResult(**fields)))
    assert words in " ".join(text.split())


LOST = ErrorInfo(code="CHILD_LOST", message="status 9", retryable=True)
POISON = ErrorInfo(code="POISON", message="3 attempts lost the model's process")
CANCELLED = ErrorInfo(code="CANCELLED", message="somebody cancelled it")


@pytest.mark.parametrize(
    ("attempt", "again"),
    [
        (Attempt(service="a", starts=3, error=POISON, failures=[LOST, LOST, LOST]), 2),
        # Its worker was killed with it once: such a start has left no failure behind.
        (Attempt(service="a", starts=3, error=POISON, failures=[LOST, LOST]), 1),
        (Attempt(service="a", starts=2, error=CANCELLED, failures=[LOST, LOST]), 1),
        (Attempt(service="a", starts=2, error=CANCELLED, failures=[LOST]), 1),
        (Attempt(service="a", starts=3, failures=[LOST, LOST]), 2),
    ],
)
def test_a_start_that_nothing_came_after_was_not_tried_again(attempt: Attempt, again: int) -> None:
    result = GenerationResult(request_id="r1", capability="video", status="ok", attempts=[attempt])
    text = told(Story("-", "r1", None, result))
    assert text.count("CHILD_LOST") == len(attempt.failures)
    assert text.count("tried again") == again


def test_what_is_not_over_says_so() -> None:
    assert "it is not over yet" in told(Story("-", "r1", ASKED, None))
