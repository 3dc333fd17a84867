"""A folder of backups: the pool of objects that they share, and what makes one complete.

    <folder>/objects/ab/<sha256>    bytes, once for all backups that name them
    <folder>/<stamp>/               a backup: streams/, heard.ndjson, objects.ndjson, manifest.json
    <folder>/.<stamp>.partial/      one that is being taken, or was broken off
    <folder>/.lock                  held by whoever writes here

A backup is complete if its manifest is there, under its own name: both come last. What was broken
off is cleared away by the next one. Bytes that a complete backup names are not copied again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING

import msgspec

from bus.durability import fsync, syncfs
from contracts.backup import FORMAT, BackupManifest, FilePart, StoredObject
from contracts.errors import AdgenxError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = "manifest.json"
OBJECTS = "objects.ndjson"
STREAMS = "streams"
POOL = "objects"
_CHUNK = 1024 * 1024


class BackupDamagedError(AdgenxError):
    """A file of a backup is missing or not what the manifest says; the message names it."""

    code = "BACKUP_DAMAGED"


class BackupMissingError(AdgenxError):
    """There is no complete backup in this folder."""

    code = "BACKUP_MISSING"


class BackupBusyError(AdgenxError):
    """Another process writes into this folder of backups."""

    code = "BACKUP_BUSY"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Be the only one who writes into a folder of backups; BackupBusyError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupBusyError(f"another backup is being taken into {folder}") from None
        yield
    finally:
        os.close(descriptor)


class Pool:
    """The bytes of all backups of a folder, by their hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / POOL
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path_of(self, sha256: str) -> Path:
        """Return where bytes lie, or would."""
        return self._folder / sha256[:2] / sha256

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Say whether bytes of this hash and size are here; verifying reads them."""
        try:
            return self.path_of(sha256).stat().st_size == size_bytes
        except OSError:
            return False

    def part(self, name: str) -> Path:
        """Return where bytes are put that are on their way here; `keep` takes them in."""
        return self._folder / f".{name}.part"

    def keep(self, part: Path, sha256: str) -> None:
        """Take a file in under its hash."""
        target = self.path_of(sha256)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        part.replace(target)

    def clear(self, named: set[str]) -> int:
        """Remove what no backup names, and what was broken off; return how many."""
        removed = 0
        for part in self._folder.glob(".*.part"):
            part.unlink(missing_ok=True)
        for shelf in self._folder.iterdir():
            for path in shelf.iterdir() if shelf.is_dir() else ():
                if path.name not in named:
                    path.unlink()
                    removed += 1
        return removed


def begin(folder: Path) -> Path:
    """Clear away what was broken off and return a new backup's folder, not complete yet."""
    for left in folder.glob(".*.partial"):
        shutil.rmtree(left)
    for part in (folder / POOL).glob(".*.part"):
        part.unlink()
    while (folder / _stamp()).exists():  # two within one second
        time.sleep(0.05)
    partial = folder / f".{_stamp()}.partial"
    partial.mkdir(mode=0o700)  # briefs are in it; the folder of backups may be everybody's
    (partial / STREAMS).mkdir(mode=0o700)
    return partial


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def complete(partial: Path, manifest: BackupManifest) -> Path:
    """Write the manifest, when everything else is on the disk; return the finished backup."""
    syncfs(partial)
    path = partial / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    fsync(path)
    fsync(partial)
    target = partial.with_name(partial.name.removeprefix(".").removesuffix(".partial"))
    partial.rename(target)
    fsync(target.parent)
    return target


def backups(folder: Path) -> list[Path]:
    """Return the complete backups of a folder, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p.parent for p in folder.glob(f"[0-9]*/{MANIFEST}"))


def chosen(folder: Path) -> Path:
    """Return the backup that a person means: this one, or a folder's newest; BackupMissingError."""
    if (folder / MANIFEST).is_file():
        return folder
    found = backups(folder)
    if not found:
        raise BackupMissingError(f"there is no complete backup in {folder}")
    return found[-1]


def manifest_of(backup: Path) -> BackupManifest:
    """Read a backup's manifest; BackupDamagedError, also for one of a newer format."""
    path = backup / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=BackupManifest)
    except OSError as error:
        raise BackupDamagedError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupDamagedError(f"{path}: {error}") from error
    if found.format != FORMAT:
        raise BackupDamagedError(f"{path}: its format is {found.format}, this release's {FORMAT}")
    return found


def objects_of(backup: Path) -> list[StoredObject]:
    """Read a backup's list of objects."""
    decoder = msgspec.json.Decoder(StoredObject)
    return [decoder.decode(line) for line in (backup / OBJECTS).read_bytes().splitlines()]


def write_objects(partial: Path, objects: list[StoredObject]) -> FilePart:
    """Write the list of objects, by key."""
    data = b"".join(msgspec.json.encode(o) + b"\n" for o in sorted(objects, key=lambda o: o.key))
    (partial / OBJECTS).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return FilePart(path=OBJECTS, size_bytes=len(data), sha256=digest, entries=len(objects))


def verify(backup: Path) -> list[str]:
    """Read every file of a backup, and its objects; return what is wrong, naming the file."""
    manifest = manifest_of(backup)
    parts = [*(s.file for s in manifest.streams), manifest.heard, manifest.objects]
    wrong = [f"{backup / p.path}: {why}" for p in parts if (why := _wrong(backup / p.path, p))]
    if any(str(backup / OBJECTS) in line for line in wrong):
        return wrong
    pool = Pool(backup.parent)
    for found in {o.sha256: o for o in objects_of(backup)}.values():
        path = pool.path_of(found.sha256)
        why = _wrong(path, found)
        if why:
            wrong.append(f"{path}: {why} ({found.key})")
    return wrong


def _wrong(path: Path, said: FilePart | StoredObject) -> str:
    try:
        if path.stat().st_size != said.size_bytes:
            return f"has {path.stat().st_size} bytes, not {said.size_bytes}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return str(error.strerror)
    return "" if digest == said.sha256 else "is not what its hash says"


def keep_newest(folder: Path, count: int) -> list[str]:
    """Remove complete backups beyond the newest so many, and the objects that only they named.

    Returns the names of those that went.
    """
    old = backups(folder)[:-count]
    for backup in old:
        gone = folder / f".{backup.name}.partial"
        backup.rename(gone)  # from here on it is none, even if this is broken off
        shutil.rmtree(gone)
    if old:
        Pool(folder).clear({o.sha256 for b in backups(folder) for o in objects_of(b)})
    return [backup.name for backup in old]
