"""Keys of the users: made once, kept as files that only root reads, rotated by deleting one.

<secrets>/<user>/nats.nk   the seed of an nkey (ADGENX_NATS_NKEY, `$CREDENTIALS_DIRECTORY`)
<secrets>/<user>/s3.json   {"access_key": ..., "secret_key": ...}, for who has rights there
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.access.policy import User

NKEY_FILE = "nats.nk"
S3_FILE = "s3.json"


class S3Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the store."""

    access_key: str
    secret_key: str


class Keyring(NamedTuple):
    """What the servers need to know, by user: the public half of each nkey, and the S3 keys."""

    nkeys: dict[str, str]
    s3: dict[str, S3Key]


def make(secrets: Path, users: list[User]) -> Keyring:
    """Make what is missing, leave what is there, return all of it. Idempotent.

    Raises SettingsError for a file that holds no key, or when the package `nkeys` is missing.
    """
    raise NotImplementedError
