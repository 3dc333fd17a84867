"""What the router's unit tests are made of: services, requests, records, and facts of one job."""

from __future__ import annotations

import msgspec

from contracts.artifacts import ArtifactRef
from contracts.capability import Tier
from contracts.codec import encode
from contracts.jobs import CacheClaim, JobRecord, Run, RunState
from contracts.manifest import (
    CostSection,
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.requests import GenerateImage, Request
from services.router import admission
from services.router.admission import Admitted, Message
from services.router.facts import (
    Facts,
    Seen,
)
from services.router.landscape import landscape_of

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
