"""Whether a model has what it needs: its weights on the disk, or the server that it runs on.

Looked at before the first job and every half minute from then on. While something lacks, the worker
announces what and how to get it, and takes no job; it serves as soon as it is there, without being
started again. Weights that have become others make another engine: its revision follows them, and
processes that still hold the old ones are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import structlog

from bus import weights
from bus.worker.attempt import Bench
from bus.worker.folder import engine_revision
from bus.worker.needs import any_of, lack
from contracts.errors import AdgenxError

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 30.0


class Readiness:
    """Keeps the state of one worker's bench true."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._settings = bench.bus.settings
        self._weights = self._identity()

    async def run(self) -> None:
        """Look now and then until the bus is stopping; never for what needs nothing."""
        stopping = self._bench.bus.stopping
        if not any_of(self._bench.service.manifest):
            return
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await stopping.wait()
            try:
                await self.look()
            except (AdgenxError, OSError) as error:  # files that come and go while they are read
                log.warning("needs.unread", service=self._bench.service.name, error=str(error))

    async def look(self) -> None:
        """Look once, and tell the state."""
        bench = self._bench
        found = await asyncio.to_thread(lack, bench.service, self._settings, os.environ)
        identity = await asyncio.to_thread(self._identity)
        if not found and identity != self._weights:
            bench.spool.revision = await asyncio.to_thread(
                engine_revision, bench.service, self._settings.models_dir
            )
            self._weights = identity
            await bench.pool.renew()
            bench.state.ring()  # another engine is announced at once
            log.info("weights.changed", service=bench.service.name)
        bench.state.lack(found)

    def _identity(self) -> str:
        try:
            return weights.recorded_revision(
                self._bench.service.manifest, self._settings.models_dir
            )
        except (AdgenxError, OSError):  # it is being pulled at this moment
            return ""
