"""The model's own process: `python -m bus.worker.child FOLDER [SERVICE]`, started by its worker.

It speaks the protocol of frames.py. The model loads once and serves one job after another. The
process never outlives its worker, and takes with it whatever the model has started, also when the
model hangs in native code: a guard of a few kilobytes waits for the closed pipe in its stead.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import os
import select
import signal
import sys
import threading
import time
import traceback
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from operator import index
from pathlib import Path

import msgspec

from bus.worker.folder import load_model, open_folder
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
    answer_decoder,
    command_decoder,
    line,
)
from bus.worker.model import PREVIEW_BYTES, Media, Model
from contracts.artifacts import ArtifactRef
from contracts.errors import (
    AdgenxError,
    ArtifactMissingError,
    JobCancelledError,
    ModelFailedError,
    OutOfMemoryError,
    SpoolError,
)

NICENESS = 5
"""The worker's heartbeats and the servers go first."""
OOM_SCORE = 500
"""If the kernel must end somebody, then a model and not a server."""
TICK_SECONDS = 0.05
"""Progress goes up the pipe at most this often; the last value always does."""
LOOK_SECONDS = 0.01
"""A model may report as often as it likes; whether it is still wanted is looked at so often."""
SELDOM_OBJECTS = 100_000
"""While a library is imported, garbage is looked for after so many new objects, not after 700: of
the million that are made nearly all stay, and going over them again and again took a fifth of it.
"""
_READ_BYTES = 1 << 20
_TRACEBACK_LIMIT = 8000
_MESSAGE_LIMIT = 200
_PR_SET_PDEATHSIG = 1


class Pipe:
    """The way up to the worker; frames from any thread stay whole.

    Outputs wait for the frame after them: what ends a run, or the next progress. A short run is
    then two writes and not four.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._waiting: Ticked | None = None
        self._held = b""
        self._phase = ""
        self._sent_at = 0.0

    def send(self, frame: Answer) -> None:
        """Write a frame, after the progress and the outputs that still wait."""
        with self._lock:
            self._flush(line(frame))

    def hold(self, frame: Made) -> None:
        """Keep an output back until the next frame is written; raises what encoding it raises."""
        text = line(frame)
        answer_decoder.decode(text)  # a slip of the model is told to the model
        with self._lock:
            self._take_waiting()
            self._held += text

    def tick(self, frame: Ticked) -> None:
        """Write progress now, or keep the newest of it back for a moment."""
        with self._lock:
            if self._waiting is not None and self._waiting.preview and not frame.preview:
                frame = msgspec.structs.replace(frame, preview=self._waiting.preview)
            self._waiting = frame
            now = time.monotonic()
            if frame.phase != self._phase or now - self._sent_at >= TICK_SECONDS:
                self._phase, self._sent_at = frame.phase, now
                self._flush()

    def _take_waiting(self) -> None:
        if self._waiting is not None:
            self._held += line(self._waiting)
            self._waiting = None

    def _flush(self, last: bytes = b"") -> None:
        self._take_waiting()
        view = memoryview(self._held + last)
        self._held = b""
        while view:
            view = view[os.write(self._descriptor, view) :]


class Inbox:
    """What the worker says: runs in order, and which one of them is no longer wanted.

    No thread reads it: between runs the model's own thread waits here, and during one it looks
    here whenever there is progress, so that a run costs no switch of threads.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._text = b""
        self._runs: deque[RunJob] = deque()
        self._kept: deque[str] = deque()
        self._found: deque[list[Media]] = deque()
        self._cancelled = ""
        self._look_at = 0.0
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[RunJob]:
        """Yield runs for as long as the process lives."""
        while True:
            with self._lock:
                while not self._runs:
                    self._read()
                run = self._runs.popleft()
            yield run

    def kept(self) -> str:
        """Wait for the worker's answer to a note."""
        with self._lock:
            while not self._kept:
                self._read()
            return self._kept.popleft()

    def found(self) -> list[Media]:
        """Wait for the worker's answer to a checkpoint."""
        with self._lock:
            while not self._found:
                self._read()
            return self._found.popleft()

    def cancelled(self, job_id: str) -> bool:
        """Say whether this job is no longer wanted. Cheap, and for any thread."""
        now = time.monotonic()
        if now >= self._look_at and self._lock.acquire(blocking=False):
            try:
                self._look_at = now + LOOK_SECONDS
                while self._poll.poll(0):
                    self._read()
            finally:
                self._lock.release()
        return job_id == self._cancelled

    def _read(self) -> None:
        """Take in what has come, and wait for it if nothing has."""
        data = os.read(self._descriptor, _READ_BYTES)
        if not data:
            end_group()
        *lines, self._text = (self._text + data).split(b"\n")
        for text in lines:
            match command_decoder.decode(text):
                case CancelJob(job_id=job_id):
                    self._cancelled = job_id
                case Kept(body=body):
                    self._kept.append(body)
                case Found(media=media):
                    self._found.append(media)
                case RunJob() as run:
                    self._cancelled = ""  # what came before it was a late cancel of the run before
                    self._runs.append(run)


