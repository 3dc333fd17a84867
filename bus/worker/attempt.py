"""One attempt at one job: adopt what lies finished, or run the model; then store the outputs.

A store that is away costs patience, never an attempt: the finished result waits in the spool while
the heartbeats go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from bus.artifacts import Artifacts, HashMismatchError
from bus.connection import Bus
from bus.worker.folder import ServiceFolder
from bus.worker.frames import RunJob, Ticked
from bus.worker.inputs import InputCache
from bus.worker.model import Media
from bus.worker.pool import Pool
from bus.worker.process import ModelProcess
from bus.worker.progress import Reporter
from bus.worker.spool import Finished, Made, Spool
from bus.worker.verdict import Failed, Lost, Outcome, Returned, Succeeded
from contracts import canonical
from contracts.artifacts import ArtifactRef
from contracts.codec import encode
from contracts.errors import (
    AdgenxError,
    DeadlineExpiredError,
    JobCancelledError,
    ModelFailedError,
    SpoolError,
    StoreUnavailableError,
)
from contracts.jobs import Job, Run

log = structlog.get_logger(__name__)

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0


class Bench:
    """What every attempt of a worker uses."""

    def __init__(
        self, bus: Bus, service: ServiceFolder, artifacts: Artifacts, spool: Spool
    ) -> None:
        self.bus = bus
        self.service = service
        self.artifacts = artifacts
        self.spool = spool
        self.pool = Pool(service)
        self.inputs = InputCache(spool.inputs, artifacts)


class Attempt:
    """Works on one claimed job. `stop` ends it early; what that means is decided by the caller."""

    def __init__(self, bench: Bench, job: Job, held: Run) -> None:
        self._bench = bench
        self._job = job
        self._held = held
        self._process: ModelProcess | None = None
        self._waiting: asyncio.Timeout | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End it soon: the claim was lost, the job cancelled, or the worker shall end."""
        self._stopped.set()
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
        if self._process is not None:
            self._process.cancel()

    async def outcome(self) -> Outcome:
        """Work, and say what came of it; never raises but for being cancelled itself."""
        try:
            async with asyncio.timeout(self._seconds_left()):
                return await self._work()
        except TimeoutError:
            self.stop()
            return Failed(DeadlineExpiredError("the deadline passed while it was made").info())
        except JobCancelledError:
            if self._stopped.is_set():
                return Returned()  # the record says whether it was cancelled, superseded or drained
            return Failed(ModelFailedError("the model said CANCELLED, which nobody was").info())
        except AdgenxError as error:
            return Lost(error.info()) if error.retryable else Failed(error.info())
        except OSError as error:  # this machine's disk is full or broken: no fault of the job
            return Lost(SpoolError(f"the worker's disk: {error.strerror}").info())

    def _seconds_left(self) -> float | None:
        if not self._job.deadline_at:
            return None
        return max(0.0, self._job.deadline_at - time.time())

    async def _work(self) -> Outcome:
        bench, job = self._bench, self._job
        adopted = await self._receipt()
        if adopted is not None:
            return adopted
        finished = bench.spool.find(job.job_id, job.request)  # one open(): no thread is worth it
        if finished is None or not await self._kept(finished):
            finished = await self._run()
            await self._patiently(lambda: self._store(finished))
        return await self._with_receipt(self._succeeded(finished))

    async def _kept(self, finished: Finished) -> bool:
        """Store a result found in the spool; False if its bytes are no longer what they were."""
        try:
            await self._patiently(lambda: self._store(finished))
        except (HashMismatchError, FileNotFoundError) as error:
            log.warning("spool.damaged", job_id=self._job.job_id, error=str(error))
            await asyncio.to_thread(self._bench.spool.remove, self._job.job_id)
            return False
        return True

    async def _run(self) -> Finished:
        bench, job = self._bench, self._job
        scratch = bench.spool.scratch()  # one mkdir()
        reporter = Reporter(bench.bus, job, self._held.attempt)
        try:
            async with contextlib.AsyncExitStack() as stack:
                paths, process = await self._ready(scratch, stack)
                frame = RunJob(
                    job_id=job.job_id, request=job.request, inputs=paths, scratch=str(scratch)
                )
                began = time.monotonic()
                media = await self._in_process(process, frame, reporter)
            made = Made(media, time.monotonic() - began)
            await reporter.finish()
            return await asyncio.to_thread(
                bench.spool.keep, job.job_id, job.request, job.tenant, made
            )
        finally:
            await asyncio.to_thread(bench.spool.discard, scratch)

    async def _ready(
        self, scratch: Path, stack: contextlib.AsyncExitStack
    ) -> tuple[dict[str, str], ModelProcess]:
        """Bring the inputs and lend a loaded process; `stop` ends the wait for either."""
        refs = list(canonical.inputs(self._job.request))
        try:
            async with asyncio.timeout(None) as self._waiting:
                if self._stopped.is_set():
                    raise JobCancelledError("stopped before it began")
                paths = await self._patiently(lambda: self._bring(refs, scratch))
                return paths, await stack.enter_async_context(self._bench.pool.take())
        except TimeoutError:
            raise JobCancelledError("stopped while it was made ready") from None
        finally:
            self._waiting = None

    async def _bring(self, refs: list[ArtifactRef], scratch: Path) -> dict[str, str]:
        if not refs:
            return {}
        folder = scratch / "inputs"
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)  # of a try before
        return await self._bench.inputs.bring(refs, folder)

    async def _in_process(
        self, process: ModelProcess, frame: RunJob, reporter: Reporter
    ) -> list[Media]:
        tasks: set[asyncio.Task[None]] = set()

        def on_tick(tick: Ticked) -> None:
            progress = reporter.tick(tick)
            if progress is not None:
                task = asyncio.create_task(reporter.publish(progress))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        if self._stopped.is_set():
            raise JobCancelledError("stopped before it began")
        self._process = process
        try:
            media = await process.run(frame, on_tick)
            await asyncio.gather(*tasks, return_exceptions=True)  # what comes later is newer
            return media  # noqa: TRY300 - reads as the order of events
        except asyncio.CancelledError:
            process.kill()  # a deadline: the process must not work on unseen
            raise
        finally:
            self._process = None

    async def _store(self, finished: Finished) -> None:
        artifacts = self._bench.artifacts
        await asyncio.gather(
            *(
                artifacts.put(Path(path), self._job.tenant, ref.media_type, ref.sha256)
                for path, ref in zip(finished.files, finished.outputs, strict=True)
            )
        )
        await artifacts.make_durable()

    def _succeeded(self, finished: Finished) -> Succeeded:
        cost = self._bench.service.manifest.cost
        return Succeeded(finished.outputs, cost.per_run + cost.per_second * finished.run_seconds)

    async def _receipt(self) -> Succeeded | None:
        """Return what this service stored for this job before, if it keeps receipts."""
        if not self._bench.service.manifest.resources.keep_receipt:
            return None
        job = self._job
        body = await self._patiently(
            lambda: self._bench.artifacts.get_receipt(job.tenant, job.service, job.job_id)
        )
        return None if body is None else msgspec.json.decode(body, type=Succeeded)

    async def _with_receipt(self, mine: Succeeded) -> Succeeded:
        if not self._bench.service.manifest.resources.keep_receipt:
            return mine
        job = self._job
        body = await self._patiently(
            lambda: self._bench.artifacts.put_receipt(
                job.tenant, job.service, job.job_id, encode(mine)
            )
        )
        await self._bench.artifacts.make_durable()
        return msgspec.json.decode(body, type=Succeeded)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the store answers; raises JobCancelledError once the attempt is stopped."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await call()
            except StoreUnavailableError as error:
                log.warning("store.away", job_id=self._job.job_id, error=error.message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), pause * (0.5 + random.random()))  # noqa: S311 - jitter
            if self._stopped.is_set():
                raise JobCancelledError("stopped while the store was away")
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
