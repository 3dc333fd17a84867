"""The keys that webhooks are signed with: one file for each tenant, on the sender's machine.

    <secrets_dir>/webhooks/<tenant>.json      mode 0600, in a folder of mode 0700

They stand nowhere else: not in a record, an event, a log or a command line. The file is made when
a tenant is first signed for. Senders on several machines must share the folder, or receivers would
meet signatures of two strangers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bus.durability import fsync
from contracts.errors import AdgenxError
from contracts.identity import check_id
from contracts.webhook_signature import new_key

OVERLAP_SECONDS = 24 * 3600.0
"""After a rotation old and new key both sign for so long, so that no receiver is caught between."""

FOLDER = "webhooks"
_LOCK = ".lock"


class KeysUnreadableError(AdgenxError):
    """A tenant's key file cannot be read, written or understood; the message names the file."""

    code = "KEYS_UNREADABLE"


class SigningKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key; it signs until `until` (Unix seconds), 0 for no end. Never shows in a repr."""

    key: str
    until: float = 0.0

    def __repr__(self) -> str:
        return f"SigningKey(key=***, until={self.until})"


_decoder = msgspec.json.Decoder(list[SigningKey])


class Keyring:
    """The keys of every tenant. Files are small and local; calls block for about a millisecond."""

    def __init__(self, secrets_dir: Path) -> None:
        self._folder = secrets_dir / FOLDER

    def signing(self, tenant: str, now: float) -> list[SigningKey]:
        """Return the keys that sign at a time, the newest first; make one if there is none."""
        path = self._path(tenant)
        with self._translated(path):
            found = _read(path)
            if found is None:
                with self._locked():
                    found = _read(path)
                    if found is None:
                        found = [SigningKey(new_key())]
                        _write(path, found)
        return [k for k in found if not k.until or now < k.until]

    def rotate(self, tenant: str, now: float) -> list[SigningKey]:
        """Put a new key before the others, which go on signing for a day; return what signs now."""
        path = self._path(tenant)
        with self._translated(path), self._locked():
            kept = [
                msgspec.structs.replace(k, until=k.until or now + OVERLAP_SECONDS)
                for k in _read(path) or []
                if not k.until or now < k.until
            ]
            found = [SigningKey(new_key()), *kept]
            _write(path, found)
        return found

    def _path(self, tenant: str) -> Path:
        return self._folder / f"{check_id(tenant, 'tenant')}.json"

    @contextlib.contextmanager
    def _translated(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise KeysUnreadableError(f"the key file {path}: {reason}") from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change files here."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> list[SigningKey] | None:
    try:
        found = _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    if not found:
        raise ValueError(path)
    return found


def _write(path: Path, keys: list[SigningKey]) -> None:
    """Replace the file whole: a reader sees the old keys or the new ones, also after a crash.

    Once this has returned it is the new ones, also after a power cut: somebody was told of them.
    """
    fresh = path.with_suffix(".part")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(keys))
    fsync(fresh)
    fresh.replace(path)
    fsync(path.parent)
