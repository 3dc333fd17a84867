"""The model's processes of one worker: started when needed, kept, replaced after failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from bus.worker import process
from bus.worker.folder import ServiceFolder
from bus.worker.process import ModelProcess


class Pool:
    """At most as many processes as the manifest's `concurrency`, each with one job at a time."""

    def __init__(self, service: ServiceFolder) -> None:
        self._service = service
        self._places = asyncio.Semaphore(service.manifest.resources.concurrency)
        self._idle: list[ModelProcess] = []

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[ModelProcess]:
        """Lend a loaded process; one whose state is in doubt afterwards is ended.

        Raises what loading raised, as a typed error.
        """
        async with self._places:
            lent = await self._ready()
            try:
                yield lent
            finally:
                if lent.usable:
                    self._idle.append(lent)
                else:
                    await asyncio.shield(lent.end())

    async def _ready(self) -> ModelProcess:
        while self._idle:
            candidate = self._idle.pop()
            if candidate.usable:
                return candidate
            await candidate.end()
        return await process.start(self._service)

    async def close(self) -> None:
        """End every idle process; lent ones have been returned by then."""
        while self._idle:
            await self._idle.pop().end()
