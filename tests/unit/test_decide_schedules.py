"""Any order of results, any crash, lost answers, two coordinators: the same finished campaign."""

from __future__ import annotations

import functools

import msgspec
import pytest
from coordinator_double import (
    KEY,
    TENANT,
    MemoryWorld,
    Router,
    ask,
    ask_again,
    cancel,
    sequence_of,
    told,
)
from coordinator_schedule import SCHEDULES, is_quiet, run, seeds
from hypothesis import given
from hypothesis import strategies as st

from contracts import subjects
from contracts.brief import Brand, Brief, Fact, Form, Product, Variants
from contracts.campaign import CampaignState
from contracts.requests import PackageCampaign
from services.coordinator.telling import request_id_of

pytestmark = pytest.mark.unit

BRIEF = Brief(
    campaign="k",
    brand=Brand(name="Kestrel"),
    product=Product(
        name="Kestrel Cold Brew",
        what="cold brew in a 250 ml can",
        form=Form.CAN,
        facts=[Fact(value=18, unit="h", label="slow steep")],
    ),
    placements=["instagram_reel", "youtube_bumper", "display_300x250"],
    locales=["en-US", "de-DE"],
    variants=Variants(hooks=2),
)
CHANGED = msgspec.structs.replace(BRIEF, headlines={"hook": "Wake up"})


def package_of(world: MemoryWorld) -> dict[str, str]:
    """Path and hash of every file that the package step was asked to pack."""
    record = world.campaigns[KEY][0]
    job = world.records[KEY][request_id_of(record, "package")]
    return {ref.name: ref.sha256 for ref in job.outputs}


@functools.cache
def finished(*, changed: bool = False) -> dict[str, str]:
    """The package of the undisturbed campaign."""
    brief = CHANGED if changed else BRIEF
    world = MemoryWorld()
    ask(world, brief, "k")
    run(world, Router(world), 0)
    return package_of(world)


def check(world: MemoryWorld) -> None:
    """What must hold of every schedule once it is quiet."""
    assert is_quiet(world)
    record = world.campaigns[KEY][0]
    assert record.state.terminal
    for revision in range(1, record.revision + 1):
        assert told(world, "k", f"campaign_result.{revision}") is not None
    result = told(world, "k", f"campaign_result.{record.revision}")
    assert result.status == record.state
    end = sequence_of(world, "k", f"campaign_result.{record.revision}")
    for request_id, asked in world.asked.items():
        assert asked < end, f"{request_id} was asked for after the end"
    for outcome in result.steps:
        job = world.records[KEY].get(outcome.request_id)
        if job is None:
            assert outcome.status == "skipped"
            continue
        assert job.state.terminal
        name = job.capability.result_event
        event = world.events[subjects.event(TENANT, "k", outcome.request_id, name)]
        assert event.sequence < end, f"{outcome.step} was told after the end"
    if result.status == "ok":
        assert all(outcome.status == "ok" for outcome in result.steps)
        assert result.package is not None


@SCHEDULES
@given(seed=seeds)
def test_every_schedule_with_faults_ends_in_the_same_package(seed: int) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    run(world, Router(world), seed, faulty=0.03)
    check(world)
    assert told(world, "k", "campaign_result.1").status == "ok"
    assert package_of(world) == finished()
    plan = told(world, "k", "campaign_plan.1.production")
    assert plan.last
    assert len(world.asked) == len(told(world, "k", "campaign_result.1").steps)


@SCHEDULES
@given(seed=seeds, when=st.integers(0, 900))
def test_a_rerun_at_any_moment_supersedes_and_ends(seed: int, when: int) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    again = [(when, lambda: ask_again(world, CHANGED, "k", 1))]
    run(world, Router(world), seed, faulty=0.02, client=again)
    check(world)
    record = world.campaigns[KEY][0]
    assert record.revision == 2
    assert record.state is CampaignState.OK
    assert told(world, "k", "rerun_result.1").status == "done"
    assert told(world, "k", "campaign_result.1").status in ("superseded", "ok")
    assert package_of(world) == finished(changed=True)
    assert all(past.fenced for past in record.past)


@SCHEDULES
@given(seed=seeds, when=st.integers(0, 900))
def test_a_cancel_at_any_moment_ends_everything(seed: int, when: int) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    run(world, Router(world), seed, faulty=0.02, client=[(when, lambda: cancel(world, "k"))])
    check(world)
    answer = told(world, "k", "cancel_result").status
    status = told(world, "k", "campaign_result.1").status
    assert (answer, status) in {("done", "cancelled"), ("too_late", "ok")}


