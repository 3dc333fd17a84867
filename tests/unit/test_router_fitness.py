"""Why a service may not do a request: every rule, what it lets through, and its words."""

from __future__ import annotations

import msgspec
import pytest
from router_facts import REF
from router_services import (
    ANIMATION,
    SPEECH,
    VIDEO,
    animation,
    big,
    chosen,
    image,
    made,
    route,
    video,
)

from contracts.capability import Capability, Tier
from contracts.errors import NoProviderError
from contracts.manifest import Feature, LimitSection, ServiceRecord, ServiceState
from contracts.requests import ArtDirection, GenerateSpeech, Request, SpeechLine, Subject
from services.router.routing import provenance
from services.router.territory import EUROPEAN_UNION, forbidden

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("request_", "only", "reason"),
    [
        (image(), big("x"), "it makes production, draft was asked for"),
        (image(tier="production"), made("x"), "it makes draft, production was asked for"),
        (
            image(),
            msgspec.structs.replace(made("x"), state=ServiceState.UNAVAILABLE),
            "x: it is not available",
        ),
        (image(), msgspec.structs.replace(made("x"), workers=0), "x: it has no workers"),
        (image(), made("x", VIDEO), "no announced service accepts generate_image.v1"),
        (image(provider="y"), made("x"), "x: y was asked for"),
        (image(), made("x", model__commercial_use=False), r"its licence \(MIT\) forbids adver"),
        (image(markets=["US", "FR"]), made("x", model__territory=["EU"]), "excludes FR$"),
        (image(markets=["UK"]), made("x", model__territory=["GB"]), "excludes GB$"),
        (image(), made("x", model__territory=["EU"]), "excludes EU, and the request names no mark"),
        (
            image(width=128),
            made("x", limits=LimitSection(max_side=100)),
            "sides of at most 100 pixels",
        ),
        (image(), made("x", limits=LimitSection(max_pixels=4095)), "at most 4095 pixels"),
        (video(), made("x", VIDEO, limits=LimitSection(max_seconds=4)), "it makes at most 4 s"),
        (video(), made("x", VIDEO, limits=LimitSection(min_seconds=6)), "it makes at least 6 s"),
        (
            video(first_frame=REF, last_frame=REF),
            made("x", VIDEO, limits=LimitSection(features=[Feature.FIRST_FRAME])),
            "it cannot do last frame",
        ),
        (
            video(continue_from=REF),
            made("x", VIDEO, limits=LimitSection(features=[Feature.FIRST_FRAME])),
            "it cannot do continuation",
        ),
        (
            animation(),
            made("x", ANIMATION, limits=LimitSection(features=[Feature.REPLACEMENT])),
            "it cannot do raw driving",
        ),
        (
            animation(mode="replace", pose=REF),
            made("x", ANIMATION, limits=LimitSection(features=[Feature.RAW_DRIVING])),
            "it cannot do replacement",
        ),
        (
            image(count=2),
            made("x", limits=LimitSection(features=[Feature.REFERENCES])),
            "it cannot do sets",
        ),
        (
            image(),
            made("x", limits=LimitSection(needs_picture=True)),
            "it needs a picture, and the request shows it none",
        ),
        (
            image(references=[REF]),
            made("x", limits=LimitSection(features=[Feature.PLAIN])),
            "it cannot do references",
        ),
        (
            image(art=ArtDirection(subject=Subject(label=REF))),
            made("x", limits=LimitSection(features=[Feature.PLAIN])),
            "it cannot do references",
        ),
        (
            image(references=[REF, REF]),
            made("x", limits=LimitSection(max_references=1)),
            "it takes 1 references, 2 were given",
        ),
        (
            GenerateSpeech(
                locale="de-AT",
                lines=[SpeechLine(text="a", start_seconds=0, max_seconds=1)],
                seconds=1,
            ),
            made("x", SPEECH, limits=LimitSection(languages=["en", "de-DE"])),
            "it does not know de-AT",
        ),
    ],
)
def test_why_nobody_may_do_it(request_: Request, only: ServiceRecord, reason: str) -> None:
    with pytest.raises(NoProviderError, match=reason):
        route(request_, only)


@pytest.mark.parametrize(
    ("request_", "only"),
    [
        (image(markets=["US"]), made("x", model__territory=["EU"])),
        (video(first_frame=REF), made("x", VIDEO)),
        (image(), made("x", limits=LimitSection(max_pixels=4096, max_side=64))),
        (video(), made("x", VIDEO, limits=LimitSection(min_seconds=5, max_seconds=5))),
        (
            video(first_frame=REF),
            made("x", VIDEO, limits=LimitSection(features=[Feature.FIRST_FRAME])),
        ),
        (
            image(art=ArtDirection(subject=Subject(label=REF))),
            made("x", limits=LimitSection(features=[Feature.REFERENCES])),
        ),
        (
            image(art=ArtDirection(subject=Subject())),
            made("x", limits=LimitSection(features=[Feature.PLAIN])),
        ),
        (
            video(art=ArtDirection(subject=Subject(label=REF))),
            made("x", VIDEO, limits=LimitSection(features=[Feature.PLAIN])),
        ),
        (
            animation(),
            made("x", ANIMATION, limits=LimitSection(features=[Feature.RAW_DRIVING])),
        ),
        (
            animation(mode="replace", pose=REF),
            made("x", ANIMATION, limits=LimitSection(features=[Feature.REPLACEMENT])),
        ),
        (
            GenerateSpeech(
                locale="de-AT",
                lines=[SpeechLine(text="a", start_seconds=0, max_seconds=1)],
                seconds=1,
            ),
            made("x", SPEECH, limits=LimitSection(languages=["de"])),
        ),
    ],
)
def test_what_a_limit_lets_through(request_: Request, only: ServiceRecord) -> None:
    assert chosen(request_, only) == "x"


def test_a_licence_of_the_operators_own_lifts_the_manifests() -> None:
    limited = made("x", model__commercial_use=False, model__territory=["EU"])
    assert chosen(image(markets=["DE"]), limited, licensed=frozenset({"x"})) == "x"


def test_the_union_has_27_members() -> None:
    assert len(EUROPEAN_UNION) == 27
    assert forbidden(["EU", "KR"], ["US", "KR", "AT", "GB"]) == ["AT", "KR"]


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
    packager = made("packager", Capability.PACKAGE.request_type)
    assert route(packed, packager).chosen is packager
    assert provenance(packed, packager).tier is Tier.PRODUCTION


def test_one_that_needs_a_picture_takes_a_request_that_shows_it_one() -> None:
    only = made("x", limits=LimitSection(needs_picture=True))
    assert chosen(image(references=[REF]), only) == "x"
