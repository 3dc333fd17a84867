"""What may come in: a message of REQUESTS becomes a request and its first record, or an error.

Pure. The subject is the authority for the ids; the body may repeat them and must then agree.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

import msgspec

from contracts import canonical, pricing
from contracts.artifacts import artifact_key
from contracts.capability import Capability, capability_of
from contracts.codec import BODY_LIMIT, decode_input, encode
from contracts.errors import (
    AdgenxError,
    DeadlineExpiredError,
    InvalidRequestError,
    JobCancelledError,
    UnsupportedVersionError,
)
from contracts.identity import NO_CAMPAIGN, job_id_of
from contracts.jobs import JobRecord, JobState
from contracts.manifest import ServiceRecord
from contracts.requests import ComposeMedia, FilmWork, GenerateVideo, Request
from contracts.subjects import RequestSubject, job_key, parse_request
from contracts.text import strings
from services.router.routing import provenance

MAX_FILM_PIXELS = 2 * 10**11
"""Pixels times frames of one film: ten minutes of 4K at 30 frames per second, and a little."""

CAPABILITY_LABEL = "capability"
"""Label of a cancel command, and then of a tombstone, that says what the request would be."""

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SUSPECT = re.compile(rb"\\[ubf]|\x7f|\xc2[\x80-\x9f]")
"""How a control character looks in JSON; it may also be the end of something harmless."""
_decoder = msgspec.json.Decoder(Request)


class Message(NamedTuple):
    """A message of REQUESTS; `stored_at` (Unix seconds) is when the client was promised it."""

    subject: str
    data: bytes
    sequence: int
    stored_at: float


class Admitted(NamedTuple):
    """A message that was understood. `deadline_at` in Unix seconds, 0 for none."""

    ids: RequestSubject
    capability: Capability
    request: Request
    request_hash: str
    message: Message

    @property
    def key(self) -> str:
        """Key of its JobRecord."""
        return job_key(self.ids.tenant, self.ids.campaign_id, self.ids.request_id)

    @property
    def deadline_at(self) -> float:
        """When its work must have been done."""
        seconds = self.request.deadline_seconds
        return self.message.stored_at + seconds if seconds else 0.0


def admit(message: Message) -> Admitted:
    """Understand a message, or raise the typed error that its sender shall read."""
    ids = parse_request(message.subject)
    capability = Capability(ids.token)
    request = _decode(message.data)
    if capability_of(str(request.__struct_config__.tag)) is not capability:
        raise UnsupportedVersionError(
            f"type: the subject asks for {capability}, which takes {capability.request_type}",
            field="type",
        )
    _check_ids(request, ids)
    _check_text(request)
    _check_artifacts(request, ids.tenant)
    _check_size(request)
    return Admitted(ids, capability, request, canonical.request_hash(request), message)


def first_record(admitted: Admitted, service: ServiceRecord) -> JobRecord:
    """Return the record of a request for which a service has just been chosen."""
    return with_service(_blank(admitted), admitted.request, service)


def with_service(job: JobRecord, request: Request, service: ServiceRecord) -> JobRecord:
    """Return the record as it is when this service shall do the request."""
    maker = provenance(request, service)
    return msgspec.structs.replace(
        job,
        state=JobState.NEW,
        service=service.manifest.name,
        provenance=maker,
        price=pricing.price(service.manifest, request),
        cache_key=canonical.cache_key(request, maker),
        fingerprint=canonical.fingerprint(request, maker),
    )


def failed_record(admitted: Admitted, error: AdgenxError, now: float) -> JobRecord:
    """Return the terminal record of a request that was understood and yet cannot be done."""
    return msgspec.structs.replace(
        _blank(admitted), state=JobState.FAILED, error=error.info(), ended_at=now
    )


def rejected_record(
    ids: RequestSubject, message: Message, error: AdgenxError, now: float
) -> JobRecord:
    """Return the terminal record of a message that was not understood."""
    return JobRecord(
        tenant=ids.tenant,
        campaign_id=ids.campaign_id,
        request_id=ids.request_id,
        capability=Capability(ids.token),
        job_id=job_id_of(ids.tenant, ids.campaign_id, ids.request_id),
        state=JobState.FAILED,
        request_hash=body_hash(message.data),
        accepted_at=message.stored_at,
        error=error.info(),
        ended_at=now,
    )


def tombstone(ids: RequestSubject, now: float) -> JobRecord:
    """Return the terminal record of a request that was cancelled before it came.

    Its request hash is empty: whatever comes under this id later is cancelled already.
    """
    return JobRecord(
        tenant=ids.tenant,
        campaign_id=ids.campaign_id,
        request_id=ids.request_id,
        capability=Capability(ids.token),
        job_id=job_id_of(ids.tenant, ids.campaign_id, ids.request_id),
        state=JobState.CANCELLED,
        request_hash="",
        accepted_at=now,
        error=JobCancelledError("it was cancelled before it was asked for").info(),
        ended_at=now,
    )


def expired(admitted: Admitted, now: float) -> DeadlineExpiredError | None:
    """Return the error of a request whose deadline has passed."""
    if not admitted.deadline_at or now <= admitted.deadline_at:
        return None
    return DeadlineExpiredError(
        f"it was to be done within {admitted.request.deadline_seconds:g} s of its acceptance"
    )


def same_request(job: JobRecord, request_hash: str) -> bool:
    """Say whether a record is this request's: an equal repeat, or cancelled before it came."""
    return job.request_hash in ("", request_hash)


