"""The model's processes of one worker: started when needed, kept, replaced after failure.

A model that does not load is no fault of the job that needed it: the worker says so in its
announcement, takes no more jobs, and tries again, ever more seldom, until it loads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import structlog

from bus import metrics
from bus.worker import process, retry
from bus.worker.folder import ServiceFolder
from bus.worker.process import NO_MORE, ModelProcess
from bus.worker.state import State
from contracts.errors import AdgenxError

log = structlog.get_logger(__name__)

_PAGE_GB = os.sysconf("SC_PAGE_SIZE") / 1e9


class UnloadableError(AdgenxError):
    """The model does not load here and now; no start was made."""

    code = "UNLOADABLE"


class Pool:
    """At most as many processes as the manifest's `concurrency`, each with one job at a time."""

    def __init__(
        self, service: ServiceFolder, state: State, environment: Mapping[str, str] = NO_MORE
    ) -> None:
        self._service = service
        self._environment = environment
        self._state = state
        self._places = asyncio.Semaphore(service.manifest.resources.concurrency)
        self._idle: list[ModelProcess] = []
        self._loaded: dict[ModelProcess, float] = {}
        self._failures = 0

    @property
    def resident_since(self) -> float:
        """Unix seconds since when the model is loaded in a process; 0 if it is not."""
        alive = (since for model, since in self._loaded.items() if model.usable)
        return min(alive, default=0.0)

    def memory_gb(self) -> float:
        """Return the resident memory of the processes, in 10^9 bytes."""
        return sum(_resident_pages(model.pid) for model in self._loaded) * _PAGE_GB

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[ModelProcess]:
        """Lend a loaded process; one whose state is in doubt afterwards is ended.

        Raises UnloadableError when none can be loaded.
        """
        async with self._places:
            lent = await self._ready()
            try:
                yield lent
            finally:
                if lent.usable:
                    self._idle.append(lent)
                else:
                    await asyncio.shield(self._end(lent))

    async def recover(self) -> None:
        """Pause, then try to load the model once; its success or failure is told to the state."""
        await asyncio.sleep((0.5 + random.random() / 2) * retry.ceiling(self._failures))  # noqa: S311 - jitter
        with contextlib.suppress(UnloadableError):
            async with self.take():
                self._state.trouble("")

    async def renew(self) -> None:
        """End what is loaded, at once or after its job: the weights are other ones now."""
        for model in self._loaded:
            model.retire()
        while self._idle:
            await self._end(self._idle.pop())

    async def close(self) -> None:
        """End every idle process; lent ones have been returned by then."""
        while self._idle:
            await self._end(self._idle.pop())

    async def _ready(self) -> ModelProcess:
        while self._idle:
            candidate = self._idle.pop()
            if candidate.usable:
                return candidate
            await self._end(candidate)
        return await self._start()

    async def _start(self) -> ModelProcess:
        metrics.WORKER_CHILD_STARTS.add()
        try:
            started = await process.start(self._service, environment=self._environment)
        except (AdgenxError, OSError) as error:  # OSError: this machine can start no process
            self._failures += 1
            why = error.message if isinstance(error, AdgenxError) else str(error)
            log.warning("model.unloadable", failures=self._failures, error=why)
            self._state.trouble(f"the model does not load: {why}")
            raise UnloadableError(why) from error
        self._failures = 0
        self._loaded[started] = time.time()
        started.when_exited(self._state.ring)
        self._state.trouble("")
        self._state.ring()
        return started

    async def _end(self, ended: ModelProcess) -> None:
        self._loaded.pop(ended, None)
        await ended.end()
        self._state.ring()


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0  # it has just ended
