"""Every row of the router's transition table."""

from __future__ import annotations

import msgspec
import pytest
from router_facts import (
    ASKED,
    CONTESTED,
    FREE,
    MINE,
    NOW,
    REF,
    admitted,
    facts,
    job,
    leader,
    run,
    service,
)

from contracts.errors import (
    ErrorInfo,
)
from contracts.governance import BreakerRecord, BreakerState
from contracts.jobs import Attempt, JobRecord, JobState, Made, RunState
from services.router.decide import decide
from services.router.facts import (
    TAKEN,
    UNREAD,
    Ask,
    Erase,
    Facts,
    Held,
    NoRoom,
    Read,
    Release,
    Reserve,
    Rest,
    TakeClaim,
    Tell,
    WriteJob,
    WriteRun,
)
from services.router.landscape import Landscape, landscape_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("what", "step"),
    [
        (facts(None), Rest.ABSENT),
        (facts(job()), Read.RUN),
        (facts(job(), run=None), Read.MESSAGE),
        (facts(job(), **FREE), TakeClaim(0)),
        (facts(job(), **FREE, claim=TAKEN), Read.CLAIM),
        (facts(job(), **FREE, claim=None), TakeClaim(0)),
        (facts(job(), **MINE), Ask.PLACE),
        (facts(job(), **MINE, place=False), Rest.WAITING),
        (facts(job(), **MINE, place=True), Ask.PASSAGE),
        (facts(job(), **MINE, place=True, passage=False), Rest.WAITING),
        (facts(job(), **MINE, place=True, passage=True), Release(again=False)),
        (facts(job(price=2.0), **MINE, place=True, passage=True), Reserve(2.0)),
        (
            facts(job(price=2.0), **MINE, place=True, passage=True, money=Held.WAIT),
            Rest.WAITING,
        ),
        (
            facts(job(price=2.0), **MINE, place=True, passage=True, money=Held.RESERVED),
            Release(again=False),
        ),
        (facts(job(), closed=UNREAD), Read.CLOSED),
        (facts(job(), closed=True), Read.RUN),
        (facts(job(), closed=True, run=None), Read.MESSAGE),
        (facts(job(), closed=True, run=None, message_sequence=9), Erase()),
        (facts(job(state=JobState.OK), closed=True, run=None, message_sequence=None), Erase()),
        (facts(job(), **CONTESTED), Read.LEADER),
        (facts(job(), **CONTESTED, leader=None), TakeClaim(8)),
        (facts(job(), **CONTESTED, leader=leader(cache_key="moved on")), TakeClaim(8)),
        (facts(job(), **CONTESTED, leader=leader(state=JobState.FAILED)), TakeClaim(8)),
        (facts(job(), **CONTESTED, leader=leader(state=JobState.CANCELLED)), TakeClaim(8)),
        (facts(job(), **CONTESTED, leader=leader(state=JobState.FOLLOWER)), TakeClaim(8)),
        (facts(job(), **CONTESTED, leader=leader(state=JobState.OK)), Read.OUTPUTS),
        (
            facts(job(), **CONTESTED, leader=leader(state=JobState.OK), outputs_there=False),
            TakeClaim(8),
        ),
        (
            facts(job(tried=[Attempt(service="x")]), **CONTESTED, leader=leader()),
            Ask.PLACE,
        ),
        (facts(job(), run=run(RunState.CLAIMED)), Read.MESSAGE),
        (facts(job(), run=run(RunState.CLAIMED), message_sequence=None), Rest.WAITING),
        (facts(job(), **ASKED, run=run(RunState.CLAIMED)), Release(again=True)),
        (facts(job(), **ASKED, run=run(RunState.IDLE)), Release(again=True)),
        (facts(job(state=JobState.FOLLOWER, leader="acme.-.other")), Read.LEADER),
        (
            facts(job(state=JobState.FOLLOWER, leader="acme.-.other"), leader=leader()),
            Rest.WAITING,
        ),
        (facts(job(state=JobState.OK)), Read.MESSAGE),
        (facts(job(state=JobState.OK), message_sequence=9), Tell()),
        (facts(job(state=JobState.OK), message_sequence=None), Rest.TOLD),
        (facts(job(state=JobState.CANCELLED, request_hash=""), message_sequence=None), Rest.TOLD),
        (
            facts(
                job(state=JobState.CANCELLED, request_hash="", labels={"capability": "image"}),
                message_sequence=None,
            ),
            Tell(),
        ),
    ],
)
def test_the_next_step(what: Facts, step: object) -> None:
    assert decide(what) == step


def written(what: Facts) -> JobRecord:
    step = decide(what)
    assert isinstance(step, WriteJob)
    return step.job


def test_an_alive_leader_is_followed() -> None:
    after = written(facts(job(), **CONTESTED, leader=leader()))
    assert (after.state, after.leader) == (JobState.FOLLOWER, "acme.-.other")


def test_a_hit_takes_the_outputs_and_costs_nothing() -> None:
    holder = leader(state=JobState.OK, outputs=[REF], charge=3.0)
    after = written(facts(job(), **CONTESTED, leader=holder, outputs_there=True))
    assert (after.state, after.made, after.charge) == (JobState.OK, Made.CACHE, 0.0)
    assert after.outputs == [REF]


