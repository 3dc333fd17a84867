"""Input artifacts as local files: fetched once, checked, shared between jobs, bounded in size."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from bus.artifacts import Artifacts
from contracts.artifacts import ArtifactRef
from contracts.errors import StoreUnavailableError

CACHE_BYTES = 2 * 1024**3
"""What a service keeps of its inputs; the least recently used leave first."""
_READ_ONLY = 0o444
_LINK_ATTEMPTS = 3


class InputCache:
    """The input files of one service. A job gets hard links, so that nothing it uses can leave."""

    def __init__(self, folder: Path, artifacts: Artifacts, limit_bytes: int = CACHE_BYTES) -> None:
        self._folder = folder
        self._artifacts = artifacts
        self._limit = limit_bytes
        self._fetching: dict[str, asyncio.Task[None]] = {}

    async def bring(self, refs: Iterable[ArtifactRef], target: Path) -> dict[str, str]:
        """Put every artifact into a folder and return the paths by sha256.

        Raises ArtifactMissingError if one is not in the store or is damaged there, and
        StoreUnavailableError.
        """
        wanted = {ref.sha256: ref for ref in refs}
        if not wanted:
            return {}
        await asyncio.to_thread(target.mkdir, parents=True)
        paths = {sha256: target / sha256 for sha256 in wanted}
        links = (self._link(wanted[s], path) for s, path in paths.items())
        for result in await asyncio.gather(*links, return_exceptions=True):
            if result is not None:
                raise result
        await asyncio.to_thread(self._shrink)
        return {sha256: str(path) for sha256, path in paths.items()}

    async def _link(self, ref: ArtifactRef, path: Path) -> None:
        cached = self._folder / ref.sha256
        for _ in range(_LINK_ATTEMPTS):
            try:
                os.link(cached, path)
            except FileNotFoundError:
                await self._fetch(ref, cached)
                continue
            with contextlib.suppress(FileNotFoundError):  # it has just left: the link stays
                os.utime(cached)
            return
        raise StoreUnavailableError(f"{ref.key} leaves the cache faster than it can be used")

    async def _fetch(self, ref: ArtifactRef, cached: Path) -> None:
        """Fetch once, however many jobs ask for it at this moment."""
        task = self._fetching.get(ref.sha256)
        if task is None:
            task = asyncio.create_task(self._bring_in(ref, cached))
            self._fetching[ref.sha256] = task
            task.add_done_callback(lambda t: self._fetched(ref.sha256, t))
        await asyncio.shield(task)

    async def _bring_in(self, ref: ArtifactRef, cached: Path) -> None:
        await self._artifacts.fetch(ref, cached)
        await asyncio.to_thread(cached.chmod, _READ_ONLY)

    def _fetched(self, sha256: str, task: asyncio.Task[None]) -> None:
        del self._fetching[sha256]
        if not task.cancelled():
            task.exception()  # everybody who waited for it may be gone

    def _shrink(self) -> None:
        """Let the least recently used files leave until the rest fits."""
        entries = []
        with os.scandir(self._folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue  # still being fetched
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    entries.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit:
                return
            Path(path).unlink(missing_ok=True)
            total -= size
