"""Bring the users of a composed appliance, and what each may do, into MinIO or a fork of it.

    python -m appliance.container_minio

SeaweedFS reads them from a file; MinIO keeps them itself and is told through its admin API, which
encrypts what is secret even without TLS. Can be repeated: what is there is set again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin
from urllib3.exceptions import HTTPError

from bus.credentials import S3Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bus.access.policy import User

USERS_FILE = "minio.json"


class StoreUser(msgspec.Struct, frozen=True):
    """A user with its key and its policy document."""

    name: str
    key: S3Key
    policy: msgspec.Raw


class Listing(msgspec.Struct, frozen=True):
    """All that MinIO must be told, and the key of who may tell it."""

    root: S3Key
    users: list[StoreUser]


def listing(
    users: Iterable[User], keys: Mapping[str, S3Key], policies: Mapping[str, bytes]
) -> Listing:
    """Return what is to be told; the administrator is the server's own first user. Pure."""
    told = list(users)
    (root,) = (keys[user.name] for user in told if user.unlimited)
    limited = [user.name for user in told if user.name in keys and not user.unlimited]
    return Listing(root, [StoreUser(n, keys[n], msgspec.Raw(policies[n])) for n in limited])


def install(admin: MinioAdmin, users: Iterable[StoreUser]) -> None:
    """Tell all of it. Raises MinioAdminException and urllib3's HTTPError."""
    for user in users:
        admin.user_add(user.key.access_key, user.key.secret_key)
        admin.policy_add(user.name, policy=msgspec.json.decode(user.policy))
        admin.policy_set(user.name, user=user.key.access_key)


def connect(url: str, root: S3Key) -> MinioAdmin:
    """Return the admin API of a server."""
    found = urlsplit(url)
    return MinioAdmin(
        endpoint=found.netloc,
        credentials=StaticProvider(root.access_key, root.secret_key),
        secure=found.scheme == "https",
    )


def main() -> int:
    """Do it with what prepare has made; 1 if the server refuses."""
    folder = Path(os.environ["CREDENTIALS_DIRECTORY"])
    told = msgspec.json.decode((folder / USERS_FILE).read_bytes(), type=Listing)
    try:
        install(connect(os.environ["ADGENX_S3_ENDPOINT"], told.root), told.users)
    except (MinioAdminException, HTTPError) as error:
        sys.stderr.write(f"MinIO did not take its users: {error}\n")
        return 1
    sys.stdout.write(f"{len(told.users)} users\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
