"""A model in a Python of its own: built by the command line, run by a worker's child like any."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from model_suite import ModelSuite, Runner
from samples import PICTURE, Sample, ref

from bus import environments
from bus.worker import foreign_child, process
from bus.worker.folder import ServiceFolder, engine_revision, find
from contracts.errors import ChildLostError, InvalidRequestError, ModelFailedError, StalledError
from contracts.requests import GenerateImage
from services.cli.main import main

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
MANIFEST = f"""
name = "elsewhere"
version = "1.0.0"
tier = "production"
accepts = ["generate_image.v1"]
[model]
name = "Elsewhere"
licence = "MIT"
commercial_use = true
[resources]
memory_gb = 0.1
stall_seconds = 4
[environment]
python = "{HERE}"
steps = [["{{python}}", "-c", "open('{{environment}}/stepped', 'w').write('{{service}}')"]]
"""
LOCK = """
--no-index
--find-links wheels
strange-colours==1.4
"""
CHILD = """
import os, struct, subprocess, sys, threading, zlib
import strange_colours
from adgenx_child import Refused

OURS = ("contracts", "bus", "services", "msgspec", "nats", "structlog")


def chunk(kind, body):
    checked = kind + body
    return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(width, height, grey):
    rows = b"".join(b"\\0" + bytes([grey]) * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(chunk(*part) for part in parts)


class Model:
    def __init__(self, manifest):
        assert manifest["name"] == "elsewhere", manifest

    def load(self):
        print("loaded in", sys.prefix)

    def run(self, request, report, files):
        if not request["prompt"]:
            raise Refused("it says nothing", field="prompt")
        for picture in request.get("references", []):
            with open(files.path(picture), "rb") as file:
                if not file.read().startswith(b"\\x89PNG"):
                    raise Refused("it is no picture", field="references[0]")
        found = []
        for name in OURS:
            try:
                __import__(name)
            except ImportError:
                continue
            found.append(name)
        for step in range(1, 5):
            report(step, 5, "paint")
        if request["prompt"] == "fail":
            raise RuntimeError("the colours ran out")
        if request["prompt"] == "die":
            os.kill(os.getpid(), 9)
        if request["prompt"] == "hang":
            started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])
            with open(os.path.join(os.path.dirname(__file__), "started"), "w") as file:
                file.write(str(started.pid))
            threading.Event().wait()
        path = files.new(".png")
        with open(path, "wb") as file:
            grey = strange_colours.GREY + request["seed"]
            file.write(png(request["width"], request["height"], grey))
        report(5, 5, "paint")
        yield {
            "path": path, "media_type": "image/png", "name": "image",
            "width": request["width"], "height": request["height"],
            "metadata": {
                "prefix": sys.prefix,
                "ours": ",".join(found),
                "secret": ",".join(k for k, v in os.environ.items() if "planted" in v),
            },
        }
