"""The worker's side of a model's process: starting, running, cancelling, and how it ended.

The event loop only moves frames; nothing that the model does can hold it up. A process is used
for one job at a time, and never again after it has failed in a way that leaves its state in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import structlog

from bus.worker.folder import ServiceFolder
from bus.worker.frames import (
    Answer,
    CancelJob,
    Checkpoint,
    Done,
    Failed,
    Found,
    Keep,
    Kept,
    Made,
    Ready,
    RunJob,
    Ticked,
    line,
)
from bus.worker.model import Media
from bus.worker.oom import OomWatch, oom_kills
from bus.worker.reported import typed
from bus.worker.wire import Wire
from contracts.errors import (
    AdgenxError,
    ChildLostError,
    JobCancelledError,
    ModelFailedError,
    OutOfMemoryError,
    StalledError,
)

log = structlog.get_logger(__name__)

CANCEL_GRACE_SECONDS = 2.0
"""A cancelled model that has not stopped by then is killed."""
LOAD_SECONDS = 120.0
"""Any model may take this long to load; one that says more in its manifest, four times that."""
_ROOT = Path(__file__).resolve().parents[2]
_WITHHELD = ("ADGENX_NATS_", "ADGENX_S3_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""A model finds its weights on the disk or not at all: it never asks a hub."""

NO_MORE: Mapping[str, str] = MappingProxyType({})

