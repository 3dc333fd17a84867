"""References to stored bytes. The sha256 names the bytes; the key follows from tenant and hash."""

from __future__ import annotations

from typing import Annotated

import msgspec

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


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


def staging_key(tenant: str, upload_id: str) -> str:
    """Return the key that a client's presigned upload writes to, before it is checked."""
    return f"{tenant}/upload/{upload_id}"
