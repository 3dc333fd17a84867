"""What the tests of routing are made of: requests, services of every kind, and who is chosen."""

from __future__ import annotations

import msgspec
from router_facts import REF, service

from contracts.capability import Capability, Tier
from contracts.events import Candidate
from contracts.governance import BreakerRecord, BreakerState
from contracts.manifest import ServiceRecord
from contracts.requests import AnimateCharacter, GenerateImage, GenerateVideo, Request
from services.router.landscape import landscape_of
from services.router.routing import Route, choose

VIDEO = Capability.VIDEO.request_type
SPEECH = Capability.SPEECH.request_type
ANIMATION = Capability.ANIMATION.request_type
NOW = 1000.0
OPEN = BreakerRecord(state=BreakerState.OPEN, retry_at=NOW + 10)


def image(**fields: object) -> GenerateImage:
    return msgspec.convert({"prompt": "a", "width": 64, "height": 64} | fields, GenerateImage)


def video(**fields: object) -> GenerateVideo:
    plain = {"prompt": "a", "width": 64, "height": 64, "seconds": 5.0}
    return msgspec.convert(plain | fields, GenerateVideo)


def animation(**fields: object) -> AnimateCharacter:
    plain = {"character": REF, "driving": REF, "width": 64, "height": 64}
    return msgspec.convert(plain | fields, AnimateCharacter)


def made(name: str, tag: str = "generate_image.v1", **changes: object) -> ServiceRecord:
    """Return a ready service; `changes` are of its manifest, or of a section by a dotted name."""
    record = service(name, tag=tag)
    manifest = record.manifest
    for path, value in changes.items():
        section, _, field = path.partition("__")
        if field:
            part = msgspec.structs.replace(getattr(manifest, section), **{field: value})
            value = part  # noqa: PLW2901 - the section as a whole
        manifest = msgspec.structs.replace(manifest, **{section: value})
    return msgspec.structs.replace(record, manifest=manifest)


def big(name: str, **changes: object) -> ServiceRecord:
    return made(name, tier=Tier.PRODUCTION, **changes)


def chosen(request: Request, *services: ServiceRecord, **more: object) -> str:
    return route(request, *services, **more).chosen.manifest.name


def route(request: Request, *services: ServiceRecord, **more: object) -> Route:
    plain = landscape_of(services, NOW)
    return choose(request, msgspec.structs.replace(plain, **more))


def reasons(found: list[Candidate]) -> dict[str, str]:
    return {c.service: c.reason for c in found}
