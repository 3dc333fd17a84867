"""Notes of jobs whose work is paid: what was ordered where, for whoever takes the job up next.

A note is written once, into the store, where it outlives this machine. One that cannot be learnt
again, such as the number of an order that was just made, is put on this machine's disk before: the
store may be away at that very moment, and the worker ended before it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from bus.artifacts import Artifacts
from bus.worker.frames import Keep
from contracts.jobs import Job

KEEP_SECONDS = 14 * 86400.0
"""A note on this machine's disk that nobody came for is removed at a later start."""


class Notes:
    """The notes of one service."""

    def __init__(self, folder: Path, artifacts: Artifacts) -> None:
        self._folder = folder
        self._artifacts = artifacts

    async def keep(self, job: Job, note: Keep) -> str:
        """Store a note unless there is one; return what it says, empty where there is nothing.

        Raises StoreUnavailableError: ask again.
        """
        path = self._folder / f"{job.job_id}.{note.name}"
        said = await asyncio.to_thread(_on_disk, path, note.body if note.at_once else "")
        where = (job.tenant, job.service, job.job_id, note.name)
        body = said or note.body
        if not body:
            found = await self._artifacts.get_note(*where)
            return (found or b"").decode()
        kept = await self._artifacts.put_note(*where, body.encode())
        await self._artifacts.make_durable()
        return kept.decode()

    def forget(self, job_id: str) -> None:
        """Remove what lies on this machine of a job that is over. Blocks."""
        for path in self._folder.glob(f"{job_id}.*"):
            path.unlink(missing_ok=True)


def sweep(folder: Path, now: float) -> None:
    """Remove what nobody has come for; `now` in Unix seconds."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if now - path.stat().st_mtime > KEEP_SECONDS:
                path.unlink()


def _on_disk(path: Path, body: str) -> str:
    """Return what a note on the disk says; if there is none and there is a body, write it first."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    if body:
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with part.open("w", encoding="utf-8") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name as well
        finally:
            os.close(folder)
    return body
