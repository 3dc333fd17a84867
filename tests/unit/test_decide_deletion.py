"""A deletion at any moment: what is open is cancelled, what is told is told first, and then for
ever only the tombstone answers.
"""

from __future__ import annotations

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
    delete,
    sequence_of,
    told,
)
from coordinator_schedule import AT, SCHEDULES, drive, drive_until, run, seeds, serve
from hypothesis import given
from hypothesis import strategies as st

from contracts import subjects
from contracts.campaign import CampaignState
from contracts.codec import encode
from services.coordinator import reception
from services.coordinator.advance import advance
from services.coordinator.reception import Message

pytestmark = pytest.mark.unit


def check_deleted(world: MemoryWorld) -> None:
    """Only the tombstone is left of the campaign, and it was told before it was deleted."""
    record = world.campaigns[KEY][0]
    assert record.state is CampaignState.DELETED
    assert b"Kestrel" not in encode(record)
    assert (record.plan, record.outcomes, record.past) == (None, [], [])
    assert not world.opened
    jobs = world.records.get(KEY, {})
    assert all(job.state.terminal for job in jobs.values())
    assert told(world, "k", "delete_result").status == "done"
    end = sequence_of(world, "k", "delete_result")
    assert all(asked < end for asked in world.asked.values())
    assert sequence_of(world, "k", f"campaign_result.{record.revision}") < end


def finished() -> tuple[MemoryWorld, Router]:
    world = MemoryWorld()
    router = Router(world)
    ask(world, BRIEF, "k")
    serve(world, router)
    assert told(world, "k", "campaign_result.1").status == "ok"
    return world, router


@SCHEDULES
@given(seed=seeds, when=st.integers(0, 700))
def test_a_deletion_at_any_moment_leaves_the_tombstone(seed: int, when: int) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    run(world, Router(world), seed, faulty=0.03, client=[(when, lambda: delete(world, "k"))])
    check_deleted(world)
    assert told(world, "k", "campaign_result.1").status in ("cancelled", "ok")


@SCHEDULES
@given(seed=seeds, when=st.integers(0, 500), later=st.integers(0, 60))
def test_a_rerun_that_meets_a_deletion_ends_in_it(seed: int, when: int, later: int) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    client = [
        (when, lambda: ask_again(world, CHANGED, "k", 1)),
        (when + later, lambda: delete(world, "k")),
    ]
    run(world, Router(world), seed, faulty=0.03, client=client)
    check_deleted(world)
    assert told(world, "k", "rerun_result.1").status in ("done", "refused")


def test_a_finished_campaign_is_deleted_as_it_ended() -> None:
    world, router = finished()
    delete(world, "k")
    serve(world, router)
    check_deleted(world)
    assert told(world, "k", "campaign_result.1").status == "ok"


def test_whatever_comes_under_a_deleted_id_is_refused_or_answered() -> None:
    world, router = finished()
    delete(world, "k")
    serve(world, router)
    before = world.campaigns[KEY]
    for brief in (BRIEF, CHANGED, "a film about a can of cold brew"):
        ask(world, brief, "k")
        serve(world, router)
    refusals = [s for s in world.events if ".conflict." in s]
    assert len(refusals) == 3
    ask_again(world, CHANGED, "k", 1)
    cancel(world, "k")
    delete(world, "k")
    serve(world, router)
    again = told(world, "k", "rerun_result.1")
    assert (again.status, again.error.code) == ("refused", "CONFLICT")
    assert "deleted" in again.error.message
    assert told(world, "k", "cancel_result").status == "too_late"
    assert world.campaigns[KEY] == before


def test_a_deletion_that_overtakes_its_brief_meets_it() -> None:
    world = MemoryWorld()
    router = Router(world)
    delete(world, "k")
    serve(world, router)
    assert told(world, "k", "delete_result").status == "unknown"
    ask(world, BRIEF, "k")
    serve(world, router)
    assert world.campaigns[KEY][0].state is CampaignState.DELETED
    assert not world.asked


def test_a_mended_brief_does_not_revive_a_campaign_that_is_being_deleted() -> None:
    world = MemoryWorld()
    router = Router(world)
    ask(world, msgspec.structs.replace(BRIEF, placements=["billboard"]), "k")
    serve(world, router)
    assert world.campaigns[KEY][0].state is CampaignState.FAILED
    drive(reception.take_delete(world, TENANT, "k", AT))
    assert world.campaigns[KEY][0].delete_wanted
    ask(world, BRIEF, "k")
    serve(world, router)
    check_deleted(world)


def test_a_coordinator_that_wakes_after_the_deletion_tells_no_other_end() -> None:
    world = MemoryWorld()
    router = Router(world)
    ask(world, BRIEF, "k")
    [(subject, stored)] = world.requests.items()
    late = reception.take_brief(world, Message(subject, stored.body, stored.sequence, AT))
    drive_until(late, lambda: KEY in world.campaigns)
    serve(world, router)
    delete(world, "k")
    serve(world, router)
    result = world.events[subjects.event(TENANT, "k", "k", "campaign_result.1")]
    drive(late)  # it opens a campaign that is no more
    assert KEY in world.opened
    drive(advance(world, KEY, lambda: AT))
    check_deleted(world)
    assert world.events[subjects.event(TENANT, "k", "k", "campaign_result.1")] == result


def test_without_the_wish_nothing_is_deleted() -> None:
    world, router = finished()
    cancel(world, "k")
    serve(world, router)
    assert world.campaigns[KEY][0].state is CampaignState.OK
    assert told(world, "k", "delete_result") is None
