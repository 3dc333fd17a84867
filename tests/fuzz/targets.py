"""What takes messages in, for each contract: bytes end well there, or in a typed error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.worker import loop
from contracts import canonical, schema, subjects
from contracts.campaign import RerunCampaign, RunCampaign
from contracts.capability import Capability
from contracts.codec import decode_input, encode
from contracts.errors import AdgenxError, ErrorInfo
from contracts.jobs import JobRecord, JobState, Provenance
from services.coordinator import acceptance
from services.router import admission, telling
from services.router.admission import Message

GOLDEN = Path(__file__).parents[1] / "golden"
TENANT, CAMPAIGN_ID, REQUEST_ID = "acme", "kestrel-launch", "r1"
NOW = 1_800_000_000.0
MAKER = Provenance(service="any", model="any", revision="1")

Take = Callable[[bytes], None]


class UntypedError(AssertionError):
    """Something else than a typed error came out."""


class Target(NamedTuple):
    """A contract: good messages of its, and what they are handed to."""

    name: str
    samples: list[bytes]
    take: Take


def refusals(take: Take, body: bytes) -> str:
    """Hand a body over; return its refusal's code, or `ok`; raise UntypedError at anything else."""
    try:
        take(body)
    except AdgenxError as error:
        info = error.info()
        encode(info)  # it must be able to travel
        return info.code
    except Exception as error:
        raise UntypedError(f"{type(error).__name__}: {error}; body {body[:300]!r}") from error
    return "ok"


def _request(capability: Capability) -> Take:
    subject = subjects.request(TENANT, capability, CAMPAIGN_ID, REQUEST_ID)

    def take(body: bytes) -> None:
        message = Message(subject, body, 1, NOW)
        admitted = admission.admit(message)
        canonical.cache_key(admitted.request, MAKER)
        canonical.fingerprint(admitted.request, MAKER)
        job = JobRecord(
            tenant=TENANT,
            campaign_id=CAMPAIGN_ID,
            request_id=REQUEST_ID,
            capability=capability,
            job_id="j",
            state=JobState.OK,
            request_hash=admitted.request_hash,
            accepted_at=NOW,
            labels=admitted.request.labels,
        )
        telling.result(job)
        # What was admitted must come back as it was: the worker decodes what the router encodes.
        again = msgspec.json.decode(encode(admitted.request), type=type(admitted.request))
        assert again == admitted.request

    return take


class _RefusedError(AdgenxError):
    """A refusal that was written down instead of being raised."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self._info = info

    def info(self) -> ErrorInfo:
        return self._info


def _brief(kind: type[RunCampaign | RerunCampaign], base: int) -> Take:
    def take(body: bytes) -> None:
        wanted = acceptance.understand(body, kind, TENANT, CAMPAIGN_ID, NOW, base)
        record = acceptance.first_record(TENANT, CAMPAIGN_ID, wanted, NOW)
        assert msgspec.json.decode(encode(record), type=type(record)) == record
        if wanted.error is not None:
            raise _RefusedError(wanted.error)

    return take


def _command(kind: type[msgspec.Struct]) -> Take:
    def take(body: bytes) -> None:
        encode(decode_input(body, kind))

    return take


def _work(body: bytes) -> None:
    try:
        encode(loop._read(loop._job, body))
    except (ValueError, RecursionError):
        return  # what the loop buries as unreadable


def _samples(tag: str) -> list[bytes]:
    paths = [GOLDEN / f"{tag}.json", *sorted(GOLDEN.glob(f"{tag}+*.json"))]
    return [path.read_bytes() for path in paths]


def targets() -> list[Target]:
    """Return every contract that takes messages from outside, and the work message."""
    found = [Target(c.request_type, _samples(c.request_type), _request(c)) for c in schema.REQUESTS]
    found += [
        Target("run_campaign.v1", _samples("run_campaign.v1"), _brief(RunCampaign, 0)),
        Target("rerun_campaign.v1", _samples("rerun_campaign.v1"), _brief(RerunCampaign, 1)),
        Target("record.job", _samples("record.job"), _work),
    ]
    known = {target.name for target in found}
    commands = [*(kind for kind, _ in schema.COMMANDS.values()), *schema.OPERATIONS]
    for kind in dict.fromkeys(commands):
        tag = str(kind.__struct_config__.tag)
        if tag not in known:
            found.append(Target(tag, _samples(tag), _command(kind)))
    return found
