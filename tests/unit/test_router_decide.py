"""Every row of the router's transition table, and routing, release, floor and desk beside it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from contracts.artifacts import ArtifactRef, artifact_key
from contracts.capability import Capability, Tier
from contracts.codec import encode
from contracts.errors import (
    AdgenxError,
    BusUnavailableError,
    ErrorInfo,
    NoProviderError,
)
from contracts.governance import BreakerRecord, BreakerState
from contracts.jobs import Attempt, CacheClaim, JobRecord, JobState, Made, Run, RunState
from contracts.manifest import (
    CostSection,
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.requests import GenerateImage, GenerateVideo, Request
from services.router import admission, telling
from services.router.admission import Admitted, Message
from services.router.decide import decide
from services.router.desk import Desk
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
    Seen,
    TakeClaim,
    Tell,
    WriteJob,
    WriteRun,
)
from services.router.floor import Floor
from services.router.landscape import Landscape, landscape_of
from services.router.release import places
from services.router.routing import choose, provenance

pytestmark = pytest.mark.unit

KEY = "acme.-.r1"
NOW = 500.0
REF = ArtifactRef(key="k", sha256="ab" * 32, media_type="image/png", size_bytes=1)


def service(
    name: str,
    *,
    tag: str = "generate_image.v1",
    tier: Tier = Tier.DRAFT,
    cost: float = 0.0,
    state: ServiceState = ServiceState.READY,
    workers: int = 1,
) -> ServiceRecord:
    return ServiceRecord(
        manifest=Manifest(
            name=name,
            version="1.0.0",
            tier=tier,
            accepts=[tag],
            model=ModelSection(name=f"{name}-model", licence="MIT", commercial_use=True),
            resources=ResourceSection(memory_gb=1, concurrency=3),
            cost=CostSection(per_run=cost),
        ),
        revision="7",
        state=state,
        workers=workers,
        announced_at=NOW,
    )


def message(request: Request | None = None, subject: str = "adgenx.req.acme.image.-.r1") -> Message:
    body = encode(request or GenerateImage(prompt="a", width=64, height=64))
    return Message(subject, body, 9, 100.0)


def admitted(**fields: object) -> Admitted:
    request = msgspec.convert({"prompt": "a", "width": 64, "height": 64} | fields, GenerateImage)
    return admission.admit(message(request))


def job(**changes: object) -> JobRecord:
    made = admission.first_record(admitted(), service("alpha"))
    return msgspec.structs.replace(made, **changes)


def facts(record: JobRecord | None, **known: object) -> Facts:
    seen = Seen(record, 3) if record else None
    made = Facts(
        key=KEY,
        job=seen,
        landscape=landscape_of([service("alpha"), service("beta", cost=1)]),
        now=NOW,
    )
    for name, value in known.items():
        setattr(made, name, value)
    return made


def run(state: RunState, **fields: object) -> Seen[Run]:
    made = Run(attempt=2, owner="w", state=state, job_key=KEY)
    return Seen(msgspec.structs.replace(made, **fields), 5)


ASKED = {"message_sequence": 9, "admitted": admitted()}
FREE = {**ASKED, "run": None}
MINE = {**FREE, "claim": Seen(CacheClaim(leader=KEY), 8)}
CONTESTED = {**FREE, "claim": Seen(CacheClaim(leader="acme.-.other"), 8)}


def leader(**changes: object) -> Seen[JobRecord]:
    return Seen(job(request_id="other", **changes), 4)


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


def test_who_waits_beyond_its_deadline_is_not_waiting() -> None:
    floor = Floor(lambda _: service("alpha", workers=0), lambda: 0.0)
    floor.sync([("alpha", "other")], 1.0)  # the only place is taken
    known = admission.admit(
        message(GenerateImage(prompt="a", width=64, height=64, deadline_seconds=10))
    )
    assert not floor.enter("alpha", job(), known, again=False)
    assert floor.waits(KEY, 105.0)
    assert not floor.waits(KEY, 111.0)


def test_a_follower_whose_leader_is_gone_goes_on_alone() -> None:
    follower = job(state=JobState.FOLLOWER, leader="acme.-.other")
    assert written(facts(follower, leader=None)).state is JobState.NEW


def test_facts_begin_unread() -> None:
    fresh = facts(job())
    assert (fresh.run, fresh.claim, fresh.leader) == (UNREAD, UNREAD, UNREAD)


# routing


def test_the_cheapest_is_chosen_and_the_others_know_why_not() -> None:
    route = choose(
        admitted().request, landscape_of([service("dear", cost=2), service("cheap", cost=1)])
    )
    assert route.chosen.manifest.name == "cheap"
    assert route.refused == {"dear": "another one is preferred"}


@pytest.mark.parametrize(
    ("only", "reason"),
    [
        (service("big", tier=Tier.PRODUCTION), "it makes production, draft was asked for"),
        (service("off", state=ServiceState.UNAVAILABLE), "off: it is not available"),
        (service("idle", workers=0), "idle: it has no workers"),
        (service("other", tag="generate_mesh.v1"), "no announced service accepts"),
    ],
)
def test_why_nobody_may_do_it(only: ServiceRecord, reason: str) -> None:
    with pytest.raises(NoProviderError, match=reason):
        choose(admitted().request, landscape_of([only]))


def test_a_production_request_is_never_a_draft() -> None:
    with pytest.raises(NoProviderError, match="it makes draft, production was asked for"):
        choose(admitted(tier="production").request, landscape_of([service("draft_image")]))


def test_a_named_provider_is_the_only_candidate() -> None:
    services = [service("cheap"), service("named", cost=9)]
    assert (
        choose(admitted(provider="named").request, landscape_of(services)).chosen.manifest.name
        == "named"
    )
    with pytest.raises(NoProviderError, match="nobody was asked for"):
        choose(admitted(provider="nobody").request, landscape_of(services))


def test_packing_knows_no_tier() -> None:
    packed = msgspec.convert(
        {
            "type": "package_campaign.v1",
            "title": "t",
            "palette": {},
            "tier": "production",
            "items": [{"path": "a.png", "artifact": msgspec.to_builtins(REF), "step": "s"}],
        },
        Request,
    )
    packager = service("packager", tag=Capability.PACKAGE.request_type)
    assert choose(packed, landscape_of([packager])).chosen is packager
    assert provenance(packed, packager).tier is Tier.PRODUCTION


# admission


def test_the_envelope_is_no_part_of_the_identity() -> None:
    assert admitted(priority=9).request_hash == admitted(labels={"a": "b"}).request_hash
    assert admitted(seed=1).request_hash != admitted(seed=2).request_hash


def test_ids_in_the_body_must_agree_with_the_subject() -> None:
    assert admitted(tenant="acme", request_id="r1").key == KEY
    for field in ("tenant", "request_id", "campaign_id"):
        with pytest.raises(AdgenxError) as caught:
            admitted(**{field: "another"})
        assert caught.value.field == field


def test_the_product_of_legal_sizes_is_bounded() -> None:
    huge = GenerateVideo(prompt="a", width=8192, height=8192, seconds=600, fps=120)
    with pytest.raises(AdgenxError, match="at most"):
        admission.admit(message(huge, "adgenx.req.acme.video.-.r1"))


def test_an_artifact_must_be_the_tenants_own() -> None:
    mine = msgspec.structs.replace(REF, key=artifact_key("acme", REF.sha256))
    assert admitted(references=[msgspec.to_builtins(mine)]).request_hash
    theirs = msgspec.structs.replace(REF, key=artifact_key("bob", REF.sha256))
    with pytest.raises(AdgenxError, match="your own artifact") as caught:
        admitted(references=[msgspec.to_builtins(mine), msgspec.to_builtins(theirs)])
    assert caught.value.field == "references[1].key"


def test_a_repeated_result_is_the_same_bytes() -> None:
    ended = job(state=JobState.OK, outputs=[REF], charge=1.0, ended_at=120.5)
    assert telling.result(ended) == telling.result(ended)
    assert b'"latency_ms":20500' in telling.result(ended).body


# release and the floor


def test_capacity_is_twice_what_can_run() -> None:
    assert places(service("alpha", workers=4)) == 2 * 4 * 3
    assert places(None) > 0


def test_the_floor_fills_empties_and_believes_jobs() -> None:
    now = [0.0]
    floor = Floor(lambda _: service("alpha", workers=1), lambda: now[0])  # room for six
    jobs = [job(request_id=f"r{n}", job_id=f"j{n}") for n in range(8)]

    def enter(number: int) -> bool:
        subject = f"adgenx.req.acme.image.-.r{number}"
        known = admission.admit(message(subject=subject))
        return floor.enter("alpha", jobs[number], known, again=False)

    assert [enter(n) for n in range(8)] == [True] * 6 + [False] * 2
    assert floor.waits("acme.-.r7", NOW)
    floor.left("alpha", "acme.-.r0", "j0")
    assert floor.called("alpha") == ["acme.-.r6"]
    assert enter(6)
    assert not enter(7)
    now[0] = 10.0
    floor.sync([("alpha", "j1")], 5.0)  # the others have left by another router
    assert floor.called("alpha") == ["acme.-.r7"]
    assert enter(7)
    assert floor.crowded == []


def test_a_job_that_another_router_released_waits_no_longer() -> None:
    floor = Floor(lambda _: service("alpha", workers=0), lambda: 0.0)
    floor.sync([("alpha", "other")], 1.0)  # the only place is taken
    floor.begin(KEY)
    assert not floor.enter("alpha", job(), admitted(), again=False)
    floor.settle(KEY)
    assert floor.waits(KEY, NOW)
    floor.begin(KEY)  # advanced again, and this time it has no wish to enter
    floor.settle(KEY)
    assert not floor.waits(KEY, NOW)
    assert floor.crowded == []


# the desk


async def test_a_job_that_is_named_again_is_looked_at_once_more() -> None:
    looks: list[bool] = []
    looking = asyncio.Event()
    gate = asyncio.Event()

    async def advance(_: str, afresh: bool) -> Rest:  # noqa: FBT001 - the desk's own call
        looks.append(afresh)
        looking.set()
        await gate.wait()
        return Rest.WAITING

    desk = Desk(advance)
    first = asyncio.create_task(desk.advance("k"))
    await looking.wait()
    others = [asyncio.create_task(desk.advance("k", afresh=True)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)
    assert looks == [False, True]
    assert not desk.busy("k")


async def test_an_unknown_outcome_reaches_whoever_named_the_job_and_no_hint() -> None:
    async def advance(_key: str, _afresh: bool) -> Rest:  # noqa: FBT001 - the desk's own call
        raise BusUnavailableError("gone")

    desk = Desk(advance)
    with pytest.raises(BusUnavailableError):
        await desk.advance("k")
    desk.hint("k")
    await desk.clear()
    assert not desk.busy("k")
