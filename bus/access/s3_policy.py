"""What the store shall let each user do, for SeaweedFS and for MinIO. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from bus.access.keys import S3Key
from bus.access.policy import User


def identities(users: list[User], keys: Mapping[str, S3Key], bucket: str) -> bytes:
    """Return SeaweedFS's identities.json (`-s3.config`). Holds the keys: a secret file."""
    raise NotImplementedError


def minio_policies(users: list[User], bucket: str) -> dict[str, bytes]:
    """Return MinIO's policy document of every user that has a key, by the user's name."""
    raise NotImplementedError
