"""Stored objects into a backup's pool, and back: artifacts by their hash, receipts by their key.

What retention has put into the trash is left out, unless it did so after the backup began: records
that were taken before may name it. What nobody names any more is taken along; retention finds it
again.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING

import structlog

from bus.s3 import CHUNK
from contracts.artifacts import parse_trash, trash_prefix
from contracts.backup import StoredObject
from contracts.errors import ArtifactMissingError
from contracts.identity import is_id

if TYPE_CHECKING:
    from pathlib import Path

    from appliance.folder import Pool
    from bus.s3 import S3, Stat

log = structlog.get_logger(__name__)

AT_ONCE = 8
_ARTIFACT, _TRASH, _STAGED = "sha256", "trash", "upload"


class Collector:
    """Copies what a store holds into a pool. `known` is what an earlier backup had, by key."""

    def __init__(self, store: S3, pool: Pool, known: dict[str, StoredObject]) -> None:
        self._store = store
        self._pool = pool
        self._known = known
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.found: dict[str, StoredObject] = {}
        self.damaged: list[str] = []
        self.copied = 0

    async def staged(self) -> None:
        """Copy what clients have uploaded and nobody has checked yet: it may be gone at the end."""
        for tenant in await self._tenants():
            async for page in self._store.pages(f"{tenant}/{_STAGED}/"):
                await self._all(page)

    async def everything(self, since: float) -> None:
        """Copy everything else; of the trash what came there after `since` (Unix seconds).

        Receipts come before the artifacts that they name: their keys do.
        """
        for tenant in await self._tenants():
            trashed: list[Stat] = []
            async for page in self._store.pages(f"{tenant}/"):
                places = [(_place(s.key), s) for s in page]
                await self._all([s for place, s in places if place != _TRASH])
                trashed += [s for place, s in places if place == _TRASH]
            for copy in trashed:
                parsed = parse_trash(copy.key)
                if parsed and parsed.taken_at >= since and parsed.original not in self.found:
                    await self._copy(copy.key, parsed.original, copy.size_bytes)

    async def _tenants(self) -> list[str]:
        return [name for name in await self._store.folders() if is_id(name)]

    async def _all(self, page: list[Stat]) -> None:
        async def one(found: Stat) -> None:
            async with self._gate:
                await self._copy(found.key, found.key, found.size_bytes)

        async with asyncio.TaskGroup() as group:
            for found in page:
                group.create_task(one(found))

    async def _copy(self, source: str, key: str, size_bytes: int) -> None:
        """Copy one object unless the pool has it; `key` is where it belongs."""
        named = key.rpartition("/")[2] if _place(key) == _ARTIFACT else ""
        before = self._known.get(key)
        if named and before is not None and self._pool.has(named, size_bytes):
            self.found[key] = before
            return
        part = self._pool.part(secrets.token_hex(8))
        try:
            found = await self._store.call(lambda: _read(self._store, source, key, part))
        except ArtifactMissingError:
            await self._gone(source, key)
            return
        if named and found.sha256 != named:
            log.error("artifact.damaged", key=key, sha256=found.sha256)
            self.damaged.append(key)
            part.unlink(missing_ok=True)
            return
        await asyncio.to_thread(self._pool.keep, part, found.sha256)
        self.found[key] = found
        self.copied += 1

    async def _gone(self, source: str, key: str) -> None:
        """Look for an object in the trash that went there between two of our calls."""
        prefix = trash_prefix(key)
        if source != key or not prefix:
            return  # a receipt or an upload that had its time
        async for page in self._store.pages(prefix):
            for copy in page:
                await self._copy(copy.key, key, copy.size_bytes)
                return


def _place(key: str) -> str:
    """Return the second part of a key: what kind of thing it is."""
    return key.split("/", 2)[1] if "/" in key else ""


def _read(store: S3, source: str, key: str, part: Path) -> StoredObject:
    digest, size = hashlib.sha256(), 0
    with store.opened(source) as response, part.open("wb") as file:
        media_type = str(response.headers.get("content-type", ""))
        while chunk := response.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
            size += len(chunk)
    return StoredObject(key=key, sha256=digest.hexdigest(), size_bytes=size, media_type=media_type)


async def put_back(store: S3, pool: Pool, objects: list[StoredObject]) -> int:
    """Put objects under their keys; return how many were not there. What is there stays."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(found: StoredObject) -> bool:
        path = pool.path_of(found.sha256)
        kind = found.media_type or "application/octet-stream"
        async with gate:
            return await store.call(
                lambda: store.put_once(found.key, path, kind, found.sha256, found.size_bytes)
            )

    made = 0
    for first in range(0, len(objects), 1000):
        made += sum(await asyncio.gather(*map(one, objects[first : first + 1000])))
    return made
