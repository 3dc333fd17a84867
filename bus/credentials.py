"""Keys that a process is handed as files: an nkey for NATS, a pair of keys for the store.

    nats.nk    "# adgenx user <name>", then the seed; a seed alone serves as well
    s3.json    {"access_key": ..., "secret_key": ...}

Where nobody says otherwise they lie in `$CREDENTIALS_DIRECTORY`, where systemd puts them for one
unit alone. The name says which inbox its answers may come to, and whose tenant's key it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contracts.identity import is_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NKEY_FILE = "nats.nk"
S3_FILE = "s3.json"
TENANT_PREFIX = "tenant-"
"""Names of the tenants' users begin so."""
_OWNER = "# adgenx user "
_SEED = "SU"


class S3Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the store. Its repr shows only half of it."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"S3Key({self.access_key!r}, ***)"


def inbox_of(user: str) -> str:
    """Return where a user's answers come to; nobody else may listen there."""
    return f"_INBOX_{user}"


def nkey_text(user: str, seed: str) -> str:
    """Return what an nkey's file holds."""
    return f"{_OWNER}{user}\n{seed}\n"


def read_nkey(path: Path) -> tuple[str, str]:
    """Return the user's name, "" where the file tells none, and the seed.

    Raises OSError, and ValueError for a file without a seed; its text is never in the message.
    """
    user = seed = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(_OWNER):
            user = line.removeprefix(_OWNER).strip()
        elif line.strip().startswith(_SEED):
            seed = line.strip()
    if not seed or (user and not is_id(user)):
        raise ValueError("it holds no seed of a user's nkey")
    return user, seed


def read_s3_key(path: Path) -> S3Key:
    """Read a key of the store. Raises OSError, and ValueError for a file that holds none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=S3Key)
    except msgspec.DecodeError:
        raise ValueError("it holds no access_key and secret_key") from None


def handed(environ: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """Return the files that lie in `folder` and that the environment does not name, by variable."""
    names = {"ADGENX_NATS_NKEY": NKEY_FILE, "ADGENX_S3_KEYS": S3_FILE}
    found = {v: folder / n for v, n in names.items() if folder is not None and not environ.get(v)}
    return {variable: str(path) for variable, path in found.items() if path.is_file()}
