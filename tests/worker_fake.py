"""A scripted model service: a third-party folder of two files, whose requests say what it does."""

from __future__ import annotations

import json
from pathlib import Path

from service_folder import write_folder

from bus.worker.folder import ServiceFolder, open_folder
from contracts.manifest import CostSection, ResourceSection
from contracts.requests import GenerateImage

NAME = "scripted"

MODEL = """
import json, os, time
from pathlib import Path
from . import acts

SLOW = Path(__file__).with_name("slow")

class Model:
    def __init__(self, manifest):
        self.name = manifest.name

    def load(self):
        print("loading", flush=True)
        while SLOW.exists():
            SLOW.with_name("loading").touch()
            time.sleep(0.005)

    def run(self, request, report, files):
        task = json.loads(request.prompt)
        with open(task["log"], "a", encoding="ascii") as log:
            log.write(f"{os.getpid()}\\n")
        yield from getattr(acts, task["do"])(task, request, report, files)
"""

ACTS = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
from bus.worker.model import Media
from contracts.errors import InvalidRequestError, RateLimitedError

def make(task, request, report, files):
    steps = task.get("steps", 3)
    for step in range(steps):
        report(step + 1, steps, "paint")
    path = files.new(".txt")
    inputs = b"".join(files.path(ref).read_bytes() for ref in request.references)
    path.write_bytes(f"seed {request.seed} ".encode() + inputs)
    yield Media(path=path, media_type="text/plain", name="image", width=4, height=2,
                metadata={"tone": "calm"})

def wait(task, request, report, files):
    step = 0
    while not Path(task["gate"]).exists():
        step += 1
        report(min(step, 9), 10, "wait")
        time.sleep(0.005)
    yield from make(task, request, report, files)

def deaf(task, request, report, files):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report(1, 2, "deaf")
    Path(task["gate"]).touch()
    while True:
        time.sleep(1)
    yield

def fail(task, request, report, files):
    report(1, 2, "fail")
    raise ValueError("the brushes are dry")
    yield

def refuse(task, request, report, files):
    raise InvalidRequestError("too small to paint", field="width")
    yield

def devour(task, request, report, files):
    bytearray(1 << 60)
    yield

def chatter(task, request, report, files):
    print('{"frame":"done"}', flush=True)
    os.write(1, b'{"frame":"failed"}\\n')
    sys.stderr.write("a word\\n")
    yield from make(task, request, report, files)

def limited(task, request, report, files):
    with open(task["log"], encoding="ascii") as log:
        if len(log.readlines()) <= task["times"]:
            raise RateLimitedError("not so fast", retry_after_seconds=task["after"])
    yield from make(task, request, report, files)

def order(task, request, report, files):
    mine = str(os.getpid())
    if files.keep("order", mine) == mine:
        with open(task["orders"], "a", encoding="ascii") as orders:
            orders.write("ordered\\n")
        files.keep("number", "n1", at_once=True)
        os.kill(os.getpid(), signal.SIGKILL)
    assert files.kept("number") == "n1"
    assert files.kept("nothing") == ""
    yield from make(task, request, report, files)

def chain(task, request, report, files):
    '''Make `segments` one after the other; each is rendered once, and written down when it is.'''
    import hashlib
    said, parts = [], []
    for number, word in enumerate(task["segments"]):
        said.append(word)
        report(number, len(task["segments"]), "segments")
        key = hashlib.sha256(repr((request.seed, said)).encode()).hexdigest()
        found = files.recall(key)
        if not found:
            with open(task["renders"], "a", encoding="ascii") as renders:
                renders.write(f"{number}\\n")
            if number in task.get("deaths", {}).get(str(runs(task)), []):
                os.kill(os.getpid(), signal.SIGKILL)
            gate = task.get("stand", {}).get(str(number))
            while gate and not Path(gate).exists():
                time.sleep(0.005)
            path = files.new(".txt")
            before = parts[-1].path.read_text() if parts else ""
            path.write_text(f"{before}{word} ")
            media = Media(path=path, media_type="text/plain", name="piece", width=number + 1,
                          metadata={"word": word})
            found = files.checkpoint(key, [media])
        assert found[0].metadata["word"] == word, found
        assert found[0].width == number + 1, found
        parts += found
    path = files.new(".txt")
    path.write_text(parts[-1].path.read_text())
    yield Media(path=path, media_type="text/plain", name="image")

def runs(task):
    with open(task["log"], encoding="ascii") as log:
        return len(log.readlines())

def die(task, request, report, files):
    os.kill(os.getpid(), signal.SIGKILL)
    yield

def die_once(task, request, report, files):
    with open(task["log"], encoding="ascii") as log:
        if len(log.readlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    yield from make(task, request, report, files)

def leave(task, request, report, files):
    os._exit(3)
    yield

def seize(task, request, report, files):
    report(1, 2, "seize")
    Path(task["gate"]).touch()
    ctypes.PyDLL(None).sleep(1000)
    yield

def breed(task, request, report, files):
    child = subprocess.Popen(["sleep", "1000"])
    part = Path(task["gate"] + ".part")
    part.write_text(str(child.pid))
    part.rename(task["gate"])
    ctypes.PyDLL(None).sleep(1000)
    yield

def nothing(task, request, report, files):
    report(1, 1, "nothing")
    yield from ()

def stray(task, request, report, files):
    yield Media(path=Path(task["log"]), media_type="text/plain", name="image")
"""


def write_service(
    parent: Path,
    *,
    name: str = NAME,
    concurrency: int = 1,
    stall_seconds: float = 30.0,
    max_attempts: int = 3,
    keep_receipt: bool = False,
    memory_gb: float = 0.1,
) -> ServiceFolder:
    """Write the folder and open it."""
    folder = parent / name
    resources = ResourceSection(
        memory_gb=memory_gb,
        concurrency=concurrency,
        stall_seconds=stall_seconds,
        max_attempts=max_attempts,
        keep_receipt=keep_receipt,
    )
    files = {"model.py": MODEL, "acts.py": ACTS}
    write_folder(folder, ("generate_image",), files, resources, CostSection(per_run=0.25))
    return open_folder(folder)


class Script:
    """One request to the scripted model, and what the test can see of its runs."""

    def __init__(self, folder: Path, do: str, **more: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        self.gate = folder / "gate"
        task = {"do": do, "log": str(self.log), "gate": str(self.gate), **more}
        self.prompt = json.dumps(task)

    def request(self, **fields: object) -> GenerateImage:
        """Return the request; `fields` override its own."""
        given: dict[str, object] = {"prompt": self.prompt, "width": 64, "height": 64, "seed": 7}
        return GenerateImage(**{**given, **fields})  # type: ignore[arg-type]  # names as in the contract

    @property
    def runs(self) -> list[int]:
        """Process ids of the runs so far, one for each start."""
        return [int(pid) for pid in self.log.read_text().split()] if self.log.exists() else []
