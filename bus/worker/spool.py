"""Finished work on the local disk, until it is stored and committed.

    <spool>/<service>/work/<worker>/<n>/     scratch of running jobs; a dead worker's is swept
    <spool>/<service>/done/<job_id>/         outputs, and result.json written after their bytes
    <spool>/<service>/notes/<job_id>.<name>  notes of paid work: see notes.py
    <spool>/<service>/inputs/<sha256>        input artifacts, least recently used leave first

A store that is away, or a worker that is killed after the model has finished, costs no second run:
the next delivery of the job adopts what lies here, if the same engine made it for the same request.
The marker holds the hash of every file, and the upload checks it: torn bytes are never adopted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
import time
from pathlib import Path

import msgspec

from bus.artifacts import sha256_of
from bus.durability import fsync
from bus.worker import notes
from bus.worker.model import Media
from contracts import canonical
from contracts.artifacts import ArtifactRef, artifact_key
from contracts.requests import Request

MARKER = "result.json"
LOCK = "lock"
KEEP_SECONDS = 48 * 3600.0
"""A finished result that nobody came for is removed at a later start."""
PART_SECONDS = 3600.0
"""A download that was begun so long ago was broken off."""
SYNC_FROM_SECONDS = 1.0
"""A run as long as this is worth an fsync; a shorter one is repeated sooner than that."""
LITTER_SECONDS = 0.2
"""How long scratch folders lie about after their runs."""


class Made(msgspec.Struct, frozen=True):
    """What a run made, and how long it took."""

    media: list[Media]
    run_seconds: float


class Finished(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finished run. `outputs` are complete but for not being stored; `files` lie beside them."""

    job_id: str
    request_hash: str
    revision: str
    outputs: list[ArtifactRef]
    files: list[str]
    run_seconds: float


class Spool:
    """The folders of one service on this machine; several workers may share them. Blocks.

    `revision` is that of the engine: what another one has finished is not adopted.
    """

    def __init__(self, root: Path, service: str, revision: str) -> None:
        self._done = root / service / "done"
        self._work = root / service / "work"
        self.inputs = root / service / "inputs"
        self.notes = root / service / "notes"
        self.revision = revision
        self._numbers = itertools.count()
        for folder in (self._done, self._work, self.inputs, self.notes):
            folder.mkdir(parents=True, exist_ok=True)
        self._sweep(time.time())
        self._own, self._lock = _occupy(self._work)

    def close(self) -> None:
        """Remove this worker's scratch. Finished results stay."""
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)

    def scratch(self) -> Path:
        """Return a fresh path for one run's scratch folder; whoever uses it first makes it."""
        return self._own / str(next(self._numbers))

    def keep(self, job_id: str, request: Request, tenant: str, made: Made) -> Finished:
        """Move a run's outputs out of its scratch and mark them as finished."""
        sync = made.run_seconds >= SYNC_FROM_SECONDS
        folder = self._done / job_id
        part = self._own / f"{next(self._numbers)}.done"
        part.mkdir()
        outputs = []
        for number, media in enumerate(made.media):
            path = part / str(number)
            media.path.rename(path)
            digest, size = sha256_of(path)
            outputs.append(reference(media, artifact_key(tenant, digest), digest, size))
            if sync:
                fsync(path)
        finished = Finished(
            job_id=job_id,
            request_hash=canonical.request_hash(request),
            revision=self.revision,
            outputs=outputs,
            files=[str(folder / str(number)) for number in range(len(outputs))],
            run_seconds=made.run_seconds,
        )
        marker = part / MARKER
        marker.write_bytes(msgspec.json.encode(finished))
        if sync:
            fsync(marker)
            fsync(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        return finished

    def find(self, job_id: str, request: Request) -> Finished | None:
        """Return the finished result of this very request by this very engine, if it lies here."""
        try:
            found = msgspec.json.decode((self._done / job_id / MARKER).read_bytes(), type=Finished)
        except (OSError, msgspec.DecodeError):
            return None
        mine = (canonical.request_hash(request), self.revision)
        return found if (found.request_hash, found.revision) == mine else None

    def holds(self, job_id: str) -> bool:
        """Say whether anything of a job lies here; one stat(), for no thread's worth."""
        return (self._done / job_id).exists()

    def remove(self, job_id: str) -> None:
        """Forget a result: it is committed, or nobody wants it any more."""
        shutil.rmtree(self._done / job_id, ignore_errors=True)

    def size_bytes(self) -> int:
        """Return the size of the finished results and the kept inputs."""
        sizes = 0
        for kept in (self._done, self.inputs):
            for folder, _, names in os.walk(kept):  # unlike rglob, at ease with a folder that goes
                for name in names:
                    with contextlib.suppress(FileNotFoundError):  # it is removed in this moment
                        sizes += Path(folder, name).stat().st_size
        return sizes

    def _sweep(self, now: float) -> None:
        """Remove what dead workers have left, and results that are too old."""
        for folder in self._work.iterdir():
            _remove_abandoned(folder)
        for folder in self._done.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if now - folder.stat().st_mtime > KEEP_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
        notes.sweep(self.notes, now)
        for part in self.inputs.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if now - part.stat().st_mtime > PART_SECONDS:
                    part.unlink()


class Litter:
    """Scratch folders that nobody needs any more: a thread removes them together, soon.

    Not at once, for it is no part of any job, and a hop to a thread for each would be.
    """

    def __init__(self) -> None:
        self._folders: list[Path] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, folder: Path) -> None:
        """Have a folder removed, if it was made at all."""
        self._folders.append(folder)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LITTER_SECONDS, self._collect)

    def _collect(self) -> None:
        folders, self._folders, self._timer = self._folders, [], None
        asyncio.get_running_loop().run_in_executor(None, _remove_all, folders)


def _remove_all(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _occupy(parent: Path) -> tuple[Path, int]:
    """Make a folder that is ours for as long as this process lives; return it and its lock."""
    while True:
        folder = parent / secrets.token_hex(6)
        folder.mkdir()
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)  # another worker's sweep came between the file and its lock


def _remove_abandoned(folder: Path) -> None:
    """Remove a scratch folder whose worker is dead: its lock went with it."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return  # it is being made at this moment
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)  # still under the lock: see _occupy
    except BlockingIOError:
        pass
    finally:
        os.close(lock)


def reference(media: Media, key: str, sha256: str, size_bytes: int) -> ArtifactRef:
    """Return what names an output from now on."""
    return ArtifactRef(
        key=key,
        sha256=sha256,
        media_type=media.media_type,
        size_bytes=size_bytes,
        name=media.name,
        width=media.width,
        height=media.height,
        seconds=media.seconds,
        fps=media.fps,
        labels=media.metadata,
    )