def body_hash(data: bytes) -> str:
    """Hash that stands for a body which could not be understood."""
    return hashlib.sha256(data).hexdigest()


def _blank(admitted: Admitted) -> JobRecord:
    ids = admitted.ids
    return JobRecord(
        tenant=ids.tenant,
        campaign_id=ids.campaign_id,
        request_id=ids.request_id,
        capability=admitted.capability,
        job_id=job_id_of(ids.tenant, ids.campaign_id, ids.request_id),
        state=JobState.NEW,
        request_hash=admitted.request_hash,
        accepted_at=admitted.message.stored_at,
        webhook=admitted.request.webhook,
        labels=admitted.request.labels,
    )


def _decode(data: bytes) -> Request:
    # The prepared decoder is fast; the slow way knows the words of the error.
    if len(data) <= BODY_LIMIT:
        try:
            request: Request = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            return request
    slow: Request = decode_input(data, Request)
    return slow


def _check_ids(request: Request, ids: RequestSubject) -> None:
    campaign_id = "" if ids.campaign_id == NO_CAMPAIGN else ids.campaign_id
    pairs = (
        ("tenant", request.tenant, ids.tenant),
        ("request_id", request.request_id, ids.request_id),
        ("campaign_id", request.campaign_id.removeprefix(NO_CAMPAIGN), campaign_id),
    )
    for field, said, meant in pairs:
        if said and said != meant:
            raise InvalidRequestError(f"{field}: the subject names another one", field=field)


def _check_text(request: Request) -> None:
    if not _SUSPECT.search(encode(request)):
        return
    for path, text in strings(msgspec.to_builtins(request)):
        found = _CONTROLS.search(text)
        if found:
            raise InvalidRequestError(
                f"{path}: holds a control character (U+{ord(found.group()):04X})", field=path
            )


def _check_artifacts(request: Request, tenant: str) -> None:
    """Refuse a reference to anything but this tenant's own content-addressed objects."""
    for ref in canonical.inputs(request):
        if ref.key != artifact_key(tenant, ref.sha256):
            texts = strings(msgspec.to_builtins(request))
            field = next(p for p, text in texts if text == ref.key and p.endswith("key"))
            raise InvalidRequestError(
                f"{field}: must be the key of your own artifact, as its sha256 gives it",
                field=field,
            )


def _check_size(request: Request) -> None:
    """Bound the product: each side and length may be legal and the film still unmakeable."""
    match request:
        case GenerateVideo(width=width, height=height, seconds=seconds, fps=fps):
            pixels = width * height * seconds * fps
        case ComposeMedia(work=FilmWork() as work):
            seconds = sum(shot.seconds for shot in work.shots)
            pixels = work.width * work.height * seconds * work.fps
        case _:
            return
    if pixels > MAX_FILM_PIXELS:
        raise InvalidRequestError(
            f"width x height x seconds x fps is {pixels:.3g}; at most {MAX_FILM_PIXELS:.3g}",
            field="seconds",
        )
