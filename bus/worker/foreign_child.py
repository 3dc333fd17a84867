"""A model in a Python of its own. This file needs nothing but Python 3.8 and its standard library.

    PYTHON -I foreign_child.py MODULE < frames > frames

MODULE is a file with one class `Model`, as in services with our own Python, with plain dictionaries
for everything that travels:

    class Model:
        def __init__(self, manifest): ...               # service.toml of the service, as a dict
        def load(self): ...
        def run(self, request, report, files):          # yields media
            picture = files.path(request["image"])      # an artifact of the request
            path = files.new(".glb")
            report(1, 3, "shape")                       # raises when the job was cancelled
            yield {"path": path, "media_type": "model/gltf-binary", "name": "mesh"}

`from adgenx_child import Refused` gives the error for a request that it cannot do:
`raise Refused("it shows nothing", field="image")`. `os.environ["ADGENX_MODELS_DIR"]` is the folder
of weights. What is printed goes to the log. The frames are those of the worker's own children
(frames.py), one JSON object a line; the first that is read is the manifest.
"""

from __future__ import annotations

import base64
import importlib.util
import itertools
import json
import os
import select
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any

PREVIEW_BYTES = 24000
LOOK_SECONDS = 0.05
TICK_SECONDS = 0.05
MESSAGE_LIMIT = 500
TRACEBACK_LIMIT = 8000


class Refused(Exception):  # noqa: N818 - it is no error of the model
    """The request cannot be done; `field` names what is wrong with it."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Cancelled(Exception):  # noqa: N818 - it is no error at all
    """The job is no longer wanted: let it pass."""


class Frames:
    """The pipe to whoever started this: read and written by the one thread that runs the model."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._poll = select.poll()
        self._poll.register(commands, select.POLLIN)
        self._text = b""
        self._waiting: list[dict[str, Any]] = []
        self._look_at = 0.0
        self.cancelled = ""

    def read(self) -> dict[str, Any]:
        """Return the next frame that is no cancel; waits for it."""
        while not self._waiting:
            self._take()
        return self._waiting.pop(0)

    def look(self) -> None:
        """Take in what has come, without waiting."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            while self._poll.poll(0):
                self._take()

    def write(self, frame: dict[str, Any]) -> None:
        """Write a frame."""
        text = (json.dumps(frame) + "\n").encode()
        while text:
            text = text[os.write(self._answers, text) :]

    def _take(self) -> None:
        data = os.read(self._commands, 65536)
        if not data:
            os._exit(0)  # whoever wanted it is gone
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            frame = json.loads(line)
            if frame.get("frame") == "cancel":
                self.cancelled = frame.get("job_id", "")
            else:
                self.cancelled = ""  # what came before it was a late cancel of the run before
                self._waiting.append(frame)


class Files:
    """The files of one job."""

    def __init__(self, inputs: dict[str, str], scratch: Path) -> None:
        self._inputs = inputs
        self._scratch = scratch
        self._numbers = itertools.count()

    def path(self, ref: dict[str, Any]) -> str:
        """Return an input artifact as a path; never write to it."""
        found = self._inputs.get(ref["sha256"])
        if found is None:
            raise Refused("the request holds no artifact " + ref["sha256"][:12])
        return found

    def new(self, suffix: str) -> str:
        """Return the path of a file that does not exist yet."""
        return str(self._scratch / (str(next(self._numbers)) + suffix))


def device_gb() -> float:
    """Return the most that this process took of an accelerator, in 10^9 bytes."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0.0
    return float(torch.cuda.max_memory_reserved()) / 1e9


def failed(error: BaseException) -> dict[str, Any]:
    """Return an exception as a frame."""
    if isinstance(error, Refused):
        info = {"code": "INVALID_PARAMS", "message": str(error), "field": error.field}
    elif isinstance(error, Cancelled):
        info = {"code": "CANCELLED", "message": "the job was cancelled"}
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        info = {"code": "OUT_OF_MEMORY", "message": "the model asked for more memory than there is"}
    else:
        words = " ".join(str(error).split())[:MESSAGE_LIMIT]
        info = {"code": "MODEL_FAILED", "message": type(error).__name__ + ": " + words}
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {"frame": "failed", "error": info, "traceback": text[-TRACEBACK_LIMIT:]}


def run(model: Any, job: dict[str, Any], frames: Frames) -> None:  # noqa: ANN401 - whatever the module has
    """Run the model once and tell what came of it."""
    last: dict[str, Any] = {"at": 0.0, "phase": None}

    def wanted() -> None:
        frames.look()
        if frames.cancelled == job["job_id"]:
            raise Cancelled

    def report(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        wanted()
        now = time.monotonic()
        if phase == last["phase"] and now - last["at"] < TICK_SECONDS and done < total:
            return
        last["at"], last["phase"] = now, phase
        shown = ""
        if preview and len(preview) <= PREVIEW_BYTES:
            shown = base64.b64encode(preview).decode()
        tick = {"frame": "progress", "done": int(done), "total": int(total), "phase": phase}
        frames.write(dict(tick, preview=shown))

    scratch = Path(job["scratch"])
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        files = Files(job["inputs"], scratch)
        for media in model.run(job["request"], report, files):
            wanted()
            frames.write({"frame": "media", "media": dict(media, path=str(media["path"]))})
        frames.write({"frame": "done", "device_gb": device_gb()})
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a model may raise anything
        frames.write(failed(error))


def load(path: Path, manifest: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the module has
    """Import the module and return its loaded model."""
    shared = types.ModuleType("adgenx_child")
    shared.__dict__["Refused"] = Refused
    sys.modules["adgenx_child"] = shared
    sys.path.insert(0, str(path.parent))  # what lies beside it is found; -I left it out
    spec = importlib.util.spec_from_file_location("adgenx_model", path)
    assert spec is not None  # it is a file
    assert spec.loader is not None  # as above
    module = importlib.util.module_from_spec(spec)
    sys.modules["adgenx_model"] = module
    spec.loader.exec_module(module)
    model = module.Model(manifest)
    model.load()
    return model


def main(path: Path) -> int:
    """Load the model, then serve jobs until the pipe is closed."""
    commands, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # whatever prints from now on, prints to the log
    frames = Frames(commands, answers)
    began = time.monotonic()
    try:
        model = load(path, frames.read()["manifest"])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as in run
        frames.write(failed(error))
        return 1
    seconds = time.monotonic() - began
    frames.write({"frame": "ready", "load_seconds": seconds, "device_gb": device_gb()})
    while True:
        run(model, frames.read(), frames)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
