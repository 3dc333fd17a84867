"""Who does a request: every able service is looked at, and each of them is told why or why not.

A pure function of the request and of one picture of the services (landscape.py). Who may not do it
stands in fitness.py. Of those who may, the first of this order does it:

    1  not troubled   its breaker lets something through; then: it would be done by the deadline
    2  tier           what was asked for, before a draft engine that may stand in (`allow_draft`)
    3  quality        of its manifest, the better first               production only
    4  cost           the cheaper first                               draft only
    5  pace           the sooner done: queue, loading the model, work
    6  cost           the cheaper first
    7  name

Production asks for the best that money and time allow, a draft for what is free and fast. A pace is
coarse: what takes less than ten seconds is fast, and twice as long is the next pace, so that equal
work does not wander between services, away from the cache, whenever one of them is a little busy.
Troubled services are refused only where another one fits: alone, they are waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from contracts import pricing
from contracts.capability import Tier
from contracts.errors import AdgenxError, BudgetExceededError, DisabledError, NoProviderError
from contracts.events import Candidate
from contracts.jobs import Provenance
from contracts.manifest import ServiceRecord
from contracts.requests import Request
from services.router import breaker
from services.router.fitness import (
    Kind,
    Refusal,
    Terms,
    knows_tiers,
    refusal,
    stands_in,
    tag_of,
)
from services.router.landscape import Landscape, Load

FAST_SECONDS = 10.0
"""What takes less is not told apart."""


class Route(NamedTuple):
    """The service that does it, and everybody who was looked at, in order of preference."""

    chosen: ServiceRecord
    candidates: list[Candidate]


class _Fit(NamedTuple):
    """A service that may do it. `shut` by its breaker, `late` for the deadline; `cost` in US
    dollars, `seconds` until it would be done.
    """

    service: ServiceRecord
    shut: bool
    late: bool
    stand_in: bool
    cost: float
    seconds: float

    @property
    def name(self) -> str:
        return self.service.manifest.name

    @property
    def quality(self) -> int:
        return self.service.manifest.quality

    @property
    def pace(self) -> int:
        return math.floor(math.log2(max(self.seconds / FAST_SECONDS, 1.0)))


class _Preference(NamedTuple):
    """A row of the table: less is better; `words` tell a service why `winner` goes before it."""

    rank: Callable[[_Fit], float | str]
    words: Callable[[_Fit, _Fit], str]


_TROUBLE = (
    _Preference(lambda f: f.shut, lambda _, w: f"it fails too often now; {w.name} does not"),
    _Preference(
        lambda f: f.late, lambda f, w: f"it would need {f.seconds:.0f} s; {w.name} is in time"
    ),
)
_TIER = _Preference(
    lambda f: f.stand_in, lambda _, w: f"it makes drafts; {w.name} makes production"
)
_QUALITY = _Preference(
    lambda f: -f.quality, lambda f, w: f"{w.name} is better: {w.quality} to {f.quality}"
)
_COST = _Preference(
    lambda f: f.cost, lambda f, w: f"{w.name} costs less: {w.cost:.4g} to {f.cost:.4g}"
)
_PACE = _Preference(
    lambda f: f.pace,
    lambda f, w: f"{w.name} is done sooner: {w.seconds:.0f} s to {f.seconds:.0f} s",
)
_NAME = _Preference(lambda f: f.name, lambda _, w: f"as good as {w.name}, whose name comes first")

_ORDER = {
    Tier.PRODUCTION: (*_TROUBLE, _TIER, _QUALITY, _PACE, _COST, _NAME),
    Tier.DRAFT: (*_TROUBLE, _COST, _PACE, _NAME),
}


def choose(
    request: Request,
    landscape: Landscape,
    tried: frozenset[str] = frozenset(),
    at_most: float | None = None,
    *,
    deadline_at: float = 0.0,
) -> Route:
    """Choose the service that does a request. Two routers that see the same choose the same.

    `tried` services have failed on it already; none may cost more than `at_most` US dollars, nor
    more than the request's own ceiling; `deadline_at` in Unix seconds, 0 where its own deadline
    counts from now on. Raises DisabledError where an operator turned off whoever could do it,
    BudgetExceededError where whoever could do it costs too much, NoProviderError otherwise; each
    says every reason.
    """
    fit, refused = _look(request, landscape, _terms(request, tried, at_most), deadline_at)
    if not fit:
        raise _nobody(request, landscape, refused)
    return Route(fit[0].service, _candidates(request, landscape, fit, refused))


def candidates(request: Request, landscape: Landscape) -> list[Candidate]:
    """Return everybody whom `choose` would look at, also where it finds nobody."""
    fit, refused = _look(request, landscape, _terms(request, frozenset(), None), 0.0)
    return _candidates(request, landscape, fit, refused)


def ceiling(request: Request) -> float | None:
    """Return the most that a request may cost by its own words, in US dollars; None: no limit.

    No service is worth a look that costs more than the whole campaign may.
    """
    limits = [request.max_cost] if request.max_cost else []
    if request.budget is not None:
        limits.append(request.budget.amount)
    return min(limits, default=None)


def expected_seconds(request: Request, service: ServiceRecord, load: Load) -> float:
    """Return how many seconds from now a service would be done: queue, loading the model, work."""
    work = pricing.expected_work_seconds(service.manifest, request)
    usual = load.seconds or work
    queue = (load.waiting + load.inside) * usual / max(1, service.workers)
    loading = 0.0 if service.resident else service.manifest.resources.load_seconds
    return queue + loading + usual


def provenance(request: Request, service: ServiceRecord) -> Provenance:
    """Return what will have made the output if this service does the request."""
    model = service.manifest.model
    return Provenance(
        service=service.manifest.name,
        model=model.name,
        revision=service.revision,
        licence=model.licence,
        territory=model.territory,
        tier=service.manifest.tier if knows_tiers(request) else request.tier,
        seed=request.seed,
    )


def _terms(request: Request, tried: frozenset[str], at_most: float | None) -> Terms:
    limits = [x for x in (at_most, ceiling(request)) if x is not None]
    return Terms(tried, min(limits, default=None), request.allow_draft)


def _look(
    request: Request, landscape: Landscape, terms: Terms, deadline_at: float
) -> tuple[list[_Fit], dict[str, Refusal]]:
    """Return who may do it, best first, and why each of the others may not."""
    if not deadline_at and request.deadline_seconds:
        deadline_at = landscape.now + request.deadline_seconds
    fit: list[_Fit] = []
    refused: dict[str, Refusal] = {}
    for name, service in sorted(landscape.services.items()):
        if tag_of(request) not in service.manifest.accepts:
            continue
        why = refusal(request, service, landscape, terms)
        if why is not None:
            refused[name] = why
        else:
            fit.append(_measured(request, service, landscape, deadline_at))
    order = _ORDER[request.tier]
    fit.sort(key=lambda f: tuple(preference.rank(f) for preference in order))
    return fit, refused


def _measured(
    request: Request, service: ServiceRecord, landscape: Landscape, deadline_at: float
) -> _Fit:
    name = service.manifest.name
    seconds = expected_seconds(request, service, landscape.loads.get(name, Load()))
    record = landscape.breakers.get(name)
    return _Fit(
        service=service,
        shut=record is not None and breaker.room(record, landscape.now) == 0,
        late=0 < deadline_at < landscape.now + seconds,
        stand_in=stands_in(request, service.manifest),
        cost=pricing.estimate(service.manifest, request),
        seconds=seconds,
    )


def _candidates(
    request: Request, landscape: Landscape, fit: list[_Fit], refused: dict[str, Refusal]
) -> list[Candidate]:
    found = [_candidate(request, f, fit) for f in fit]
    for name, why in sorted(refused.items()):
        service = landscape.services[name]
        cost = pricing.estimate(service.manifest, request)
        found.append(Candidate(service=name, reason=why.reason, cost=cost))
    return found


def _candidate(request: Request, one: _Fit, fit: list[_Fit]) -> Candidate:
    """Tell one that fits why it does the request, or who goes before it and why."""
    order = _ORDER[request.tier]
    chosen = one is fit[0]
    troubled = False
    if not chosen:
        parting = next(p for p in order if p.rank(one) != p.rank(fit[0]))
        reason, troubled = parting.words(one, fit[0]), parting in _TROUBLE
    elif one.shut:
        reason = "it fails too often now, and nobody else may do it: it is waited for"
    elif one.late:
        reason = f"nobody is done by the deadline; this one needs {one.seconds:.0f} s"
    else:
        reason = "it is the only one" if len(fit) == 1 else "it is the first in the order"
    return Candidate(
        service=one.name,
        chosen=chosen,
        fit=not troubled,
        reason=reason,
        cost=one.cost,
        seconds=round(one.seconds, 3),
    )


def _nobody(request: Request, landscape: Landscape, refused: dict[str, Refusal]) -> AdgenxError:
    tag = tag_of(request)
    kinds = {why.kind for why in refused.values()}
    reasons = "; ".join(f"{name}: {why.reason}" for name, why in sorted(refused.items()))
    named_off = landscape.off.get(request.provider)
    if named_off is not None and request.provider not in refused:
        return DisabledError(f"{request.provider} is turned off: {named_off}")
    message = f"no service may do this {request.tier} {tag}: {reasons}"
    if not refused:
        return NoProviderError(f"no announced service accepts {tag}")
    if Kind.AWAY in kinds:
        return NoProviderError(message)
    if Kind.OFF in kinds:
        return DisabledError(message)
    return (BudgetExceededError if Kind.COST in kinds else NoProviderError)(message)