def test_a_wish_to_cancel_is_decided_by_the_run() -> None:
    wished = job(cancel_wanted=True)
    unborn = decide(facts(wished, run=None))
    assert isinstance(unborn, WriteRun)
    assert (unborn.run.state, unborn.revision) == (RunState.CANCELLED, 0)
    alive = decide(facts(wished, run=run(RunState.CLAIMED)))
    assert isinstance(alive, WriteRun)
    assert (alive.run.state, alive.revision) == (RunState.CANCELLED, 5)
    paid = job(cancel_wanted=True, price=3.0)
    won = written(facts(paid, run=run(RunState.OK, outputs=[REF], cost=2.0)))
    assert (won.state, won.charge) == (JobState.OK, 2.0)


def test_a_deadline_is_decided_by_the_run() -> None:
    late = {**FREE, "admitted": admitted(deadline_seconds=10)}
    step = decide(facts(job(), **late))
    assert isinstance(step, WriteRun)
    assert step.run.error is not None
    assert step.run.error.code == "DEADLINE_EXPIRED"


@pytest.mark.parametrize(
    ("code", "retryable", "elsewhere"),
    [
        ("STALLED", True, True),
        ("CHILD_LOST", True, True),
        ("MODEL_FAILED", False, True),
        ("OUT_OF_MEMORY", False, True),
        ("POISON", False, True),
        ("RATE_LIMITED", True, True),
        ("PROVIDER_UNAVAILABLE", True, True),
        ("PROVIDER_TIMEOUT", True, True),
        ("NOT_IMPLEMENTED", False, True),
        ("BUDGET", False, True),
        ("PROVIDER_REFUSED", False, False),
        ("CANCELLED", False, False),
        ("INVALID_PARAMS", False, False),
        ("MEDIA_REJECTED", False, False),
        ("ARTIFACT_MISSING", False, False),
        ("DEADLINE_EXPIRED", False, False),
    ],
)
def test_which_failures_another_service_may_mend(
    code: str, *, retryable: bool, elsewhere: bool
) -> None:
    error = ErrorInfo(code=code, message="m", retryable=retryable)
    after = written(facts(job(), **ASKED, run=run(RunState.FAILED, error=error)))
    assert [a.service for a in after.tried] == ["alpha"]
    if elsewhere:
        assert (after.state, after.service) == (JobState.NEW, "beta")
        assert after.cache_key != job().cache_key
    else:
        assert (after.state, after.error) == (JobState.FAILED, error)


def refused(what: Facts) -> ErrorInfo:
    """Why a run is created as failed, so that no worker can claim it."""
    step = decide(what)
    assert isinstance(step, WriteRun)
    assert (step.run.state, step.revision) == (RunState.FAILED, 0)
    assert step.run.error is not None
    return step.run.error


@pytest.mark.parametrize("said", [{"max_cost": 0.5}, {"budget": {"amount": 0.5}}])
def test_a_job_does_not_fall_back_to_one_that_costs_more_than_it_says(
    said: dict[str, object],
) -> None:
    error = ErrorInfo(code="MODEL_FAILED", message="m")
    known = {"message_sequence": 9, "run": run(RunState.FAILED, error=error)}
    assert written(facts(job(), **known, admitted=admitted())).service == "beta"
    after = written(facts(job(), **known, admitted=admitted(**said)))
    assert (after.state, after.error) == (JobState.FAILED, error)


def test_a_charge_is_what_it_cost_and_never_more_than_its_price() -> None:
    for cost, charge in ((1.0, 1.0), (9.0, 2.0)):
        after = written(
            facts(job(price=2.0), run=run(RunState.OK, outputs=[REF], cost=cost, started_at=7.0))
        )
        assert (after.charge, after.started_at) == (charge, 7.0)


def test_a_job_without_money_goes_to_one_that_costs_at_most_what_is_left() -> None:
    choices = [service(n, cost=c) for n, c in (("alpha", 5.0), ("beta", 3.0), ("gamma", 4.0))]
    known = {**ASKED, "landscape": landscape_of(choices), "money": NoRoom(3.5, "campaign")}
    dear = job(price=5.0)
    gates = {"place": True, "passage": True, "claim": MINE["claim"]}
    error = refused(facts(dear, **known, **gates, run=None))
    assert (error.code, error.message) == (
        "BUDGET",
        "alpha may cost 5 US dollars, and the campaign has 3.5 left",
    )
    stillborn = run(RunState.FAILED, attempt=0, error=error)
    after = written(facts(dear, **known, run=stillborn))
    assert (after.state, after.service, after.price) == (JobState.NEW, "beta", 3.0)
    poor = {**known, "money": NoRoom(1.0, "tenant")}
    assert written(facts(dear, **poor, run=stillborn)).error == error


