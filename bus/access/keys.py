"""Keys of the users: made once, kept as files that only their owner reads.

    <secrets>/<user>/nats.nk   the seed of an nkey, see bus/credentials.py
    <secrets>/<user>/s3.json   a key of the store, for who has rights there

To rotate a key, delete its file, make the keys again, render both servers' configurations, have
nats-server reload and the store start anew: docs/access.md.
"""

from __future__ import annotations

import secrets
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bus.credentials import NKEY_FILE, S3_FILE, S3Key, nkey_text, read_nkey, read_s3_key
from bus.servers import write_private
from bus.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bus.access.policy import User

__all__ = ["NKEY_FILE", "S3_FILE", "Keyring", "S3Key", "make"]

_SEED_BYTES = 32


class Keyring(NamedTuple):
    """What the servers need to know, by user: the public half of each nkey, and the S3 keys."""

    nkeys: dict[str, str]
    s3: dict[str, S3Key]


def make(folder: Path, users: Iterable[User]) -> Keyring:
    """Make what is missing in the folder of secrets, leave what is there, return all of it.

    Raises SettingsError for a file that holds no key, and where the package `nkeys` is missing.
    """
    if find_spec("nkeys") is None:
        raise SettingsError("keys need: pip install 'adgenxai[appliance]'")
    found = Keyring({}, {})
    for user in users:
        own = folder / user.name
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        found.nkeys[user.name] = _nkey(own / NKEY_FILE, user.name)
        if user.objects:
            found.s3[user.name] = _s3_key(own / S3_FILE, user.name)
    return found


def _nkey(path: Path, user: str) -> str:
    """Return the public half of a user's nkey; make it if there is none."""
    import nkeys  # noqa: PLC0415 - an appliance has it; what only reads the table need not

    if not path.exists():
        seed = nkeys.encode_seed(secrets.token_bytes(_SEED_BYTES), nkeys.PREFIX_BYTE_USER)
        write_private(path, nkey_text(user, seed.decode()).encode())
    try:
        owner, text = read_nkey(path)
        pair = nkeys.from_seed(bytearray(text.encode()))
        public = bytes(pair.public_key).decode()
        pair.wipe()
    except (OSError, ValueError, nkeys.NkeysError) as error:
        raise SettingsError(f"{path} cannot be used: {type(error).__name__}") from None
    if owner not in ("", user) or not public.startswith("U"):
        raise SettingsError(f"{path} is the key of somebody else")
    return public


def _s3_key(path: Path, user: str) -> S3Key:
    """Return a user's key of the store; make it if there is none."""
    if not path.exists():
        made = S3Key(f"{user}-{secrets.token_hex(4)}", secrets.token_urlsafe(30))
        write_private(path, msgspec.json.encode(made))
    try:
        return read_s3_key(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be used: {error}") from None
