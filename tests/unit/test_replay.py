"""Real campaigns of other versions are decided again by today's code, without another outcome.

Each history is looked at from every point that its own coordinator has looked from, so that an
upgrade is tried in every moment of every campaign. `history.py` says what may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from history import HISTORIES, differences, looks, outline

from contracts.campaign import CampaignState
from contracts.jobs import JobState, Made
from services.coordinator.decide import Close, Seen, Write, decide
from services.coordinator.graph import Graph, Standing
from services.coordinator.telling import Once

pytestmark = pytest.mark.unit

KEPT = sorted(HISTORIES.glob("*.jsonl.gz"))
RERUN = next(path for path in KEPT if "+rerun" in path.name)
CANCELLED = next(path for path in KEPT if "+cancelled" in path.name)
FAILED = next(path for path in KEPT if "+failed" in path.name)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_today_decides_as_it_was_decided(path: Path) -> None:
    assert differences(path, decide) == []


def test_the_histories_hold_what_upgrades_go_wrong_on() -> None:
    records = {path.name: [seen.record for seen, _ in looks(path)] for path in KEPT}
    ends = {record.state for found in records.values() for record in found}
    assert ends >= set(CampaignState) - {CampaignState.DELETED}
    assert any(len(record.brief.locales) > 1 for found in records.values() for record in found)
    assert max(record.revision for record in records[RERUN.name]) == 3
    made = {job.made for seen, _ in looks(RERUN) for job in seen.jobs.values()}
    assert {Made.RUN, Made.CACHE} <= made


def eager(seen: Seen) -> list[Any]:
    """Cancel a step as soon as it could be asked for."""
    graph = Graph(seen.record, seen.jobs, seen.now)
    steps = [n for n, standing in graph.standings.items() if standing is Standing.READY]
    return decide(seen) + [Once(f"adgenx.ctl.x.cancel.c.{n}", b"{}") for n in steps[:1]]


def forgetful(seen: Seen) -> list[Any]:
    """Close nothing."""
    return [command for command in decide(seen) if not isinstance(command, Close)]


def lenient(seen: Seen) -> list[Any]:
    """End well whatever has failed."""
    return [
        Write(msgspec.structs.replace(c.record, state=CampaignState.OK))
        if isinstance(c, Write) and c.record.state is CampaignState.FAILED
        else c
        for c in decide(seen)
    ]


def embroidering(seen: Seen) -> list[Any]:
    """Ask for something else under the same ids."""
    return [
        Once(c.subject, c.body.replace(b'"prompt":"', b'"prompt":"A big '))
        if isinstance(c, Once) and c.subject.startswith("adgenx.req.")
        else c
        for c in decide(seen)
    ]


def talkative(seen: Seen) -> list[Any]:
    """Tell a failed step's campaign that it was made."""
    jobs = {
        key: msgspec.structs.replace(job, state=JobState.OK)
        if job.state is JobState.CANCELLED
        else job
        for key, job in seen.jobs.items()
    }
    return decide(msgspec.structs.replace(seen, jobs=jobs))


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (eager, RERUN),
        (forgetful, RERUN),
        (lenient, FAILED),
        (embroidering, RERUN),
        (talkative, CANCELLED),
    ],
)
def test_a_decide_that_was_changed_is_caught(
    wrong: Callable[[Seen], list[Any]], path: Path
) -> None:
    assert differences(path, wrong)


def richer(seen: Seen) -> list[Any]:
    """Say the same in another order, with a field more in every event."""
    commands = decide(seen)
    messages = [c for c in commands if isinstance(c, Once)]
    more = [
        Once(c.subject, c.body.replace(b"{", b'{"mood":"sunny",', 1))
        if c.subject.startswith("adgenx.evt.")
        else c
        for c in reversed(messages)
    ]
    return [*more, *(c for c in commands if not isinstance(c, Once))]


def test_what_may_change_is_not_taken_for_a_change() -> None:
    assert differences(RERUN, richer) == []
    seen, _ = next(looks(RERUN))
    record = msgspec.structs.replace(seen.record, priority=9, deadline_at=seen.now + 60)
    hurried = msgspec.structs.replace(seen, record=record)
    assert decide(hurried) != decide(seen)
    assert outline(decide(hurried)) == outline(decide(seen))
