"""Who is chosen, what is told of the others, and that what must not count does not count."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_services import NOW, OPEN, big, chosen, image, made, reasons, route

from contracts.capability import Tier
from contracts.errors import BudgetExceededError, DisabledError, NoProviderError
from contracts.manifest import CostSection, Manifest, ServiceRecord
from contracts.requests import Request
from services.router.landscape import Landscape, Load, landscape_of
from services.router.routing import Route, candidates, choose, provenance

pytestmark = pytest.mark.unit

# errors, and what each says of what may come


def test_a_service_that_is_off_is_an_answer_at_once() -> None:
    with pytest.raises(DisabledError, match="it burns"):
        route(image(), made("x"), off={"x": "it burns"})
    # also where it is not even running, if it was asked for by its name
    with pytest.raises(DisabledError, match="longcat is turned off"):
        route(image(provider="longcat"), made("x"), off={"longcat": "USE_LONGCAT=0"})


def test_who_is_away_may_come_back_so_that_off_is_no_answer() -> None:
    away = msgspec.structs.replace(made("y"), workers=0)
    with pytest.raises(NoProviderError, match="x: it is turned off"):
        route(image(), made("x"), away, off={"x": "r"})


def test_too_dear_is_an_answer_at_once() -> None:
    with pytest.raises(BudgetExceededError, match="may cost 3 US dollars, 2 may be spent"):
        route(image(max_cost=2), made("x", cost__per_run=3.0))
    with pytest.raises(BudgetExceededError):
        choose(image(), landscape_of([made("x", cost__per_run=3.0)]), at_most=0.0)
    away = msgspec.structs.replace(made("x", cost__per_run=3.0), workers=0)
    with pytest.raises(BudgetExceededError):  # however long one waits for it
        route(image(budget={"amount": 2}), away)


def test_whom_nobody_may_serve_hears_of_everybody() -> None:
    found = candidates(image(max_cost=0.5), landscape_of([big("a"), made("b")]))
    assert [(c.service, c.chosen, c.fit) for c in found] == [("b", True, True), ("a", False, False)]
    nobody = candidates(image(), landscape_of([big("a")]))
    assert reasons(nobody) == {"a": "it makes production, draft was asked for"}


# preference


def test_production_is_the_best_and_a_draft_the_cheapest() -> None:
    good = {"quality": 90, "cost__per_run": 2.0}
    plain = {"quality": 40, "cost__per_run": 1.0}
    production = route(image(tier="production"), big("good", **good), big("plain", **plain))
    assert production.chosen.manifest.name == "good"
    assert reasons(production.candidates)["plain"] == "good is better: 90 to 40"
    draft = route(image(), made("good", **good), made("plain", **plain))
    assert draft.chosen.manifest.name == "plain"
    slow = made("slow", cost__expected_seconds=100.0)
    assert chosen(image(), slow, made("quick", cost__per_run=1.0)) == "slow"  # for it is free
    assert reasons(draft.candidates)["good"] == "plain costs less: 1 to 2"


def test_money_and_time_bound_quality() -> None:
    slow = big("slow", quality=90, cost__expected_seconds=100.0, cost__per_run=1.0)
    quick = big("quick", quality=40, cost__expected_seconds=5.0)
    both = (slow, quick)
    assert chosen(image(tier="production"), *both) == "slow"
    assert chosen(image(tier="production", max_cost=0.5), *both) == "quick"
    late = route(image(tier="production", deadline_seconds=60), *both)
    assert late.chosen.manifest.name == "quick"
    assert [(c.service, c.fit) for c in late.candidates] == [("quick", True), ("slow", False)]
    assert reasons(late.candidates)["slow"] == "it would need 100 s; quick is in time"
    alone = route(image(tier="production", deadline_seconds=60), slow)
    assert (alone.chosen, alone.candidates[0].fit) == (slow, True)


def test_a_deadline_is_what_is_left_of_it() -> None:
    slow = big("slow", quality=90, cost__expected_seconds=100.0)
    land = landscape_of([slow, big("quick", quality=40)], NOW)
    request = image(tier="production", deadline_seconds=300)
    assert choose(request, land).chosen is slow
    assert choose(request, land, deadline_at=NOW + 50).chosen.manifest.name == "quick"


def test_a_queue_a_model_to_load_and_what_was_measured_count_as_time() -> None:
    a = made("a", cost__expected_seconds=20.0)
    b = made("b", cost__expected_seconds=20.0)
    assert chosen(image(), a, b) == "a"
    assert chosen(image(), a, b, loads={"a": Load(waiting=2, inside=1)}) == "b"
    assert chosen(image(), a, b, loads={"a": Load(seconds=80.0)}) == "b"
    heavy = made("a", cost__expected_seconds=20.0, resources__load_seconds=60.0)
    assert chosen(image(), heavy, b) == "b"
    assert chosen(image(), msgspec.structs.replace(heavy, resident=True), b) == "a"


def test_equal_work_does_not_wander_when_one_is_a_little_busy() -> None:
    busy = {"a": Load(inside=3, seconds=2.0)}
    assert chosen(image(), made("a"), made("b"), loads=busy) == "a"


def test_a_draft_engine_steps_in_only_where_it_may_and_nobody_else_does() -> None:
    allowed = image(tier="production", allow_draft=True)
    draft, model = made("draft_image"), big("flux", quality=1, cost__per_run=9.0)
    both = route(allowed, draft, model)
    assert both.chosen is model
    assert reasons(both.candidates)["draft_image"] == "it makes drafts; flux makes production"
    assert chosen(allowed, draft) == "draft_image"
    assert provenance(allowed, draft).tier is Tier.DRAFT
    assert choose(allowed, landscape_of([draft, model]), frozenset({"flux"})).chosen is draft
    with pytest.raises(NoProviderError):
        route(image(tier="production"), draft)


def test_an_open_breaker_is_passed_by_and_waited_for_where_nobody_else_is() -> None:
    best = big("best", quality=90)
    other = big("other", quality=10)
    request = image(tier="production")
    passed = route(request, best, other, breakers={"best": OPEN})
    assert passed.chosen is other
    assert reasons(passed.candidates)["best"] == "it fails too often now; other does not"
    alone = route(request, best, breakers={"best": OPEN})
    assert alone.chosen is best
    assert "waited for" in alone.candidates[0].reason
    due = msgspec.structs.replace(OPEN, retry_at=NOW)  # a probe has to be somebody
    assert chosen(request, best, other, breakers={"best": due}) == "best"


# what holds for every landscape

_manifests = st.builds(
    lambda tier, quality, cost, seconds, commercial: {
        "tier": tier,
        "quality": quality,
        "cost": CostSection(per_run=cost, expected_seconds=seconds),
        "model__commercial_use": commercial,
    },
    st.sampled_from(Tier),
    st.integers(0, 100),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([1.0, 15.0, 60.0, 600.0]),
    st.booleans(),
)


@st.composite
def _landscapes(draw: st.DrawFn) -> Landscape:
    names = [f"s{n}" for n in range(draw(st.integers(1, 6)))]
    services = {n: made(n, **draw(_manifests)) for n in names}
    some = st.lists(st.sampled_from(names), unique=True)
    return Landscape(
        services=services,
        off=dict.fromkeys(draw(some), "off"),
        breakers=dict.fromkeys(draw(some), OPEN),
        loads={n: Load(waiting=draw(st.integers(0, 40))) for n in draw(some)},
        licensed=frozenset(draw(some)),
        now=NOW,
    )


_requests = st.builds(
    lambda tier, cost, deadline, stand_in: image(
        tier=tier, max_cost=cost, deadline_seconds=deadline, allow_draft=stand_in
    ),
    st.sampled_from(["draft", "production"]),
    st.sampled_from([0.0, 0.6, 1.5]),
    st.sampled_from([0.0, 30.0, 300.0]),
    st.booleans(),
)


def _try(request: Request, landscape: Landscape) -> Route | None:
    try:
        return choose(request, landscape)
    except (NoProviderError, DisabledError, BudgetExceededError):
        return None


def _with(landscape: Landscape, services: dict[str, ServiceRecord]) -> Landscape:
    return msgspec.structs.replace(landscape, services=services)


def _cost(one: ServiceRecord, factor: float) -> ServiceRecord:
    manifest: Manifest = one.manifest
    cost = msgspec.structs.replace(manifest.cost, per_run=manifest.cost.per_run * factor)
    return msgspec.structs.replace(one, manifest=msgspec.structs.replace(manifest, cost=cost))


@given(_requests, _landscapes())
def test_the_chosen_one_fits_and_everybody_has_a_reason(
    request: Request, landscape: Landscape
) -> None:
    found = _try(request, landscape)
    told = found.candidates if found else candidates(request, landscape)
    assert sorted(c.service for c in told) == sorted(landscape.services)
    assert all(c.reason for c in told)
    assert [c.service for c in told if c.chosen] == ([found.chosen.manifest.name] if found else [])
    if found is None:
        return
    name = found.chosen.manifest.name
    assert told[0].fit
    assert name not in landscape.off
    assert found.chosen.manifest.model.commercial_use or name in landscape.licensed
    assert not request.max_cost or found.chosen.manifest.cost.per_run <= request.max_cost
    if not request.allow_draft:
        assert found.chosen.manifest.tier is request.tier


@given(_requests, _landscapes())
def test_whoever_is_not_chosen_makes_no_difference(request: Request, landscape: Landscape) -> None:
    found = _try(request, landscape)
    for name in landscape.services:
        left = {n: s for n, s in landscape.services.items() if n != name}
        if found is None or name != found.chosen.manifest.name:
            after = _try(request, _with(landscape, left))
            assert (after and after.chosen) == (found and found.chosen)


@given(_requests, _landscapes(), st.randoms(use_true_random=False))
def test_the_order_of_the_announcements_makes_no_difference(
    request: Request, landscape: Landscape, random: object
) -> None:
    items = list(landscape.services.items())
    random.shuffle(items)  # type: ignore[attr-defined]  # hypothesis hands a random.Random in
    assert _try(request, _with(landscape, dict(items))) == _try(request, landscape)


@given(_requests, _landscapes())
def test_whoever_gets_dearer_is_not_preferred_for_it(
    request: Request, landscape: Landscape
) -> None:
    found = _try(request, landscape)
    if found is None:
        return
    for name, one in landscape.services.items():
        dearer = _with(landscape, {**landscape.services, name: _cost(one, 2.0)})
        after = _try(request, dearer)
        if name != found.chosen.manifest.name:
            assert after is not None
            assert after.chosen is found.chosen
        cheaper = _with(landscape, {**landscape.services, name: _cost(one, 0.5)})
        again = _try(request, cheaper)
        if name == found.chosen.manifest.name:
            assert again is not None
            assert again.chosen.manifest.name == name
