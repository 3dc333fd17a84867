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
from typing import NamedTuple, TypeVar

import msgspec
import structlog

from bus import device, metrics, settings, tracing
from bus.artifacts import Artifacts, HashMismatchError
from bus.connection import Bus
from bus.records import Conflict, Records
from bus.worker import verdict
from bus.worker.folder import ServiceFolder
from bus.worker.frames import Checkpoint, RunJob, Ticked
from bus.worker.holding import Hold
from bus.worker.inputs import InputCache
from bus.worker.lease import Leases, is_leased
from bus.worker.model import Media
from bus.worker.notes import Notes
from bus.worker.pool import Pool, UnloadableError
from bus.worker.process import ModelProcess, OnCheckpoint, OnKeep
from bus.worker.progress import Reporter
from bus.worker.segments import Segments
from bus.worker.spool import SYNC_FROM_SECONDS, Finished, Litter, Made, Spool, reference
from bus.worker.state import State
from bus.worker.switch import Switch
from bus.worker.verdict import Failed, Lost, Outcome, Refused, Returned, Succeeded
from contracts import canonical, pricing
from contracts.artifacts import ArtifactRef
from contracts.codec import encode
from contracts.errors import (
    AdgenxError,
    DeadlineExpiredError,
    ErrorInfo,
    JobCancelledError,
    ModelFailedError,
    SpoolError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from contracts.jobs import Job, Run
from contracts.subjects import Bucket

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
        self.litter = Litter()
        self.state = State()
        self.switch = Switch(bus, service.name, self.state)
        self.worker = device.process_name()
        leased = is_leased(service.manifest)
        leases = Leases(bus, service.manifest, self.worker) if leased else None
        self.pool = Pool(service, self.state, settings.environment(bus.settings), leases)
        self.inputs = InputCache(spool.inputs, artifacts)
        self.notes = Notes(spool.notes, artifacts)
        self.segments = Segments(bus, artifacts, spool.revision)
        self.runs = Records(bus, Bucket.RUNS, Run)


class _OffError(Exception):
    """The service is turned off: no start may be made."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info


class _Stored(NamedTuple):
    """A run whose outputs are stored and durable."""

    outputs: list[ArtifactRef]
    run_seconds: float


class Attempt:
    """Works on one claimed job. `Hold.stop` ends it early; what that means the caller decides."""

    def __init__(self, bench: Bench, job: Job, hold: Hold) -> None:
        self._bench = bench
        self._job = job
        self._hold = hold
        self._process: ModelProcess | None = None
        self._waiting: asyncio.Timeout | None = None

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
        if self._process is not None:
            self._process.cancel()

    async def outcome(self) -> Outcome:  # noqa: PLR0911 - one return for each way to end
        """Work, and say what came of it; never raises but for being cancelled itself."""
        self._hold.on_stop = self._stop
        try:
            async with asyncio.timeout(self._seconds_left()):
                return await self._work()
        except TimeoutError:
            return Failed(DeadlineExpiredError("the deadline passed while it was made").info())
        except UnloadableError:
            return Returned()
        except _OffError as off:
            return Refused(off.info)
        except JobCancelledError:
            if self._hold.stopped.is_set():
                return Returned()  # the record says whether it was cancelled, superseded or drained
            return Failed(ModelFailedError("the model said CANCELLED, which nobody was").info())
        except AdgenxError as error:
            info = error.info()
            return Lost(info) if info.retryable else Failed(info)
        except OSError as error:  # this machine's disk is full or broken: no fault of the job
            return Lost(SpoolError(f"the worker's disk: {error.strerror}").info())
        finally:
            self._hold.on_stop = None

    def _seconds_left(self) -> float | None:
        if not self._job.deadline_at:
            return None
        return max(0.0, self._job.deadline_at - time.time())

    async def _work(self) -> Outcome:
        adopted = await self._receipt()
        if adopted is not None:
            return adopted
        stored = await self._adopted() or await self._run()
        return await self._with_receipt(self._succeeded(stored))

    async def _adopted(self) -> _Stored | None:
        """Store a result that lies in the spool; None if none does, or not as it was made."""
        bench, job = self._bench, self._job
        finished = bench.spool.find(job.job_id, job.request)  # one open(): no thread is worth it
        if finished is None:
            return None
        try:
            with tracing.span("worker.store", adopted=True):
                return await self._patiently(lambda: self._store(finished))
        except (HashMismatchError, FileNotFoundError) as error:
            log.warning("spool.damaged", job_id=job.job_id, error=str(error))
            await asyncio.to_thread(bench.spool.remove, job.job_id)
            return None

    async def _run(self) -> _Stored:
        bench, job = self._bench, self._job
        await self._check_on()
        scratch = bench.spool.scratch()
        reporter = Reporter(bench.bus, job, self._hold.claim.run.attempt)
        try:
            async with contextlib.AsyncExitStack() as stack:
                paths, process = await self._ready(scratch, stack)
                frame = RunJob(
                    job_id=job.job_id, request=job.request, inputs=paths, scratch=str(scratch)
                )
                began = time.monotonic()
                with tracing.span("worker.run"):
                    media = await self._in_process(process, frame, reporter)
            made = Made(media, time.monotonic() - began)
            metrics.WORKER_RUN_SECONDS.observe(value=made.run_seconds)
            await reporter.finish()
            with tracing.span("worker.store"):
                return await self._kept(made)
        finally:
            bench.litter.add(scratch)

    async def _check_on(self) -> None:
        off = await self._bench.switch.refusal()
        if off is not None:
            raise _OffError(off)

    async def _ready(
        self, scratch: Path, stack: contextlib.AsyncExitStack
    ) -> tuple[dict[str, str], ModelProcess]:
        """Bring the inputs and lend a loaded process; a stop ends the wait for either."""
        refs = list(canonical.inputs(self._job.request))
        priority = self._job.request.priority
        try:
            async with asyncio.timeout(None) as self._waiting:
                if self._hold.stopped.is_set():
                    raise JobCancelledError("stopped before it began")
                paths = await self._patiently(lambda: self._bring(refs, scratch)) if refs else {}
                return paths, await stack.enter_async_context(self._bench.pool.take(priority))
        except TimeoutError:
            raise JobCancelledError("stopped while it was made ready") from None
        finally:
            self._waiting = None

    async def _bring(self, refs: list[ArtifactRef], scratch: Path) -> dict[str, str]:
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

        if self._hold.stopped.is_set():
            raise JobCancelledError("stopped before it began")
        await self._check_on()  # the inputs and the loading may have taken long
        self._process = process
        try:
            media = await process.run(frame, on_tick, self._on_keep, self._on_checkpoint(frame))
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)  # what comes later is newer
            return media  # noqa: TRY300 - reads as the order of events
        except asyncio.CancelledError:
            process.kill()  # a deadline: the process must not work on unseen
            raise
        finally:
            self._process = None

    @property
    def _on_keep(self) -> OnKeep | None:
        if not self._bench.service.manifest.resources.keep_receipt:
            return None
        return lambda note: self._patiently(lambda: self._bench.notes.keep(self._job, note))

    def _on_checkpoint(self, frame: RunJob) -> OnCheckpoint:
        job, folder = self._job, Path(frame.scratch) / "segments"

        async def answer(point: Checkpoint) -> list[Media]:
            segments = self._bench.segments
            if not point.media:
                return await self._patiently(lambda: segments.recall(job, point.key, folder))
            kept = await self._patiently(lambda: segments.keep(job, point.key, point.media, folder))
            await self._patiently(self._progress)
            return kept

        return answer

    async def _progress(self) -> None:
        """Have it written, once, that this start was not for nothing; see `Run.progressed`."""
        claim = self._hold.claim
        run = verdict.progressed(claim.run)
        if run is None:
            return
        written = await self._bench.runs.update(claim.key, run, claim.revision)
        if not isinstance(written, Conflict):  # else the claim is lost: the next look sees that
            claim.run, claim.revision = run, written

    async def _kept(self, made: Made) -> _Stored:
        """Store a run's outputs; first into the spool, unless making them again costs less."""
        bench, job = self._bench, self._job
        if self._is_trifle(made):
            try:
                return await self._store_at_once(made)
            except StoreUnavailableError as error:
                log.warning("store.away", job_id=job.job_id, error=error.message)
        finished = await asyncio.to_thread(
            bench.spool.keep, job.job_id, job.request, job.tenant, made
        )
        return await self._patiently(lambda: self._store(finished))

    def _is_trifle(self, made: Made) -> bool:
        """Say whether a run was short, and no provider was paid for it."""
        paid = self._bench.service.manifest.cost.paid
        return not paid and made.run_seconds < SYNC_FROM_SECONDS

    async def _store_at_once(self, made: Made) -> _Stored:
        """Store outputs from the scratch where they lie."""
        artifacts, tenant = self._bench.artifacts, self._job.tenant
        puts = [artifacts.put(m.path, tenant, m.media_type) for m in made.media]
        stored = [await puts[0]] if len(puts) == 1 else await asyncio.gather(*puts)
        await artifacts.make_durable()
        outputs = [
            reference(media, put.key, put.sha256, put.size_bytes)
            for media, put in zip(made.media, stored, strict=True)
        ]
        return _Stored(outputs, made.run_seconds)

    async def _store(self, finished: Finished) -> _Stored:
        artifacts = self._bench.artifacts
        await asyncio.gather(
            *(
                artifacts.put(Path(path), self._job.tenant, ref.media_type, ref.sha256)
                for path, ref in zip(finished.files, finished.outputs, strict=True)
            )
        )
        await artifacts.make_durable()
        return _Stored(finished.outputs, finished.run_seconds)

    def _succeeded(self, stored: _Stored) -> Succeeded:
        manifest = self._bench.service.manifest
        cost = pricing.charge(manifest, self._job.request, stored.run_seconds)
        return Succeeded(stored.outputs, cost)

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
            except (StoreUnavailableError, UnknownOutcomeError) as error:
                log.warning("store.away", job_id=self._job.job_id, error=error.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * (0.5 + random.random())):  # noqa: S311 - jitter
                    await self._hold.stopped.wait()
            if self._hold.stopped.is_set():
                raise JobCancelledError("stopped while the store was away")
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
