"""A service without a ready worker: how long it is waited for, and what becomes of its jobs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_facts import ASKED, FREE, MINE, NOW, admitted, facts, job, leader, message, run, service

from contracts.errors import ErrorInfo, UnknownOutcomeError
from contracts.governance import BreakerRecord, BreakerState
from contracts.jobs import JobState, RunState
from contracts.manifest import ServiceRecord, ServiceState
from contracts.requests import GenerateImage
from services.router import admission
from services.router.decide import decide
from services.router.facts import Ask, Facts, Release, TakeClaim, WriteJob, WriteRun
from services.router.landscape import PATIENCE, Landscape
from services.router.outage import DEADLINE_PART
from services.router.relief import FIRST_SECONDS, Relief, stage
from services.router.watch import GAP_SECONDS, Watch

pytestmark = pytest.mark.unit

LONG, SHORT = PATIENCE.move, PATIENCE.move - 1
REASON = "the model does not load: bad weights"


def broken(name: str, reason: str = REASON) -> ServiceRecord:
    gone = service(name, state=ServiceState.UNAVAILABLE)
    return msgspec.structs.replace(gone, reason=reason)


def away(seconds: float, *services: ServiceRecord, **more: object) -> Landscape:
    """Return services of which those that are not ready have been away so long."""
    ready = [s.manifest.name for s in services if s.state is ServiceState.READY]
    return Landscape(
        services={s.manifest.name: s for s in services},
        watch=Watch(since=NOW - seconds, until=NOW, ready_at=dict.fromkeys(ready, NOW)),
        now=NOW,
        **more,  # type: ignore[arg-type]  # names as in the class
    )


def ended(what: Facts) -> tuple[ErrorInfo, int]:
    """Return why the next step ends the run, and the revision that it compares with."""
    step = decide(what)
    assert isinstance(step, WriteRun)
    assert step.run.state is RunState.FAILED
    assert step.run.error is not None
    return step.run.error, step.revision


BOTH = (broken("alpha"), service("beta"))


@pytest.mark.parametrize(("known", "revision"), [(None, 0), (run(RunState.IDLE), 5)])
def test_what_nobody_has_begun_goes_to_the_next_and_says_why(known: object, revision: int) -> None:
    asked = {**ASKED, "landscape": away(LONG, *BOTH), "run": known}
    error, compared = ended(facts(job(), **asked))
    assert (error.code, compared) == ("PROVIDER_UNAVAILABLE", revision)
    assert error.message == f"alpha has been unavailable for 60 s: {REASON}"
    after = decide(facts(job(), **{**asked, "run": run(RunState.FAILED, attempt=0, error=error)}))
    assert isinstance(after, WriteJob)
    assert (after.job.state, after.job.service) == (JobState.NEW, "beta")
    assert [(a.service, a.starts, a.error) for a in after.job.tried] == [("alpha", 0, error)]


def test_a_restart_is_waited_for() -> None:
    calm = away(SHORT, *BOTH)
    assert decide(facts(job(), **{**MINE, "landscape": calm})) is Ask.PLACE
    idle = facts(job(), **ASKED, landscape=calm, run=run(RunState.IDLE))
    assert decide(idle) == Release(again=True)


def test_what_a_worker_has_begun_is_left_to_it() -> None:
    begun = facts(job(), **ASKED, landscape=away(10_000, *BOTH), run=run(RunState.CLAIMED))
    assert decide(begun) == Release(again=True)


@pytest.mark.parametrize(("seconds", "limit"), [(40, 40 / DEADLINE_PART), (4000, LONG)])
def test_a_deadline_shortens_the_patience(seconds: int, limit: float) -> None:
    hurried = admission.admit(
        message(GenerateImage(prompt="a", width=64, height=64, deadline_seconds=seconds))._replace(
            stored_at=NOW - 1
        )
    )
    asked = {**FREE, "admitted": hurried}
    gone = facts(job(), **asked, landscape=away(limit, *BOTH))
    assert ended(gone)[0].code == "PROVIDER_UNAVAILABLE"
    assert decide(facts(job(), **asked, landscape=away(limit - 1, *BOTH))) == TakeClaim(0)


@pytest.mark.parametrize("alone", [(broken("alpha"),), (broken("alpha"), broken("beta")), ()])
def test_where_nobody_else_is_it_is_waited_for_and_given_up_at_last(
    alone: tuple[ServiceRecord, ...],
) -> None:
    waiting = facts(job(), **{**MINE, "landscape": away(PATIENCE.give_up - 1, *alone)})
    assert decide(waiting) is Ask.PLACE
    error, _ = ended(facts(job(), **{**MINE, "landscape": away(PATIENCE.give_up, *alone)}))
    assert error.code == "NO_PROVIDER"
    assert (REASON if alone else "no worker of it is announced") in error.message
    after = decide(facts(job(), **ASKED, run=run(RunState.FAILED, attempt=0, error=error)))
    assert isinstance(after, WriteJob)
    assert (after.job.state, after.job.error) == (JobState.FAILED, error)


def test_one_with_a_deadline_waits_for_it_and_then_says_who_was_missing() -> None:
    early = {**MINE, "admitted": admitted(deadline_seconds=401)}
    gone = away(10 * PATIENCE.give_up, broken("alpha"))
    assert decide(facts(job(), **early, landscape=gone)) is Ask.PLACE
    late = {**MINE, "admitted": admitted(deadline_seconds=399)}
    error, _ = ended(facts(job(), **late, landscape=gone))
    assert error.code == "NO_PROVIDER"
    assert REASON in error.message
    just_gone = away(1, broken("alpha"))
    assert ended(facts(job(), **late, landscape=just_gone))[0].code == "DEADLINE_EXPIRED"


def test_who_was_named_is_waited_for() -> None:
    named = {**MINE, "admitted": admitted(provider="alpha")}
    assert decide(facts(job(), **named, landscape=away(LONG, *BOTH))) is Ask.PLACE


def test_one_whose_breaker_is_open_is_gone_to_only_at_last() -> None:
    shut = {"beta": BreakerRecord(state=BreakerState.OPEN, retry_at=NOW + 10)}
    soon = facts(job(), **{**MINE, "landscape": away(LONG, *BOTH, breakers=shut)})
    assert decide(soon) is Ask.PLACE
    last = facts(job(), **{**MINE, "landscape": away(PATIENCE.give_up, *BOTH, breakers=shut)})
    assert ended(last)[0].code == "PROVIDER_UNAVAILABLE"


def test_a_follower_outlives_a_leader_that_gave_up() -> None:
    error = ErrorInfo(code="NO_PROVIDER", message="m")
    follower = job(state=JobState.FOLLOWER, leader="acme.-.other")
    step = decide(facts(follower, leader=leader(state=JobState.FAILED, error=error)))
    assert isinstance(step, WriteJob)
    assert step.job.state is JobState.NEW


looks = st.lists(st.tuples(st.integers(-5, int(2 * GAP_SECONDS)), st.booleans()), min_size=1)


@given(looks)
def test_only_time_that_was_watched_counts(steps: list[tuple[int, bool]]) -> None:
    """A model that keeps every look: away is the unbroken time since it was there, or since all."""
    watch, now, seen = Watch(), 1000, list[tuple[int, bool]]()
    for pause, there in steps:
        now += pause
        if not 0 <= pause <= GAP_SECONDS:
            seen = []
        seen.append((now, there))
        watch = watch.look(["alpha"] if there else [], now)
        since = next((at for at, ready in reversed(seen) if ready), seen[0][0])
        assert watch.away("alpha") == now - since
        assert watch.away("nobody") == now - seen[0][0]
        assert 0 <= watch.away("alpha") <= watch.away("nobody")


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_looks_at_waiting_jobs_become_seldom(one: float, other: float) -> None:
    first, last = sorted((one, other))
    assert 0 <= stage(first, PATIENCE) <= stage(last, PATIENCE) <= 22
    assert (stage(first, PATIENCE) == 0) is (first < FIRST_SECONDS)
    for limit in PATIENCE:
        if first < limit <= last:
            assert stage(first, PATIENCE) < stage(last, PATIENCE)


class Looker:
    """Counts the looks; the first ones fail if they shall."""

    def __init__(self, failing: int = 0) -> None:
        self.at: list[str] = []
        self._failing = failing

    async def __call__(self, name: str) -> None:
        self.at.append(name)
        if len(self.at) <= self._failing:
            raise UnknownOutcomeError("no answer")


async def test_jobs_are_looked_at_once_for_each_reason() -> None:
    now = [away(1, *BOTH)]
    look_at = Looker(failing=1)
    relief = Relief(lambda: now[0], lambda: ["alpha", "beta"], look_at)
    await relief.look()
    assert look_at.at == []
    now[0] = away(LONG, *BOTH)
    for _ in range(4):
        await relief.look()
    assert look_at.at == ["alpha"] * 2  # the first look failed
    now[0] = away(LONG + 1, *BOTH, service("gamma"))
    await relief.look()
    assert look_at.at == ["alpha"] * 3  # somebody else has come
    now[0] = away(LONG, service("alpha"), service("beta"))
    await relief.look()
    assert look_at.at == ["alpha"] * 3


async def test_a_service_for_which_nobody_waits_is_not_looked_at() -> None:
    look_at = Looker()
    await Relief(lambda: away(LONG, *BOTH), list, look_at).look()
    assert look_at.at == []