OnTick = Callable[[Ticked], None]
OnKeep = Callable[[Keep], Awaitable[str]]
OnCheckpoint = Callable[[Checkpoint], Awaitable[list[Media]]]


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a model's environment: without the credentials of the bus, the store and the hub."""
    kept = {k: v for k, v in environ.items() if not k.startswith(_WITHHELD)}
    path = [str(_ROOT), *filter(None, [environ.get("PYTHONPATH")])]
    return {**kept, **_OFFLINE, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


class ModelProcess:
    """A loaded model in a process of its own. Made by `start`; end it with `end`."""

    def __init__(
        self,
        service: ServiceFolder,
        transport: asyncio.SubprocessTransport,
        wire: Wire,
        count_oom_kills: Callable[[], int],
    ) -> None:
        self._service = service
        self._transport = transport
        self._wire = wire
        self._oom = OomWatch(count_oom_kills)
        self._job_id = ""
        self._cancelling: asyncio.TimerHandle | None = None
        self._usable = True
        self.pid = transport.get_pid()
        self.load_seconds = 0.0
        self.device_gb = 0.0

    @property
    def usable(self) -> bool:
        """Say whether another job may be given to it."""
        return self._usable and not self._wire.exited.is_set()

    def retire(self) -> None:
        """Let it finish its job, and give it no other."""
        self._usable = False

    def when_exited(self, call: Callable[[], None]) -> None:
        """Call once the process is gone, however that came."""
        self._wire.on_exit = call

    async def exited(self) -> None:
        """Return when the process is gone."""
        await self._wire.exited.wait()

    async def loaded(self) -> None:
        """Wait until the model is loaded; raises what came instead, as a typed error."""
        limit = max(LOAD_SECONDS, 4 * self._service.manifest.resources.load_seconds)
        match await self._next(limit, "loading"):
            case Ready(load_seconds=seconds, device_gb=taken):
                self.load_seconds, self.device_gb = seconds, taken
            case Failed() as failed:
                raise self._failed(failed)
            case frame:
                raise self._misspoke(frame)

    async def run(
        self,
        job: RunJob,
        on_tick: OnTick,
        on_keep: OnKeep | None = None,
        on_checkpoint: OnCheckpoint | None = None,
    ) -> list[Media]:
        """Run one job and return its outputs; `on_keep` keeps its notes, where the service has any,
        and `on_checkpoint` its segments.

        Raises what the model raised if that is one of ours; ModelFailedError, OutOfMemoryError,
        StalledError or ChildLostError for what happened to it; JobCancelledError after `cancel`.
        """
        self._job_id = job.job_id
        self._oom.begin()
        self._send(job)
        try:
            return await self._outputs(job, on_tick, on_keep, on_checkpoint)
        finally:
            self._job_id = ""
            if self._cancelling is not None:
                self._cancelling.cancel()
                self._cancelling = None

    async def _outputs(
        self,
        job: RunJob,
        on_tick: OnTick,
        on_keep: OnKeep | None,
        on_checkpoint: OnCheckpoint | None,
    ) -> list[Media]:
        made: list[Media] = []
        while True:
            match await self._next(self._service.manifest.resources.stall_seconds, "running"):
                case Ticked() as tick:
                    on_tick(tick)
                case Keep() as note:
                    await self._keep(note, on_keep)
                case Checkpoint() as point:
                    await self._checkpoint(point, job, on_checkpoint)
                case Made(media=media):
                    made.append(self._checked(media, job, made))
                case Done(device_gb=taken):
                    self.device_gb = taken
                    if not made:
                        raise ModelFailedError("the model ended without an output")
                    return made
                case Failed() as failed:
                    raise self._failed(failed)
                case frame:
                    raise self._misspoke(frame)

    async def _keep(self, note: Keep, on_keep: OnKeep | None) -> None:
        """Answer a note; while nobody can keep it the model waits, and its stall clock with it."""
        if on_keep is None:
            self.kill()  # it waits for an answer that will not come
            raise ModelFailedError("a note was to be kept, but the service has no keep_receipt")
        try:
            body = await on_keep(note)
        except BaseException:
            self.kill()
            raise
        self._send(Kept(body=body))

    async def _checkpoint(
        self, point: Checkpoint, job: RunJob, on_checkpoint: OnCheckpoint | None
    ) -> None:
        """Answer a checkpoint; the model waits as it does for a note."""
        for number, media in enumerate(point.media):
            self._checked(media, job, point.media[:number])
        found: list[Media] = []
        try:
            if on_checkpoint is not None:
                found = await on_checkpoint(point)
        except JobCancelledError:
            pass  # the model has been told, and ends by itself at its next word
        except BaseException:
            self.kill()
            raise
        self._send(Found(media=found))

    def cancel(self) -> None:
        """Stop the run: by asking, and by force if that does not help. `run` raises soon."""
        if self._job_id and self._cancelling is None:
            self._send(CancelJob(job_id=self._job_id))
            loop = asyncio.get_running_loop()
            self._cancelling = loop.call_later(CANCEL_GRACE_SECONDS, self.kill)

    def kill(self) -> None:
        """End the process and everything it has started, now."""
        self._usable = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """End the process and wait until its memory is given back."""
        self.kill()
        await self.exited()
        self._transport.close()

    def _send(self, frame: RunJob | CancelJob | Kept | Found) -> None:
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        stdin.write(line(frame))

    async def _next(self, limit_seconds: float, doing: str) -> Answer:
        try:
            async with asyncio.timeout(limit_seconds):
                frame = await self._wire.frames.get()
        except TimeoutError:
            self.kill()
            raise self._unless_cancelled(
                StalledError(f"no progress for {limit_seconds:g} s while {doing}")
            ) from None
        if frame is None:
            raise await self._lost()
        return frame

    async def _lost(self) -> AdgenxError:
        self.kill()  # what it started must not outlive it
        await self.exited()
        status = self._transport.get_returncode()
        status = 0 if status is None else status
        if status == -signal.SIGKILL and self._oom.struck():
            return self._unless_cancelled(OutOfMemoryError("the kernel ended it for its memory"))
        if self._wire.complaint:
            return self._unless_cancelled(
                ChildLostError(f"the model's process said what is no frame: {self._wire.complaint}")
            )
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return self._unless_cancelled(ChildLostError(f"the model's process ended {how}"))

    def _unless_cancelled(self, error: AdgenxError) -> AdgenxError:
        return JobCancelledError("the job was cancelled") if self._cancelling else error

    def _failed(self, failed: Failed) -> AdgenxError:
        error = typed(failed.error)
        lost = isinstance(error, (ChildLostError, StalledError))  # a process that it had started
        if isinstance(error, ChildLostError) and self._oom.struck():
            error = OutOfMemoryError(f"the kernel ended a process for its memory: {error.message}")
        if lost or isinstance(error, (ModelFailedError, OutOfMemoryError)):
            self._usable = False  # its state is in doubt; a new process costs one loading
            log.error(
                "model.failed",
                service=self._service.name,
                error=failed.error.message,
                traceback=failed.traceback,
            )
        return error

    def _checked(self, media: Media, job: RunJob, before: list[Media]) -> Media:
        """Return the output if it is a new file of the job's scratch with a name of its own."""
        wrong = _wrong_file(media.path, job.scratch)
        if not wrong and any(media.path.samefile(m.path) for m in before):
            wrong = "is the file of another"
        if not wrong and any(media.name == m.name for m in before):
            wrong = "has the name of another"
        if not wrong:
            return media
        self.kill()  # it is still at work
        raise ModelFailedError(f"output {media.name!r} {wrong}")

    def _misspoke(self, frame: Answer) -> AdgenxError:
        self.kill()
        return ChildLostError(f"the model's process said {type(frame).__name__} out of turn")


def _wrong_file(path: Path, scratch: str) -> str:
    """Say what is wrong with an output's path; "" if it is a plain file below the scratch."""
    # Directly in the folder is where nearly every file is: no need to resolve seven components.
    if str(path.parent) != scratch and not path.resolve().is_relative_to(Path(scratch).resolve()):
        return "is not in the job's scratch folder"
    try:
        mode = path.lstat().st_mode
    except OSError:
        return "does not exist"
    if stat.S_ISLNK(mode):
        return "is a link and no file"
    return "" if stat.S_ISREG(mode) else "is no plain file"


async def start(
    service: ServiceFolder,
    count_oom_kills: Callable[[], int] = oom_kills,
    environment: Mapping[str, str] = NO_MORE,
) -> ModelProcess:
    """Start a model's process and wait until it is loaded. Raises a typed error if it cannot.

    `environment` is laid over this process's own.
    """
    loop = asyncio.get_running_loop()
    transport, wire = await loop.subprocess_exec(
        lambda: Wire(service.name),
        *(sys.executable, "-m", "bus.worker.child", str(service.path), service.name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment({**os.environ, **environment}),
        start_new_session=True,
    )
    process = ModelProcess(service, transport, wire, count_oom_kills)
    try:
        await process.loaded()
    except BaseException:
        await asyncio.shield(process.end())
        raise
    log.info(
        "model.loaded",
        service=service.name,
        pid=process.pid,
        seconds=round(process.load_seconds, 3),
    )
    return process
