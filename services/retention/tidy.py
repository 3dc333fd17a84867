"""What lies in the store beside artifacts: receipts, uploads that never came, and torn ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog

from bus.records import Records
from contracts.identity import is_id
from contracts.jobs import Run
from contracts.subjects import Bucket, run_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bus.connection import Bus
    from bus.s3 import S3
    from services.retention.census import Census

log = structlog.get_logger(__name__)


class Tidied(NamedTuple):
    """How many receipts and staged uploads of a tenant went."""

    receipts: int
    uploads: int


class Tidier:
    """Removes them once they are older than `before` (Unix seconds) and of no use."""

    def __init__(self, bus: Bus, objects: S3, rest: Callable[[], Awaitable[None]]) -> None:
        self._runs = Records(bus, Bucket.RUNS, Run)
        self._objects = objects
        self._rest = rest

    async def tidy(self, tenant: str, census: Census, before: float) -> Tidied:
        """Go through one tenant's receipts and staged uploads."""
        receipts = uploads = 0
        async for page in self._objects.pages(f"{tenant}/out/"):
            for found in page:
                if found.modified.timestamp() < before and await self._is_spent(found.key, census):
                    await self._objects.remove(found.key)
                    receipts += 1
            await self._rest()
        async for page in self._objects.pages(f"{tenant}/upload/"):
            for found in page:
                record = f"{tenant}.{found.key.rpartition('/')[2]}"
                if found.modified.timestamp() < before and record not in census.promised:
                    await self._objects.remove(found.key)
                    uploads += 1
            await self._rest()
        return Tidied(receipts, uploads)

    async def abort(self, before: float) -> int:
        """Give up multipart uploads that were begun and never finished."""
        torn = [u for u in await self._objects.unfinished() if u.begun.timestamp() < before]
        for upload in torn:
            await self._objects.abort(upload)
        return len(torn)

    async def _is_spent(self, key: str, census: Census) -> bool:
        """Say whether nobody will ever read this receipt or note: its run has ended, or is gone."""
        receipt = key.partition(".")[0]  # a note of a job has a name after its receipt's key
        _, _, service, *rest = receipt.split("/")
        if receipt in census.live_receipts or len(rest) != 1 or not is_id(rest[0]):
            return False
        try:
            run = await self._runs.get(run_key(service, rest[0]))
        except msgspec.DecodeError:
            return False  # whoever reads more of it than we can may adopt it
        return run is None or run.value.state.terminal
