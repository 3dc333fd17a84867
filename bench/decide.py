"""What decisions cost, without a bus: the router's for a request, the coordinator's for a look."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from bench.sequence import SIZES, record_of
from bus.worker.folder import discover
from contracts.artifacts import ArtifactRef
from contracts.campaign import CampaignRecord
from contracts.capability import Capability
from contracts.codec import encode
from contracts.identity import step_request_id
from contracts.jobs import CacheClaim, JobRecord, JobState, Made, Run, RunState
from contracts.manifest import ServiceRecord, ServiceState
from contracts.requests import GenerateImage
from services.coordinator import decide as coordinator
from services.router import admission, decide, routing
from services.router.admission import Admitted, Message
from services.router.facts import Facts, Held, Seen, Unread
from services.router.landscape import Landscape, landscape_of

KEY = "acme.-.r1"
NOW = 1_790_000_000.0
REPEATS = 7
CALLS, SECONDS = 400, 0.2
"""A repeat ends with whichever comes first."""
OTHERS = 25
"""Services of other models that are looked at for every request, beside the appliance's own."""
_OUTPUT = ArtifactRef(key="k", sha256="ab" * 32, media_type="image/png", size_bytes=1, name="image")


def main() -> str:
    """Return the tables."""
    return f"### Decisions\n\n{_router()}\n\n{_coordinator()}"


def _router() -> str:
    message = _message()
    landscape = _landscape()
    admitted = admission.admit(message)
    chosen = routing.choose(admitted.request, landscape).chosen
    record = admission.first_record(admitted, chosen)
    rows: dict[str, Callable[[], object]] = {
        "admit: understand and check a request": lambda: admission.admit(message),
        f"choose among {len(landscape.services)} services": lambda: routing.choose(
            admitted.request, landscape
        ),
        "first record: price, provenance, cache key": lambda: admission.first_record(
            admitted, chosen
        ),
        **{
            f"decide: {name}": _deciding(facts)
            for name, facts in _stages(record, admitted, landscape).items()
        },
    }
    lines = ["| the router, for one request | µs |", "|---|---|"]
    return "\n".join(
        [*lines, *(f"| {name} | {_micros(call):.1f} |" for name, call in rows.items())]
    )


def _deciding(facts: Facts) -> Callable[[], object]:
    return lambda: decide.decide(facts)


def _stages(record: JobRecord, admitted: Admitted, landscape: Landscape) -> dict[str, Facts]:
    """Return what is known of an ordinary job at each of its moments."""

    def facts(job: JobRecord, run: Seen[Run] | Unread | None, **known: object) -> Facts:
        made = Facts(
            key=KEY,
            job=Seen(job, 3),
            landscape=landscape,
            now=NOW,
            run=run,
            message_sequence=9,
            admitted=admitted,
        )
        for name, value in known.items():
            setattr(made, name, value)
        return made

    own = Seen(CacheClaim(leader=KEY, at=NOW), 1)
    ended = Run(attempt=1, owner="w", state=RunState.OK, job_key=KEY, outputs=[_OUTPUT])
    over = msgspec.structs.replace(record, state=JobState.OK, outputs=[_OUTPUT], made=Made.RUN)
    return {
        "claim its cache key": facts(record, None),
        "ask for a place": facts(record, None, claim=own),
        "release": facts(record, None, claim=own, place=True, passage=True, money=Held.RESERVED),
        "its run has ended": facts(record, Seen(ended, 5)),
        "tell": facts(over, Seen(ended, 5)),
    }


def _coordinator() -> str:
    lines = [
        "| the coordinator, for one look at | nothing asked µs | half done µs | µs per step |",
        "|---|---|---|---|",
    ]
    for size in SIZES:
        record = record_of("c", size)
        begun, half = (_look(record, done) for done in (0, size // 2))
        first, middle = _micros(begun), _micros(half)
        lines.append(f"| {size} steps | {first:.0f} | {middle:.0f} | {middle / size:.1f} |")
    return "\n".join(lines)


def _look(record: CampaignRecord, done: int) -> Callable[[], object]:
    assert record.plan is not None
    jobs = {
        job.request_id: job for job in (_done(record, s.name) for s in record.plan.steps[:done])
    }
    seen = coordinator.Seen(record, 1, jobs, NOW)
    return lambda: coordinator.decide(seen)


def _done(record: CampaignRecord, step: str) -> JobRecord:
    return JobRecord(
        tenant=record.tenant,
        campaign_id=record.campaign_id,
        request_id=step_request_id(record.campaign_id, 1, step),
        capability=Capability.MESH,
        job_id="j",
        state=JobState.OK,
        request_hash="h",
        accepted_at=NOW,
        outputs=[_OUTPUT],
        made=Made.RUN,
    )


def _message() -> Message:
    request = GenerateImage(prompt="a can of lemonade " * 20, width=1024, height=1024)
    return Message("adgenx.req.acme.image.-.r1", encode(request), 9, NOW)


def _landscape() -> Landscape:
    manifests = [service.manifest for service in discover()]
    image = next(m for m in manifests if Capability.IMAGE in m.capabilities)
    manifests += [msgspec.structs.replace(image, name=f"other_{n:02}") for n in range(OTHERS)]
    return landscape_of(
        [
            ServiceRecord(
                manifest=manifest,
                revision="1",
                state=ServiceState.READY,
                workers=1,
                announced_at=NOW,
            )
            for manifest in manifests
        ],
        NOW,
    )


def _micros(call: Callable[[], object]) -> float:
    """Return the least mean of several repeats: whatever else the machine does only adds."""
    means = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        calls = 0
        while calls < CALLS and time.perf_counter() - began < SECONDS:
            call()
            calls += 1
        means.append((time.perf_counter() - began) / calls)
    return min(means) * 1e6
