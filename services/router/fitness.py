"""Why a service may not do a request: one rule after the other, the first that speaks is told.

    rule          refused is a service                                         kind
    named         that is not the one which the client named                   NEVER
    tried         on which the request has failed already                      NEVER
    tier          of the other tier; compose and package know none             NEVER
    licence       whose licence forbids advertising, unless the operator
                  holds another one for it                                     NEVER
    territory     whose licence excludes one of the request's markets          NEVER
    features      that cannot do what the request needs: first and last frame,
                  continuation, references, a picture to work from, motion from a raw video,
                  replacement, sets, size, duration, language                  NEVER
    cost          that may cost more than may be spent                         COST
    flag          that an operator turned off                                  OFF
    presence      that is not ready, or has no workers                         AWAY

The kind says what becomes of a request for which nobody is left: what is AWAY may come back, OFF is
an answer at once (501), and so is COST; NEVER is waited for only as long as services may start.

A licence with territorial limits needs to be told where the output will be shown: a request that
names no markets is refused by it, since nobody could say that it is not shown there. Campaigns
always name theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from contracts import pricing
from contracts.capability import Capability, Tier, capability_of
from contracts.manifest import Feature, LimitSection, Manifest, ServiceRecord, ServiceState
from contracts.requests import (
    AnimateCharacter,
    ComposeMedia,
    GenerateImage,
    GenerateText,
    Request,
)
from services.router.landscape import Landscape
from services.router.territory import forbidden

TIERLESS = frozenset({Capability.COMPOSE, Capability.PACKAGE})
"""Capabilities that draft and production campaigns share."""


class Kind(Enum):
    """What a refusal is about, from the most to the least final."""

    NEVER = auto()
    COST = auto()
    OFF = auto()
    AWAY = auto()


class Refusal(NamedTuple):
    """Why a service may not do a request."""

    kind: Kind
    reason: str


class Terms(NamedTuple):
    """What stands beside the request: `tried` services have failed on it; `at_most` US dollars may
    be spent, None for any sum; `stand_in`: a draft engine may do production work.
    """

    tried: frozenset[str] = frozenset()
    at_most: float | None = None
    stand_in: bool = False


def refusal(
    request: Request, service: ServiceRecord, landscape: Landscape, terms: Terms
) -> Refusal | None:
    """Return why a service may not do a request; None if it may."""
    never = next(_never(request, service, landscape, terms), "")
    if never:
        return Refusal(Kind.NEVER, never)
    name = service.manifest.name
    price = pricing.price(service.manifest, request)
    if terms.at_most is not None and price > terms.at_most:
        too_dear = f"it may cost {price:.4g} US dollars, {terms.at_most:.4g} may be spent"
        return Refusal(Kind.COST, too_dear)
    if name in landscape.off:
        return Refusal(Kind.OFF, f"it is turned off: {landscape.off[name]}")
    if service.state is not ServiceState.READY:
        return Refusal(Kind.AWAY, service.reason or "it is not available")
    if service.workers < 1:
        return Refusal(Kind.AWAY, "it has no workers")
    return None


def tag_of(request: Request) -> str:
    """Return the tag that says what kind of request it is."""
    return str(request.__struct_config__.tag)


def knows_tiers(request: Request) -> bool:
    """Say whether draft and production differ in what is asked for."""
    return capability_of(tag_of(request)) not in TIERLESS


def stands_in(request: Request, manifest: Manifest) -> bool:
    """Say whether a service would do production work as a draft engine."""
    production = request.tier is Tier.PRODUCTION and knows_tiers(request)
    return production and manifest.tier is Tier.DRAFT


def _never(
    request: Request, service: ServiceRecord, landscape: Landscape, terms: Terms
) -> Iterator[str]:
    manifest = service.manifest
    if request.provider and request.provider != manifest.name:
        yield f"{request.provider} was asked for"
    if manifest.name in terms.tried:
        yield "it has failed here already"
    if knows_tiers(request) and manifest.tier is not request.tier:
        allowed = terms.stand_in and stands_in(request, manifest)
        if not allowed:
            yield f"it makes {manifest.tier}, {request.tier} was asked for"
    yield from _licence(request, manifest, landscape)
    yield from _features(request, manifest.limits)
    yield from _size(request, manifest.limits)
    yield from _languages(request, manifest.limits)


def _licence(request: Request, manifest: Manifest, landscape: Landscape) -> Iterator[str]:
    if manifest.name in landscape.licensed:
        return
    model = manifest.model
    if not model.commercial_use:
        yield f"its licence ({model.licence}) forbids advertising"
    if not model.territory:
        return
    if not request.markets:
        where = ", ".join(model.territory)
        yield f"its licence excludes {where}, and the request names no markets"
    markets = forbidden(model.territory, request.markets)
    if markets:
        yield f"its licence excludes {', '.join(markets)}"


def _features(request: Request, limits: LimitSection) -> Iterator[str]:
    references = len(getattr(request, "references", []))
    needed = {
        Feature.FIRST_FRAME: getattr(request, "first_frame", None) is not None,
        Feature.LAST_FRAME: getattr(request, "last_frame", None) is not None,
        Feature.CONTINUATION: getattr(request, "continue_from", None) is not None,
        Feature.REFERENCES: references > 0 or _shows_product(request),
        Feature.RAW_DRIVING: isinstance(request, AnimateCharacter) and request.pose is None,
        Feature.REPLACEMENT: getattr(request, "mode", "") == "replace",
        Feature.SETS: getattr(request, "count", 1) > 1,
        Feature.SEGMENTS: bool(getattr(request, "segments", [])),
    }
    missing = [f for f, wanted in needed.items() if wanted and f not in limits.features]
    if limits.features and missing:
        yield f"it cannot do {', '.join(f.replace('_', ' ') for f in missing)}"
    if limits.needs_picture and not references:
        yield "it needs a picture, and the request shows it none"
    if 0 < limits.max_references < references:
        yield f"it takes {limits.max_references} references, {references} were given"


def _shows_product(request: Request) -> bool:
    """Say whether a picture must show a product as another picture has it: it or its label."""
    subject = request.art.subject if isinstance(request, GenerateImage) else None
    return subject is not None and (subject.picture is not None or subject.label is not None)


def _size(request: Request, limits: LimitSection) -> Iterator[str]:
    sized = request.work if isinstance(request, ComposeMedia) else request
    width, height = getattr(sized, "width", 0), getattr(sized, "height", 0)
    if 0 < limits.max_side < max(width, height):
        yield f"its pictures have sides of at most {limits.max_side} pixels"
    if 0 < limits.max_pixels < width * height:
        yield f"its pictures have at most {limits.max_pixels} pixels"
    seconds = pricing.output_seconds(request)
    if 0 < limits.max_seconds < seconds:
        yield f"it makes at most {limits.max_seconds:g} s"
    if 0 < seconds < limits.min_seconds:
        yield f"it makes at least {limits.min_seconds:g} s"


def _languages(request: Request, limits: LimitSection) -> Iterator[str]:
    if not limits.languages:
        return
    locales = [getattr(request, "locale", "")]
    if isinstance(request, GenerateText) and not request.locale:
        locales = request.brief.locales
    missing = [x for x in locales if x and not _speaks(limits.languages, x)]
    if missing:
        yield f"it does not know {', '.join(missing)}"


def _speaks(languages: list[str], locale: str) -> bool:
    """Say whether a list of languages holds a locale: `de` holds `de-AT`, `de-DE` does not."""
    language = locale.partition("-")[0]
    return any(known in (locale, language) for known in languages)
