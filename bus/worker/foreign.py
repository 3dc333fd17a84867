"""A model that runs in a Python of its own, as the model of this process.

The worker's child starts another process with the environment's interpreter and one file of ours
that needs no package (foreign_child.py), hands it the jobs, and passes on what it says: so the
worker, its leases and its clocks know no difference. Both are of one process group and end as one.

A folder with an `[environment]` and no `model.py` is served by this class alone. One that has more
to do, before or after, calls `Foreign` from its own `model.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import time
import weakref
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bus import environments, settings
from bus.worker.frames import (
    LINE_LIMIT,
    CancelJob,
    Done,
    Failed,
    Made,
    Ready,
    Ticked,
    answer_decoder,
    line,
)
from bus.worker.reported import typed
from contracts import canonical
from contracts.errors import (
    ChildLostError,
    InvalidRequestError,
    ModelFailedError,
    OutOfMemoryError,
    StalledError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bus.worker.frames import Answer
    from bus.worker.model import Files, Media, Report
    from contracts.errors import AdgenxError
    from contracts.manifest import Manifest
    from contracts.requests import Request

CHILD = Path(__file__).with_name("foreign_child.py")
POLL_SECONDS = 0.1
LAST_WORDS_SECONDS = 1.0
"""How long a process whose pipe is closed may take to end."""
_READ_BYTES = 65536
_JOB = "job"
"""Only one runs at a time."""
_PRIVATE = re.compile(r"SECRET|PASSW|CREDENTIAL|ACCESS_KEY|TOKEN$|KEY$|^PYTHONPATH$|^PIP_")
_STARTED: weakref.WeakSet[Foreign] = weakref.WeakSet()


class Foreign:
    """The process in the other environment. `start` it once, then `run` jobs."""

    def __init__(self, manifest: Manifest, service: Path) -> None:
        """`service` is the folder that holds the manifest and the module of the other Python."""
        if manifest.environment is None:
            raise InvalidRequestError(f"{manifest.name} has no [environment]", field="environment")
        self._manifest = manifest
        self._service = service
        self._section = manifest.environment
        self._process: subprocess.Popen[bytes] | None = None
        self._text = b""
        self._busy = False
        self.device_gb = 0.0

    def start(self, environ: Mapping[str, str] = os.environ) -> None:
        """Start it and wait until its model is loaded; raises what came instead, typed."""
        folder = settings.environments_dir(environ)
        why = environments.missing(self._section, self._service, folder, self._manifest.name)
        if why:
            raise InvalidRequestError(why, field="environment")
        python = environments.python_of(
            environments.folder_of(self._section, self._service, folder)
        )
        self._text = b""
        self._process = subprocess.Popen(
            [str(python), "-I", "-u", str(CHILD), str(self._service / self._section.child)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr.fileno(),
            env=stranger_environment(environ),
            cwd=self._service,
        )
        told = {"frame": "start", "manifest": whole(self._manifest)}
        self._write(msgspec.json.encode(told) + b"\n")
        _STARTED.add(self)
        # However long it takes: the worker's clock for loading ends this process, and that one.
        while (frame := self._next(POLL_SECONDS)) is None:
            pass
        match frame:
            case Ready(device_gb=taken):
                self.device_gb = taken
            case Failed() as failed:
                raise self._failed(failed)
            case _:
                raise self._misspoke(frame)

    def run(self, request: Request, report: Report, files: Files) -> Iterator[Media]:
        """Run one job there and yield its media.

        Raises what the model raised, typed; ChildLostError if its process died. What `report`
        raises ends the run over there too.
        """
        if self._process is None or self._process.poll() is not None:
            self.start()
        inputs = {ref.sha256: str(files.path(ref)) for ref in canonical.inputs(request)}
        job = {"frame": "run", "job_id": _JOB, "inputs": inputs, "scratch": str(files.new(""))}
        self._write(msgspec.json.encode({**job, "request": whole(request)}) + b"\n")
        self._busy = True
        try:
            yield from self._outputs(report)
        finally:
            self._quiet()

    def _outputs(self, report: Report) -> Iterator[Media]:
        """Yield what the job makes, and say meanwhile, also without news, that it goes on.

        That hears at once of a cancel; but it also keeps the worker's clock from running, so that
        what is silent over there for as long is found out here.
        """
        told = Ticked(done=0, total=1, phase="start")
        limit = self._manifest.resources.stall_seconds
        heard = time.monotonic()
        while True:
            frame = self._next(POLL_SECONDS)
            if frame is not None:
                heard = time.monotonic()
            elif time.monotonic() - heard > limit:
                self.stop()
                raise StalledError(f"no progress for {limit:g} s while running")
            match frame:
                case Ticked() as told:
                    _pass_on(told, report)
                    told = msgspec.structs.replace(told, preview="")  # it was shown
                case Made(media=media):
                    yield media
                case Done(device_gb=taken):
                    self._busy = False
                    self.device_gb = taken
                    return
                case Failed() as failed:
                    raise self._failed(failed)
                case None:
                    _pass_on(told, report)
                case _:
                    raise self._misspoke(frame)

    def stop(self) -> None:
        """End the process: its memory is given back."""
        self._busy = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _quiet(self) -> None:
        """Wait until a job that was left before its end is over there too.

        However long it takes: the worker's clock for a cancel ends both, with all that they have
        started. To end that one alone would leave behind what it has started.
        """
        if not self._busy:
            return
        with contextlib.suppress(ChildLostError):  # then it is over as well
            self._write(line(CancelJob(job_id=_JOB)))
            while not isinstance(self._next(POLL_SECONDS), Done | Failed):
                pass
        self._busy = False

    def _next(self, seconds: float) -> Answer | None:
        """Return the next frame, None if there is none within so many seconds."""
        while b"\n" not in self._text:
            if not select.select([self._answers], [], [], seconds)[0]:
                return None
            data = os.read(self._answers, _READ_BYTES)
            if not data:
                raise self._lost()
            self._text += data
            if len(self._text) > LINE_LIMIT:
                raise self._misspoke("a frame that is too long")
        text, _, self._text = self._text.partition(b"\n")
        try:
            return answer_decoder.decode(text)
        except msgspec.MsgspecError as error:
            raise self._misspoke(f"what is no frame: {error}") from error

    @property
    def _answers(self) -> int:
        assert self._process is not None  # start() comes first
        assert self._process.stdout is not None  # it is a pipe
        return self._process.stdout.fileno()

    def _write(self, text: bytes) -> None:
        assert self._process is not None  # start() comes first
        assert self._process.stdin is not None  # it is a pipe
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def _failed(self, failed: Failed) -> AdgenxError:
        """Return its error; a process whose state is in doubt ends with it."""
        self._busy = False
        error = typed(failed.error)
        sys.stderr.write(failed.traceback)
        if isinstance(error, ModelFailedError | OutOfMemoryError):
            self.stop()
        return error

    def _lost(self) -> ChildLostError:
        assert self._process is not None  # it was there
        try:
            how = f"ended with status {self._process.wait(LAST_WORDS_SECONDS)}"
        except subprocess.TimeoutExpired:
            how = "closed its pipe"
        self.stop()
        return ChildLostError(f"the model's process {how}")

    def _misspoke(self, what: object) -> ChildLostError:
        self.stop()
        said = what if isinstance(what, str) else f"{type(what).__name__} out of turn"
        return ChildLostError(f"the model's process said {said}")


def stranger_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a stranger's program: it is told of weights, and of no secret."""
    kept = {k: v for k, v in environ.items() if not _PRIVATE.search(k.upper())}
    return {**kept, "ADGENX_MODELS_DIR": str(settings.models_dir(environ))}


def _pass_on(told: Ticked, report: Report) -> None:
    """Say how far it is, which also hears whether the job is still wanted."""
    shown = b64decode(told.preview) if told.preview else None
    report(told.done, told.total, told.phase, preview=shown)


class Model:
    """The model of a folder that has nothing but an environment and its module."""

    def __init__(self, manifest: Manifest, service: Path) -> None:
        """Take note of the folder; nothing is started before `load`."""
        self._foreign = Foreign(manifest, service)

    def load(self) -> None:
        """Start the other process."""
        self._foreign.start()

    def run(self, request: Request, report: Report, files: Files) -> Iterator[Media]:
        """Yield what it makes."""
        yield from self._foreign.run(request, report, files)


def whole(value: object) -> object:
    """Return a request as plain values, what is left at its default included: nobody over there
    knows the defaults.
    """
    if isinstance(value, msgspec.Struct):
        fields = {name: whole(getattr(value, name)) for name in value.__struct_fields__}
        tag = value.__struct_config__.tag
        return {"type": tag, **fields} if tag else fields
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value


def device_gb() -> float:
    """Return the most that such processes took of an accelerator, in 10^9 bytes."""
    return sum(foreign.device_gb for foreign in _STARTED)