"""
PLAIN = GenerateImage(prompt="a calm sea", width=64, height=48, seed=3)


def with_prompt(prompt: str) -> GenerateImage:
    return msgspec.structs.replace(PLAIN, prompt=prompt)


def wheel(folder: Path) -> None:
    """Write a wheel of one module, as an index would give it."""
    folder.mkdir(parents=True)
    info = "strange_colours-1.4.dist-info"
    files = {
        "strange_colours.py": "GREY = 100\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: strange-colours\nVersion: 1.4\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = []
    with zipfile.ZipFile(folder / "strange_colours-1.4-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            records.append(f"{name},sha256={digest.rstrip(b'=').decode()},{len(text)}")
        archive.writestr(f"{info}/RECORD", "\n".join([*records, f"{info}/RECORD,,"]) + "\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder and a folder with the one service; both are known to this process."""
    made = tmp_path_factory.mktemp("elsewhere")
    folder = made / "services" / "elsewhere"
    folder.mkdir(parents=True)
    (folder / "service.toml").write_text(MANIFEST)
    (folder / "requirements.lock").write_text(LOCK)
    (folder / "child.py").write_text(CHILD)
    wheel(folder / "wheels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("structlog.configure", lambda **_: None)  # it would silence other tests
        patch.setenv("ADGENX_DATA_DIR", str(made / "data"))
        patch.setenv("ADGENX_SERVICES_PATH", str(folder.parent))
        patch.setenv("ADGENX_S3_SECRET_KEY", "planted")
        for name in ("MY_TOKEN", "CREDENTIALS_DIRECTORY", "CLOUD_API_KEY", "ADGENX_SECRETS_DIR"):
            patch.setenv(name, "planted")
        patch.delenv("PYTHONPATH", raising=False)
        yield made


@pytest.fixture(scope="module")
def service(home: Path) -> ServiceFolder:
    """The service, with its environment built as an operator builds it."""
    assert main(["models", "install", "elsewhere"]) == 0
    assert (home / "data" / "environments" / "elsewhere" / "stepped").is_file()
    return find("elsewhere", [home / "services"])


class TestElsewhere(ModelSuite):
    @pytest.fixture
    def sample(self) -> Sample:
        return Sample(PLAIN, with_prompt(""))


@pytest.fixture
async def runner(service: ServiceFolder, tmp_path: Path) -> AsyncIterator[Runner]:
    model = await process.start(service)
    yield Runner(model, tmp_path)
    await model.end()


async def test_nothing_of_ours_is_in_there_but_one_file(
    runner: Runner, service: ServiceFolder, home: Path
) -> None:
    [media] = await runner.run(PLAIN)
    assert media.metadata["prefix"] == str(home / "data" / "environments" / "elsewhere")
    assert media.metadata["ours"] == ""
    assert media.metadata["secret"] == ""
    assert engine_revision(service)


async def test_inputs_are_there_and_a_refusal_names_its_field(runner: Runner) -> None:
    shown = msgspec.structs.replace(PLAIN, references=[ref(PICTURE, "image/png")])
    assert await runner.run(shown)
    with pytest.raises(InvalidRequestError, match="says nothing") as caught:
        await runner.run(with_prompt(""))
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ("fail", ModelFailedError, "RuntimeError: the colours ran out"),
        ("die", ChildLostError, "ended with status -9"),
    ],
)
async def test_what_happens_over_there_is_typed_here_and_the_next_run_works(
    runner: Runner, prompt: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await runner.run(with_prompt(prompt))
    if runner.model.usable:
        assert await runner.run(PLAIN)


def descendants(pid: int) -> set[int]:
    """Return the processes below one."""
    children = {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return children.union(*map(descendants, children))


def lives(pid: int) -> bool:
    """Say whether a process is there, and no corpse that nobody has buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_one_that_hangs_is_ended_with_all_that_it_has_started(
    runner: Runner, service: ServiceFolder
) -> None:
    with pytest.raises(StalledError, match="no progress for 4 s"):
        await runner.run(with_prompt("hang"))
    assert not runner.model.usable
    started = int((service.path / "started").read_text())
    await runner.model.end()
    async with asyncio.timeout(30):
        while lives(started):  # noqa: ASYNC110 - another process's end sets no event
            await asyncio.sleep(0.05)


def test_a_cancel_that_comes_together_with_its_run_is_heard() -> None:
    commands, told = os.pipe()
    frames = foreign_child.Frames(commands, told)
    os.write(told, b'{"frame":"cancel","job_id":"a"}\n{"frame":"run","job_id":"a"}\n')
    assert frames.read()["frame"] == "run"
    assert frames.cancelled == ""
    os.write(told, b'{"frame":"run","job_id":"a"}\n{"frame":"cancel","job_id":"a"}\n')
    assert frames.read()["frame"] == "run"
    assert frames.cancelled == "a"
    os.close(commands)
    os.close(told)


async def test_both_processes_end_with_the_worker(service: ServiceFolder, tmp_path: Path) -> None:
    model = await process.start(service)
    assert await Runner(model, tmp_path).run(PLAIN)
    below = descendants(model.pid)
    assert below
    os.kill(model.pid, signal.SIGKILL)
    await model.exited()
    await model.end()
    async with asyncio.timeout(30):
        while any(map(lives, below)):  # noqa: ASYNC110 - another process's end sets no event
            await asyncio.sleep(0.05)


def test_a_python_that_is_not_here_is_named(
    service: ServiceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    file = service.path / "service.toml"
    kept = file.read_text()
    file.write_text(kept.replace(f'python = "{HERE}"', 'python = "3.99"'))
    try:
        assert main(["models", "install", "elsewhere"]) != 0
    finally:
        file.write_text(kept)
    assert "there is no Python 3.99 here" in capsys.readouterr().err


def old_python() -> str:
    """Return a Python much older than ours; "" if none is here."""
    for version in ("3.8", "3.9", "3.10"):
        found = shutil.which(f"python{version}")
        if (
            found
            and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0
        ):
            return found
    return ""


OLD = old_python()


@pytest.mark.skipif(not OLD, reason="NOT CHECKED: the oldest Python that a model may want")
def test_its_one_file_runs_on_an_old_python(home: Path, service: ServiceFolder) -> None:
    child = Path(process.__file__).with_name("foreign_child.py")
    frames = [
        {"frame": "start", "manifest": {"name": "elsewhere"}},
        {
            "frame": "run",
            "job_id": "a",
            "request": {"prompt": ""},
            "inputs": {},
            "scratch": str(home / "old"),
        },
    ]
    shutil.copytree(service.path, home / "old-service")
    (home / "old-service" / "strange_colours.py").write_text("GREY = 1\n")
    ran = subprocess.run(
        [OLD, "-I", str(child), str(home / "old-service" / "child.py")],
        input=b"".join(msgspec.json.encode(frame) + b"\n" for frame in frames),
        capture_output=True,
        check=False,
        timeout=60,
    )
    told = [msgspec.json.decode(line) for line in ran.stdout.splitlines()]
    assert [frame["frame"] for frame in told] == ["ready", "failed"], ran.stderr
    assert told[1]["error"]["field"] == "prompt"


def test_what_is_there_is_not_built_again_and_another_recipe_is(
    service: ServiceFolder, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "install", "elsewhere"]) == 0
    assert "is there" in capsys.readouterr().out
    lock = service.path / "requirements.lock"
    kept = lock.read_text()
    lock.write_text(kept + "absent-package==9\n")
    try:
        assert main(["models", "install", "elsewhere"]) != 0
        assert "pip install" in capsys.readouterr().err
        folder = home / "data" / "environments"
        section = service.manifest.environment
        assert section is not None
        assert "not installed" in environments.missing(section, service.path, folder)
    finally:
        lock.write_text(kept)
