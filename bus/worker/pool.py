"""The model's processes of one worker: started when needed, kept, replaced after failure.

A model that does not load is no fault of the job that needed it: the worker says so in its
announcement, takes no more jobs, and tries again, ever more seldom, until it loads.

Where the model's memory is lent (see lease.py), each process has a lease: asked for before it is
loaded, asked again before each job, given back when it has ended; and it is ended when told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import structlog

from bus import metrics
from bus.worker import process, retry
from bus.worker.folder import ServiceFolder
from bus.worker.lease import Lease, Leases, NeverError, NoLeaseError
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
        self,
        service: ServiceFolder,
        state: State,
        environment: Mapping[str, str] = NO_MORE,
        leases: Leases | None = None,
    ) -> None:
        self._service = service
        self._environment = environment
        self._state = state
        self._leases = leases
        self._places = asyncio.Semaphore(service.manifest.resources.concurrency)
        self._idle: list[ModelProcess] = []
        self._loaded: dict[ModelProcess, float] = {}
        self._held: dict[ModelProcess, Lease] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._renewals = 0

    @property
    def resident_since(self) -> float:
        """Unix seconds since when the model is loaded in a process; 0 if it is not."""
        alive = (since for model, since in self._loaded.items() if model.usable)
        return min(alive, default=0.0)

    def memory_gb(self) -> float:
        """Return the memory of the processes, an accelerator's included, in 10^9 bytes."""
        on_device = sum(model.device_gb for model in self._loaded)
        return sum(_resident_pages(model.pid) for model in self._loaded) * _PAGE_GB + on_device

    @contextlib.asynccontextmanager
    async def take(self, priority: int = 0) -> AsyncIterator[ModelProcess]:
        """Lend a loaded process; one whose state is in doubt afterwards is ended.

        `priority` is the job's. Raises UnloadableError when none can be loaded, or may be.
        """
        async with self._places:
            lent = await self._ready(priority)
            try:
                yield lent
            finally:
                if lent.usable and lent not in self._held:
                    self._idle.append(lent)
                else:
                    await asyncio.shield(self._take_back(lent))

    async def recover(self) -> None:
        """Pause, then try to load the model once; its success or failure is told to the state."""
        await asyncio.sleep((0.5 + random.random() / 2) * retry.ceiling(self._failures))  # noqa: S311 - jitter
        with contextlib.suppress(UnloadableError):
            async with self.take():
                self._state.trouble("")

    async def renew(self) -> None:
        """End what is loaded, at once or after its job: the weights are other ones now."""
        self._renewals += 1
        for model in self._loaded:
            model.retire()
        while self._idle:
            await self._end(self._idle.pop())

    async def report(self) -> None:
        """Keep the leases, until cancelled; ends at once where the memory is not lent."""
        if self._leases is not None:
            await self._leases.run(self._leave)

    async def close(self) -> None:
        """End every idle process; lent ones have been returned by then."""
        while self._idle:
            await self._end(self._idle.pop())
        await asyncio.gather(*self._ending)

    async def _ready(self, priority: int) -> ModelProcess:
        """Return a process that may begin a job now."""
        while True:
            candidate = self._idle.pop() if self._idle else await self._start(priority)
            lease = self._held.get(candidate)
            if candidate.usable and (
                lease is None or await self._may_run(candidate, lease, priority)
            ):
                return candidate
            # To its end, though the job be cancelled meanwhile: the place comes back only then.
            await asyncio.shield(self._end_soon(candidate))

    async def _may_run(self, model: ModelProcess, lease: Lease, priority: int) -> bool:
        """Wait until a job may run; False if the process is to be ended instead."""
        try:
            return await lease.run(priority) and model.usable
        except NoLeaseError as error:
            self._put_back(model)
            raise UnloadableError(error.message) from error
        except BaseException:  # the job is not wanted any more; the process is as good as before
            self._put_back(model)
            raise

    def _put_back(self, model: ModelProcess) -> None:
        """Keep a process that has run nothing, unless it has ended or was retired meanwhile."""
        if model.usable:
            self._idle.append(model)
        else:
            self._end_soon(model)

    async def _start(self, priority: int) -> ModelProcess:
        if self._leases is None:
            return await self._begin()
        try:
            async with self._leases.place(priority) as lease:
                started = await self._begin()
                lease.loaded(started)
        except NeverError as error:
            self._failures += 1
            self._state.trouble(f"the model does not fit: {error.message}")
            raise UnloadableError(error.message) from error
        except NoLeaseError as error:
            log.info("lease.refused", service=self._service.name, reason=error.message)
            raise UnloadableError(error.message) from error
        self._held[started] = lease
        return started

    async def _begin(self) -> ModelProcess:
        metrics.WORKER_CHILD_STARTS.add()
        renewals = self._renewals
        try:
            started = await process.start(self._service, environment=self._environment)
        except (AdgenxError, OSError) as error:  # OSError: this machine can start no process
            self._failures += 1
            why = error.message if isinstance(error, AdgenxError) else str(error)
            log.warning("model.unloadable", failures=self._failures, error=why)
            self._state.trouble(f"the model does not load: {why}")
            raise UnloadableError(why) from error
        if renewals != self._renewals:
            started.retire()  # nobody knows which weights it has read
        self._failures = 0
        self._loaded[started] = time.time()
        started.when_exited(lambda: self._exited(started))
        self._state.trouble("")
        self._state.ring()
        return started

    async def _take_back(self, lent: ModelProcess) -> None:
        """Keep a process for the next job, unless it cannot or must not stay."""
        lease = self._held.get(lent)
        if lease is not None and lent.usable:
            await lease.rest()
        if lent.usable and not (lease is not None and lease.leaving):
            self._idle.append(lent)
        else:
            await self._end(lent)

    def _leave(self, lease: Lease) -> None:
        """End a process that was told to leave; one with a job is when it comes back."""
        self._end_idle([model for model in self._idle if self._held.get(model) is lease])

    def _exited(self, model: ModelProcess) -> None:
        """Take note that a process has ended by itself: what it had is free."""
        self._state.ring()
        if model in self._held and model in self._idle:
            self._end_idle([model])

    def _end_idle(self, models: Iterable[ModelProcess]) -> None:
        for model in models:
            self._idle.remove(model)
            self._end_soon(model)

    def _end_soon(self, model: ModelProcess) -> asyncio.Task[None]:
        task = asyncio.create_task(self._end(model))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _end(self, ended: ModelProcess) -> None:
        self._loaded.pop(ended, None)
        lease = self._held.pop(ended, None)
        reason = "" if ended.usable else "its process has ended"
        await ended.end()
        if lease is not None and self._leases is not None:
            await self._leases.end(lease, reason)
        self._state.ring()


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0  # it has just ended
