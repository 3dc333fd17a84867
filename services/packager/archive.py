"""The ZIP: the same bytes for the same files on any machine, written with little memory.

Everything is stored, nothing deflated: media do not get smaller, and no two zlib versions promise
the same deflated bytes. Times, order, permissions and the writing system are fixed.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

from contracts.errors import ArtifactMissingError

_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_PERMISSIONS = 0o100644 << 16


class Archive:
    """A package while it is written. `advanced` is told the bytes copied so far."""

    def __init__(self, path: Path, advanced: Callable[[int], None]) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._advanced = advanced
        self._copied = 0

    def add_bytes(self, name: str, body: bytes) -> None:
        """Add a small file."""
        self._zip.writestr(_entry(name, len(body)), body)
        self._count(len(body))

    def add_file(self, name: str, path: Path, sha256: str) -> None:
        """Copy a file in; raise ArtifactMissingError if its bytes are not those of its hash."""
        digest = hashlib.sha256()
        size = path.stat().st_size
        with path.open("rb") as source, self._zip.open(_entry(name, size), "w") as out:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
                self._count(len(chunk))
        if digest.hexdigest() != sha256:
            raise ArtifactMissingError(f"the bytes of {name[:120]} do not match their hash")

    def close(self) -> None:
        """Write the directory; without it there is no archive."""
        self._zip.close()

    def _count(self, size: int) -> None:
        self._copied += size
        self._advanced(self._copied)


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_STORED
    info.create_system = _UNIX
    info.external_attr = _PERMISSIONS
    info.file_size = size  # decides on ZIP64 before the first byte is written
    return info