def test_a_service_that_is_off_is_not_begun() -> None:
    both = {n: service(n) for n in ("alpha", "beta")}
    off = Landscape(services=both, off={"alpha": "x"})
    known = {**ASKED, "landscape": off}
    assert refused(facts(job(), **known, run=None)).code == "NOT_IMPLEMENTED"
    idle = decide(facts(job(), **known, run=run(RunState.IDLE)))
    assert isinstance(idle, WriteRun)
    assert idle.run.error is not None
    assert (idle.run.error.code, idle.revision) == ("NOT_IMPLEMENTED", 5)
    assert decide(facts(job(), **known, run=run(RunState.CLAIMED))) == Release(again=True)


def test_who_was_named_is_not_replaced() -> None:
    known = {"message_sequence": 9, "admitted": admitted(provider="alpha")}
    error = ErrorInfo(code="NOT_IMPLEMENTED", message="m")
    after = written(facts(job(), **known, run=run(RunState.FAILED, attempt=0, error=error)))
    assert (after.state, after.error) == (JobState.FAILED, error)


def broken_alpha(*names: str) -> Landscape:
    record = BreakerRecord(state=BreakerState.OPEN, retry_at=NOW + 10)
    return Landscape(services={n: service(n) for n in names}, breakers={"alpha": record}, now=NOW)


def test_an_open_breaker_sends_a_job_elsewhere_and_is_waited_for_where_nobody_else_is() -> None:
    both = {**MINE, "landscape": broken_alpha("alpha", "beta")}
    assert refused(facts(job(), **both)).code == "PROVIDER_UNAVAILABLE"
    alone = {**MINE, "landscape": broken_alpha("alpha")}
    assert decide(facts(job(), **alone)) is Ask.PLACE
    probe = BreakerRecord(state=BreakerState.HALF_OPEN, probe=job().job_id, probe_since=NOW)
    probing = msgspec.structs.replace(broken_alpha("alpha", "beta"), breakers={"alpha": probe})
    assert decide(facts(job(), **{**both, "landscape": probing})) is Ask.PLACE


@pytest.mark.parametrize(
    ("changes", "request_fields", "hit"),
    [
        ({"ended_at": NOW - 99}, {}, True),
        ({"ended_at": NOW - 101}, {}, False),
        ({"ended_at": NOW - 1}, {"fresh": True}, False),
    ],
)
def test_what_is_too_old_or_unwanted_is_made_anew(
    changes: dict[str, float], request_fields: dict[str, object], *, hit: bool
) -> None:
    holder = leader(state=JobState.OK, outputs=[REF], **changes)
    known = {**CONTESTED, "admitted": admitted(**request_fields), "keep_seconds": 100.0}
    step = decide(facts(job(), **known, leader=holder, outputs_there=True))
    assert isinstance(step, WriteJob) if hit else step == TakeClaim(8)


def test_a_fresh_request_follows_what_is_being_made() -> None:
    known = {**CONTESTED, "admitted": admitted(fresh=True)}
    assert written(facts(job(), **known, leader=leader())).state is JobState.FOLLOWER


def test_a_claim_whose_worker_is_gone_ends_a_minute_after_its_deadline() -> None:
    for past, ended in ((50, False), (70, True)):
        late = {**ASKED, "admitted": admitted(deadline_seconds=400 - past)}
        step = decide(facts(job(), **late, run=run(RunState.CLAIMED)))
        assert isinstance(step, WriteRun) is ended


def test_a_cancelled_job_does_not_fall_back() -> None:
    error = ErrorInfo(code="STALLED", message="m", retryable=True)
    what = facts(job(cancel_wanted=True), **ASKED, run=run(RunState.FAILED, error=error))
    assert written(what).state is JobState.FAILED


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ({"state": JobState.OK, "outputs": [REF]}, JobState.OK),
        ({"state": JobState.OK, "cache_key": "another service's"}, JobState.NEW),
        ({"state": JobState.FAILED, "error": ErrorInfo(code="X", message="m")}, JobState.FAILED),
        (
            {"state": JobState.FAILED, "error": ErrorInfo(code="DEADLINE_EXPIRED", message="m")},
            JobState.NEW,
        ),
        (
            {"state": JobState.FAILED, "error": ErrorInfo(code="BUDGET", message="m")},
            JobState.NEW,
        ),
        ({"state": JobState.CANCELLED}, JobState.NEW),
    ],
)
def test_what_becomes_of_a_follower(end: dict[str, object], state: JobState) -> None:
    follower = job(state=JobState.FOLLOWER, leader="acme.-.other")
    assert written(facts(follower, leader=leader(**end))).state is state


def test_a_deadline_ends_a_follower() -> None:
    follower = job(state=JobState.FOLLOWER, leader="acme.-.other")
    late = {**ASKED, "admitted": admitted(deadline_seconds=10)}
    after = written(facts(follower, **late, leader=leader()))
    assert after.error is not None
    assert after.error.code == "DEADLINE_EXPIRED"


def test_a_follower_whose_leader_is_gone_goes_on_alone() -> None:
    follower = job(state=JobState.FOLLOWER, leader="acme.-.other")
    assert written(facts(follower, leader=None)).state is JobState.NEW


def test_facts_begin_unread() -> None:
    fresh = facts(job())
    assert (fresh.run, fresh.claim, fresh.leader) == (UNREAD, UNREAD, UNREAD)