@SCHEDULES
@given(seed=seeds, when=st.integers(0, 500), later=st.integers(0, 500))
def test_a_rerun_that_is_cancelled_ends_both_revisions(seed: int, when: int, later: int) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    client = [
        (when, lambda: ask_again(world, CHANGED, "k", 1)),
        (when + later, lambda: cancel(world, "k")),
    ]
    run(world, Router(world), seed, faulty=0.02, client=client)
    check(world)
    assert all(job.state.terminal for job in world.records[KEY].values())


@SCHEDULES
@given(seed=seeds, when=st.integers(0, 400), later=st.integers(100, 900))
def test_a_rerun_of_a_rerun_ends_as_the_newest(seed: int, when: int, later: int) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    client = [
        (when, lambda: ask_again(world, CHANGED, "k", 1)),
        (when + later, lambda: ask_again(world, BRIEF, "k", 2)),
    ]
    run(world, Router(world), seed, faulty=0.02, client=client)
    check(world)
    record = world.campaigns[KEY][0]
    answer = told(world, "k", "rerun_result.2").status
    assert (record.revision, answer) in {(3, "done"), (2, "refused")}
    assert record.state is CampaignState.OK
    assert package_of(world) == finished(changed=record.revision == 2)
    assert [past.steps for past in record.past[:-1]] == [{}] * (record.revision - 2)


@SCHEDULES
@given(seed=seeds, step=st.sampled_from(["script", "label", "video.hook~9x16", "music"]))
def test_a_failed_step_fails_the_campaign_after_all_others(seed: int, step: str) -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    run(world, Router(world, frozenset([step])), seed, faulty=0.02)
    check(world)
    result = told(world, "k", "campaign_result.1")
    assert result.status == "failed"
    assert result.error.message.startswith(f"step {step}:")
    assert {o.status for o in result.steps} <= {"ok", "failed", "skipped"}


@SCHEDULES
@given(seed=seeds)
def test_a_cancel_that_overtakes_its_brief_meets_it(seed: int) -> None:
    world = MemoryWorld()
    cancel(world, "k")
    run(world, Router(world), seed, faulty=0.02)
    ask(world, BRIEF, "k")
    run(world, Router(world), seed + 1, faulty=0.02)
    check(world)
    assert told(world, "k", "campaign_result.1").status == "cancelled"
    assert not world.asked


def test_an_unusable_script_ends_the_campaign_with_its_reason() -> None:
    world = MemoryWorld()
    router = Router(world)
    ask(world, BRIEF, "k")
    store = router._store

    def broken(tenant: str, name: str, kind: str, body: bytes) -> object:
        return store(tenant, name, kind, b'{"type": "script.v1"}' if name == "script" else body)

    router._store = broken  # type: ignore[method-assign,assignment]  # a writer that went wrong
    run(world, router, 1)
    check(world)
    result = told(world, "k", "campaign_result.1")
    assert (result.status, result.error.code) == ("failed", "SCRIPT_UNUSABLE")


def test_the_package_says_where_each_file_came_from() -> None:
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    bodies: dict[str, bytes] = {}
    gate = world.gate

    def remember(stream: dict[str, object], subject: str, body: bytes) -> None:
        bodies[subject] = body
        gate(stream, subject, body)  # type: ignore[arg-type]  # passed on as it came

    world.gate = remember  # type: ignore[method-assign,assignment]  # requests leave the stream
    run(world, Router(world), 2)
    [body] = [b for s, b in bodies.items() if ".package.k." in s]
    items = {i.path: i for i in msgspec.json.decode(body, type=PackageCampaign).items}
    film = items["films/k-9x16-en-US-b.mp4"]
    assert (film.service, film.revision, film.licence) == ("fake", "1", "Apache-2.0")
    assert film.placements == ["instagram_reel"]
    assert (film.locale, film.variant) == ("en-US", "b")
    assert len(film.inputs) == 6  # three plates, music, voice, timings
    assert film.parameters["width"] == "1080"
    assert "films/k-youtube_bumper-de-DE-a.mp4" in items
    assert "films/k-9x16-en-US-a-poster.jpg" in items
    assert "stills/display_300x250-de-DE.png" in items
    assert "audio/voice-de-DE-b-youtube_bumper.wav" in items
    assert "models/k.glb" in items
    assert not [path for path in items if path.endswith((".media", ".md"))]
