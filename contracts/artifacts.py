"""References to stored bytes. The sha256 names the bytes; the key follows from tenant and hash."""

from __future__ import annotations

from typing import Annotated

import msgspec

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]

_SHA256_CHARACTERS = 64


class ArtifactRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored file. `name` is its role within the job's outputs (e.g. `film`, `captions`).

    Sizes in bytes and pixels, `seconds` of play time, `fps` frames per second; 0 where it does not
    apply. `labels` holds small facts about the content (e.g. `quiet_rgb`), never secrets.
    """

    key: str
    sha256: Sha256
    media_type: str
    size_bytes: int
    name: str = ""
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    labels: dict[str, str] = {}


def artifact_key(tenant: str, sha256: str) -> str:
    """Return the object key of a tenant's artifact."""
    return f"{tenant}/sha256/{sha256[:2]}/{sha256}"


def receipt_key(tenant: str, service: str, job_id: str) -> str:
    """Return the key of a long job's receipt: what that service stored for that job."""
    return f"{tenant}/out/{service}/{job_id}"


def note_key(tenant: str, service: str, job_id: str, name: str) -> str:
    """Return the key of a note that a service keeps of a job until it is over; no id has a dot."""
    return f"{receipt_key(tenant, service, job_id)}.{name}"


def staging_key(tenant: str, upload_id: str) -> str:
    """Return the key that a client's presigned upload writes to, before it is checked."""
    return f"{tenant}/upload/{upload_id}"


def trash_prefix(key: str) -> str:
    """Return the prefix under which copies of an artifact lie that retention has taken away; empty
    for a key that is no artifact's.
    """
    tenant, _, rest = key.partition("/sha256/")
    return f"{tenant}/trash/{rest[-_SHA256_CHARACTERS:]}/" if rest else ""


def trash_key(key: str, taken_at: float, token: str) -> str:
    """Return a key for one such copy, never used twice; `taken_at` is Unix seconds."""
    return f"{trash_prefix(key)}{int(taken_at * 1000):013d}-{token}"


class TrashKey(msgspec.Struct, frozen=True):
    """What a copy's key tells: where its original lay, and when it was taken (Unix seconds)."""

    original: str
    taken_at: float


def parse_trash(key: str) -> TrashKey | None:
    """Take a copy's key apart; None if it is none."""
    tenant, _, rest = key.partition("/trash/")
    sha256, _, stamp = rest.partition("/")
    millis = stamp.partition("-")[0]
    if len(sha256) != _SHA256_CHARACTERS or not millis.isdigit():
        return None
    return TrashKey(artifact_key(tenant, sha256), int(millis) / 1000)
