"""What the intake tells: pure, from a command or a record to an event."""

from __future__ import annotations

from typing import NamedTuple

from contracts import events, subjects
from contracts.artifacts import ArtifactRef
from contracts.assets import MAX_UPLOAD_BYTES, LinkArtifact, UploadAsset, UploadRecord
from contracts.codec import encode
from contracts.errors import ErrorInfo, InvalidRequestError, TooLargeError
from contracts.identity import NO_CAMPAIGN

UPLOAD_SECONDS = 15 * 60
LONGEST_LINK_SECONDS = 24 * 3600


class Word(NamedTuple):
    """One message to publish once."""

    subject: str
    body: bytes


def check_upload(command: UploadAsset) -> None:
    """Refuse a size that is never accepted, before anything is promised."""
    if command.size_bytes < 1:
        raise InvalidRequestError("size_bytes: the file is empty", field="size_bytes")
    if command.size_bytes > MAX_UPLOAD_BYTES:
        raise TooLargeError(
            f"size_bytes: {command.size_bytes}; at most {MAX_UPLOAD_BYTES} are accepted",
            field="size_bytes",
        )


def check_link(command: LinkArtifact) -> None:
    """Refuse a link that would be valid for no time, or for longer than a day."""
    if not 1 <= command.expires_seconds <= LONGEST_LINK_SECONDS:
        raise InvalidRequestError(
            f"expires_seconds: 1 to {LONGEST_LINK_SECONDS} are accepted", field="expires_seconds"
        )


def promised(command: UploadAsset, tenant: str, upload_id: str, now: float) -> UploadRecord:
    """Return the record of an upload that may come for a while."""
    return UploadRecord(
        tenant=tenant,
        upload_id=upload_id,
        role=command.role,
        size_bytes=command.size_bytes,
        sha256=command.sha256,
        rights=command.rights,
        expires_at=now + UPLOAD_SECONDS,
    )


def upload_link(record: UploadRecord, url: str, at: float) -> Word:
    """Say where to PUT the bytes."""
    event = events.UploadLink(
        request_id=record.upload_id, at=at, url=url, expires_at=record.expires_at
    )
    return _word(record.tenant, record.upload_id, events.UPLOAD_LINK, event)


def upload_refused(tenant: str, upload_id: str, error: ErrorInfo, at: float) -> Word:
    """Say why nothing may be PUT."""
    event = events.UploadLink(request_id=upload_id, at=at, error=error)
    return _word(tenant, upload_id, events.UPLOAD_LINK, event)


def asset_kept(record: UploadRecord, asset: ArtifactRef, at: float) -> Word:
    """Say what became of the file."""
    event = events.AssetResult(request_id=record.upload_id, at=at, asset=asset, role=record.role)
    return _word(record.tenant, record.upload_id, events.ASSET_RESULT, event)


def asset_refused(record: UploadRecord, error: ErrorInfo, at: float) -> Word:
    """Say why the file was not kept."""
    event = events.AssetResult(request_id=record.upload_id, at=at, role=record.role, error=error)
    return _word(record.tenant, record.upload_id, events.ASSET_RESULT, event)


def asset_subject(record: UploadRecord) -> str:
    """Return where it is said what became of the file."""
    return subjects.event(record.tenant, NO_CAMPAIGN, record.upload_id, events.ASSET_RESULT)


def link(tenant: str, link_id: str, url: str, expires_at: float, at: float) -> Word:
    """Say where to GET an artifact."""
    event = events.LinkResult(request_id=link_id, at=at, url=url, expires_at=expires_at)
    return _word(tenant, link_id, events.LINK_RESULT, event)


def link_refused(tenant: str, link_id: str, error: ErrorInfo, at: float) -> Word:
    """Say why there is no link."""
    event = events.LinkResult(request_id=link_id, at=at, error=error)
    return _word(tenant, link_id, events.LINK_RESULT, event)


def _word(tenant: str, request_id: str, name: str, event: events.Event) -> Word:
    return Word(subjects.event(tenant, NO_CAMPAIGN, request_id, name), encode(event))