class JobFiles:
    """Files of one job: inputs that the worker has brought, and fresh paths in its scratch; and
    its notes and segments, which the worker keeps.
    """

    def __init__(
        self,
        inputs: dict[str, str],
        scratch: Path,
        ask: Callable[[Keep], str] | None = None,
        find: Callable[[Checkpoint], list[Media]] | None = None,
    ) -> None:
        self._inputs = inputs
        self._scratch = scratch
        self._ask = ask
        self._find = find
        self._numbers = itertools.count()

    def path(self, ref: ArtifactRef) -> Path:
        """Return an input as a local file."""
        found = self._inputs.get(ref.sha256)
        if found is None:
            raise ArtifactMissingError(f"the request holds no artifact {ref.sha256[:12]}")
        return Path(found)

    def new(self, suffix: str) -> Path:
        """Return the path of a file that does not exist yet."""
        return self._scratch / f"{next(self._numbers)}{suffix}"

    def keep(self, name: str, body: str, *, at_once: bool = False) -> str:
        """Keep a note, once; return the one that is there."""
        return self._note(Keep(name=name, body=body, at_once=at_once))

    def kept(self, name: str) -> str:
        """Return what a note says, empty if there is none."""
        return self._note(Keep(name=name))

    def recall(self, key: str) -> list[Media]:
        """Return a segment's files; none if there are none."""
        return self._find(Checkpoint(key=key)) if self._find is not None else []

    def checkpoint(self, key: str, media: list[Media]) -> list[Media]:
        """Keep a segment's files, once; return the ones that are there."""
        if self._find is None:
            return media
        return self._find(Checkpoint(key=key, media=media)) or media

    def _note(self, frame: Keep) -> str:
        if self._ask is None:
            raise ModelFailedError("nobody keeps notes here")
        return self._ask(frame)


def end_group() -> None:
    """End this process and everything it has started, at once."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def guard(commands: int) -> None:
    """Fork a watcher that ends the whole group when the worker's end of the pipe closes.

    A thread could not: native code that holds the interpreter's lock would hold it up. It must be
    forked while the process is small and has one thread.
    """
    if os.getpgid(0) != os.getpid():
        return  # not a group of our own: started by hand
    child = os.getpid()
    if os.fork() != 0:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(commands, 0)  # no event but the hang-up, which is always reported
    if os.getppid() == child:
        poll.poll()
        end_group()
    os._exit(0)


def take_pipes() -> tuple[int, int]:
    """Move the protocol's pipes out of reach: whatever prints from now on, prints to the log."""
    commands, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return commands, answers


def lower_priority() -> None:
    """Let the worker, the servers and people go first."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # /proc may be read-only in a sandbox
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")


def failed(error: BaseException) -> Failed:
    """Return any exception as a frame: typed errors as they are, the rest as MODEL_FAILED."""
    match error:
        case AdgenxError():
            info = error.info()
        case MemoryError():
            info = OutOfMemoryError("the model asked for more memory than there is").info()
        case _ if type(error).__name__ == "OutOfMemoryError":  # torch's, which is no MemoryError
            info = OutOfMemoryError("the model asked for more memory than the device has").info()
        case _:
            words = " ".join(str(error).split())[:_MESSAGE_LIMIT]
            info = ModelFailedError(f"{type(error).__name__}: {words}").info()
    text = "".join(traceback.format_exception(error))
    return Failed(error=info, traceback=text[-_TRACEBACK_LIMIT:])


def device_gb() -> float:
    """Return the most that this process took of an accelerator, in 10^9 bytes; 0 without one."""
    torch = sys.modules.get("torch")  # a model that has not imported it has not used it
    foreign = sys.modules.get("bus.worker.foreign")
    elsewhere = foreign.device_gb() if foreign is not None else 0.0
    if torch is None or not torch.cuda.is_initialized():
        return float(elsewhere)
    return float(torch.cuda.max_memory_reserved()) / 1e9 + float(elsewhere)


def run_job(model: Model, job: RunJob, inbox: Inbox, pipe: Pipe) -> None:
    """Run the model once and tell what came of it."""

    def report(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        if inbox.cancelled(job.job_id):
            raise JobCancelledError("the job was cancelled")
        shown = b64encode(preview).decode() if preview and len(preview) <= PREVIEW_BYTES else ""
        pipe.tick(Ticked(done=index(done), total=index(total), phase=phase, preview=shown))

    def ask(note: Keep) -> str:
        pipe.send(note)
        return inbox.kept()

    def find(frame: Checkpoint) -> list[Media]:
        pipe.send(frame)
        return inbox.found()

    scratch = Path(job.scratch)
    try:
        scratch.mkdir(exist_ok=True)
    except OSError as error:
        pipe.send(failed(SpoolError(f"the worker's disk: {error.strerror}")))
        return
    try:
        for media in model.run(job.request, report, JobFiles(job.inputs, scratch, ask, find)):
            if not isinstance(media, Media):
                raise TypeError(f"run() yielded {type(media).__name__}, not Media")  # noqa: TRY301 - reported below like every mistake of a model
            if inbox.cancelled(job.job_id):
                raise JobCancelledError("the job was cancelled")  # noqa: TRY301 - as in report
            pipe.hold(Made(media=media))
        pipe.send(Done(device_gb=device_gb()))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a model may raise anything; it becomes a typed error
        pipe.send(failed(error))


@contextlib.contextmanager
def seldom_collecting() -> Iterator[None]:
    """Look for garbage seldom within the block; never is too seldom for weights in a cycle."""
    first, second, third = gc.get_threshold()
    gc.set_threshold(SELDOM_OBJECTS, second, third)
    try:
        yield
    finally:
        gc.set_threshold(first, second, third)


def main(arguments: list[str]) -> int:
    """Load the model of a folder and serve jobs until the worker closes the pipe."""
    commands, answers = take_pipes()
    guard(commands)
    lower_priority()
    pipe, inbox = Pipe(answers), Inbox(commands)
    began = time.monotonic()
    try:
        with seldom_collecting():
            model = load_model(open_folder(Path(arguments[0]), *arguments[1:]))
            model.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as in run_job
        pipe.send(failed(error))
        return 1
    pipe.send(Ready(load_seconds=time.monotonic() - began, device_gb=device_gb()))
    for job in inbox:
        run_job(model, job, inbox, pipe)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
