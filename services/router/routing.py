"""Who may do a request: candidates in order of preference, and why each other service may not.

A pure function of the request and of what services announce. A production request never becomes a
draft one; setting type and packing are the same work in both, so there the tier does not count.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts import pricing
from contracts.capability import Capability, Tier, capability_of
from contracts.errors import NoProviderError
from contracts.events import Candidate
from contracts.jobs import Provenance
from contracts.manifest import ServiceRecord, ServiceState
from contracts.requests import Request
from services.router.landscape import Landscape

TIERLESS = frozenset({Capability.COMPOSE, Capability.PACKAGE})
"""Capabilities that draft and production campaigns share."""


class Route(NamedTuple):
    """The service that does it, and why each of the others does not."""

    chosen: ServiceRecord
    refused: dict[str, str]

    @property
    def candidates(self) -> list[Candidate]:
        """Everybody who was looked at."""
        first = Candidate(service=self.chosen.manifest.name, chosen=True, fit=True)
        return [first, *(Candidate(service=n, reason=r) for n, r in sorted(self.refused.items()))]


def choose(
    request: Request,
    landscape: Landscape,
    tried: frozenset[str] = frozenset(),
    at_most: float | None = None,
) -> Route:
    """Choose the cheapest service that may do it; NoProviderError says why none may.

    `tried` are services on which the request has failed already; none may cost more than `at_most`
    US dollars. Equal prices are decided by name, so that two routers that see the same services
    choose the same one.
    """
    tag = _tag(request)
    able = [s for s in landscape.services.values() if tag in s.manifest.accepts]
    refused = {s.manifest.name: r for s in able if (r := refusal(request, s, tried))}
    for service in able:
        if at_most is not None and pricing.price(service.manifest, request) > at_most:
            refused.setdefault(service.manifest.name, f"it may cost more than {at_most:.4g}")
    fit = [s for s in able if s.manifest.name not in refused]
    if not fit:
        raise NoProviderError(_nobody(request, tag, refused))
    chosen = min(fit, key=_preference)
    dearer = {s.manifest.name: "another one is preferred" for s in fit if s is not chosen}
    return Route(chosen, refused | dearer)


def refusal(request: Request, service: ServiceRecord, tried: frozenset[str]) -> str:
    """Say why a service may not do a request; empty if it may."""
    manifest = service.manifest
    if request.provider and request.provider != manifest.name:
        return f"{request.provider} was asked for"
    if manifest.name in tried:
        return "it has failed here already"
    if not _tier_fits(request, manifest.tier):
        return f"it makes {manifest.tier}, {request.tier} was asked for"
    if service.state is not ServiceState.READY:
        return service.reason or "it is not available"
    if service.workers < 1:
        return "it has no workers"
    return ""


def provenance(request: Request, service: ServiceRecord) -> Provenance:
    """Return what will have made the output if this service does the request."""
    model = service.manifest.model
    shared = capability_of(_tag(request)) in TIERLESS
    return Provenance(
        service=service.manifest.name,
        model=model.name,
        revision=service.revision,
        licence=model.licence,
        territory=model.territory,
        tier=request.tier if shared else service.manifest.tier,
        seed=request.seed,
    )


def _tier_fits(request: Request, made: Tier) -> bool:
    return request.tier is made or capability_of(_tag(request)) in TIERLESS


def _tag(request: Request) -> str:
    return str(request.__struct_config__.tag)


def _preference(service: ServiceRecord) -> tuple[float, float, str]:
    cost = service.manifest.cost
    return cost.per_run, cost.per_second, service.manifest.name


def _nobody(request: Request, tag: str, refused: dict[str, str]) -> str:
    if not refused:
        return f"no announced service accepts {tag}"
    reasons = "; ".join(f"{name}: {why}" for name, why in sorted(refused.items()))
    return f"no service may do this {request.tier} {tag}: {reasons}"
