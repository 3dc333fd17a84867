"""The rare interleavings that random schedules seldom meet, step by step."""

from __future__ import annotations

import random

import msgspec
import pytest
from coordinator_double import (
    BRIEF,
    CHANGED,
    KEY,
    TENANT,
    MemoryWorld,
    Router,
    ask,
    ask_again,
    cancel,
    told,
)
from coordinator_schedule import AT, drive, drive_until, serve

from contracts import subjects
from contracts.campaign import CampaignState
from contracts.jobs import JobState
from services.coordinator import reception
from services.coordinator.advance import advance
from services.coordinator.reception import Message
from services.coordinator.telling import request_id_of

pytestmark = pytest.mark.unit


def accepted() -> tuple[MemoryWorld, Router]:
    """A world in which the brief has been taken in, and nothing asked."""
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    [(subject, stored)] = world.requests.items()
    drive(reception.take_brief(world, Message(subject, stored.body, stored.sequence, AT)))
    return world, Router(world)


def finish(world: MemoryWorld, router: Router) -> None:
    """Let the campaign end and be told."""
    serve(world, router)


def ended_but_not_told() -> tuple[MemoryWorld, Router]:
    """A world in which the end is written, and the coordinator died before it told it."""
    world, router = accepted()
    rng = random.Random(0)  # noqa: S311 - one seed is one schedule
    while not world.campaigns[KEY][0].state.terminal:
        look = advance(world, KEY, lambda: AT)
        try:
            drive_until(look, lambda: world.campaigns[KEY][0].state.terminal)
        except StopIteration:
            while router.step(rng):
                pass
        else:
            look.close()
    assert told(world, "k", "campaign_result.1") is None
    return world, router


def test_a_late_close_does_not_hide_a_campaign_that_was_run_again() -> None:
    world, router = ended_but_not_told()
    late = advance(world, KEY, lambda: AT)
    drive_until(late, lambda: told(world, "k", "campaign_result.1") is not None)
    ask_again(world, CHANGED, "k", 1)
    serve(world, router, commands_only=True)
    drive(late)
    assert KEY in world.opened
    finish(world, router)
    assert told(world, "k", "campaign_result.2").status == "ok"


def test_an_end_is_told_before_a_rerun_overwrites_it() -> None:
    world, router = ended_but_not_told()
    ask_again(world, CHANGED, "k", 1)
    serve(world, router, commands_only=True)
    assert told(world, "k", "campaign_result.1").status == "ok"
    assert world.campaigns[KEY][0].revision == 2


def paused_before_its_first_ask(world: MemoryWorld) -> object:
    """A coordinator that has decided to ask for the script, and stands still."""
    script = subjects.request(TENANT, "text", "k", request_id_of(world.campaigns[KEY][0], "script"))
    pausing = advance(world, KEY, lambda: AT)
    for _ in range(7):  # open entry, record and jobs are read; the first message is next
        pausing.send(None)
    assert script not in world.requests
    return pausing


def test_what_a_paused_coordinator_asks_after_a_cancel_is_dead_already() -> None:
    world, router = accepted()
    pausing = paused_before_its_first_ask(world)
    cancel(world, "k")
    finish(world, router)
    assert told(world, "k", "campaign_result.1").status == "cancelled"
    drive(pausing)  # type: ignore[arg-type]  # a coroutine
    assert world.requests
    finish(world, router)
    assert not world.asked
    assert {job.state for job in world.records[KEY].values()} == {JobState.CANCELLED}


def test_what_a_paused_coordinator_asks_after_a_rerun_is_dead_already() -> None:
    world, router = accepted()
    pausing = paused_before_its_first_ask(world)
    first = world.campaigns[KEY][0]
    ask_again(world, CHANGED, "k", 1)
    finish(world, router)
    record = world.campaigns[KEY][0]
    assert (record.revision, record.state) == (2, CampaignState.OK)
    assert told(world, "k", "campaign_result.1").status == "superseded"
    drive(pausing)  # type: ignore[arg-type]  # a coroutine
    finish(world, router)
    job = world.records[KEY][request_id_of(first, "script")]
    assert job.state is JobState.CANCELLED
    assert request_id_of(first, "script") not in world.asked


def test_a_repeated_rerun_is_one_revision() -> None:
    world, router = accepted()
    for _ in range(3):
        ask_again(world, CHANGED, "k", 1)
        serve(world, router, commands_only=True)
    assert world.campaigns[KEY][0].revision == 2
    finish(world, router)
    assert told(world, "k", "rerun_result.1").status == "done"


def test_a_rerun_on_the_wrong_base_is_refused() -> None:
    world, router = accepted()
    ask_again(world, CHANGED, "k", 7)
    finish(world, router)
    answer = told(world, "k", "rerun_result.7")
    assert (answer.status, answer.error.code) == ("refused", "CONFLICT")
    assert world.campaigns[KEY][0].revision == 1


def test_a_rerun_of_nothing_is_unknown_and_leaves_nothing() -> None:
    world = MemoryWorld()
    ask_again(world, CHANGED, "k", 1)
    serve(world, Router(world))
    assert told(world, "k", "rerun_result.1").status == "unknown"
    assert not world.campaigns
    assert not world.opened


def test_a_bad_brief_does_not_stop_the_good_one_that_is_under_way() -> None:
    world, router = accepted()
    ask_again(world, msgspec.structs.replace(BRIEF, placements=["billboard"]), "k", 1)
    serve(world, router, commands_only=True)
    answer = told(world, "k", "rerun_result.1")
    assert (answer.status, answer.error.field) == ("refused", "placements[0]")
    finish(world, router)
    assert told(world, "k", "campaign_result.1").status == "ok"


def test_a_superseded_step_that_the_new_plan_uses_is_left_running() -> None:
    world, router = accepted()
    drive(advance(world, KEY, lambda: AT))
    first = world.campaigns[KEY][0]
    rng = random.Random(1)  # noqa: S311 - one seed is one schedule
    copy = request_id_of(first, "copy~en-US")
    while copy not in world.records.get(KEY, {}):
        router.step(rng)
    if world.records[KEY][copy].state.terminal:
        pytest.fail("the copy was to be under way still")
    ask_again(world, CHANGED, "k", 1)
    serve(world, router, commands_only=True)
    drive(advance(world, KEY, lambda: AT))
    cancels = [s for s in world.control if s.endswith(copy)]
    assert not cancels  # the headline is no part of the copy's request
    finish(world, router)
    assert world.records[KEY][copy].state is JobState.OK
    assert told(world, "k", "campaign_result.2").status == "ok"


def test_an_equal_rerun_takes_everything_over() -> None:
    world, router = accepted()
    finish(world, router)
    ask_again(world, BRIEF, "k", 1)
    finish(world, router)
    result = told(world, "k", "campaign_result.2")
    assert result.status == "ok"
    assert {step.made for step in result.steps} == {"cache"}
    assert {step.why for step in result.steps} == {"taken over"}


def test_a_changed_headline_says_why_each_step_ran_again() -> None:
    world, router = accepted()
    finish(world, router)
    ask_again(world, CHANGED, "k", 1)
    finish(world, router)
    why = {s.step: s.why for s in told(world, "k", "campaign_result.2").steps if s.made == "run"}
    assert why == {
        "script": "headline changed",
        "still~en-US~display_300x250": "headline changed",
        "package": "input still~en-US~display_300x250 changed, input script changed",
    }
