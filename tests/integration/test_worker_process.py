"""The model's process, and everything that can go wrong with one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog
from bus_servers import eventually
from worker_fake import Script, write_service

from bus.worker import process
from bus.worker.folder import ServiceFolder
from bus.worker.frames import RunJob, Ticked, line
from bus.worker.model import Media
from bus.worker.process import CANCEL_GRACE_SECONDS, ModelProcess, child_environment
from contracts.errors import (
    ChildLostError,
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
    OutOfMemoryError,
    StalledError,
)

pytestmark = pytest.mark.integration

Start = Callable[..., Awaitable[ModelProcess]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start processes that are ended with the test."""
    started: list[ModelProcess] = []

    async def one(service: ServiceFolder, **options: Callable[[], int]) -> ModelProcess:
        started.append(await process.start(service, **options))
        return started[-1]

    yield one
    for model in started:
        await model.end()


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]  # a list of MutableMapping


def job(script: Script, folder: Path, **fields: object) -> RunJob:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return RunJob(job_id="j1", request=script.request(**fields), inputs={}, scratch=str(scratch))


HOLDER = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-m", "bus.worker.child", sys.argv[1]],
    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
)
child.stdin.write(sys.argv[2].encode())
child.stdin.flush()
child.wait()
"""


def hold(service: ServiceFolder, frame: str) -> subprocess.Popen[bytes]:
    """Start a process in the worker's stead, that starts a model's and gives it one job."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(service.path), frame],
        env=child_environment(os.environ),
        stderr=subprocess.DEVNULL,
    )


async def run(
    model: ModelProcess, script: Script, folder: Path
) -> tuple[list[Media], list[Ticked]]:
    ticks: list[Ticked] = []
    return await model.run(job(script, folder), ticks.append), ticks


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie that nobody has reaped yet does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def gone(pid: int) -> None:
    async def check() -> bool:
        return not alive(pid)

    await eventually(check)


async def opened(script: Script) -> None:
    async def check() -> bool:
        return script.gate.exists()

    await eventually(check)


async def test_outputs_and_progress_come_up(
    service: ServiceFolder, start: Start, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "make", steps=5)
    media, ticks = await run(await start(service), script, tmp_path)
    assert media[0].path.read_bytes() == b"seed 7 "
    assert (media[0].name, media[0].width, media[0].metadata) == ("image", 4, {"tone": "calm"})
    assert [t.done for t in ticks] == sorted(t.done for t in ticks)
    assert (ticks[-1].done, ticks[-1].total) == (5, 5), "the last tick is never held back"


async def test_one_process_serves_many_jobs(
    service: ServiceFolder, start: Start, tmp_path: Path
) -> None:
    model = await start(service)
    for number in range(3):
        script = Script(tmp_path / str(number), "make")
        await run(model, script, tmp_path)
        assert script.runs == [model.pid]
        assert model.usable


async def test_a_refused_request_keeps_its_field_and_the_process(
    service: ServiceFolder, start: Start, tmp_path: Path
) -> None:
    model = await start(service)
    with pytest.raises(InvalidRequestError, match="too small") as caught:
        await run(model, Script(tmp_path / "s", "refuse"), tmp_path)
    assert caught.value.field == "width"
    assert model.usable


async def test_a_failure_is_short_for_the_client_and_whole_in_the_log(
    service: ServiceFolder, start: Start, tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    model = await start(service)
    with pytest.raises(ModelFailedError) as caught:
        await run(model, Script(tmp_path / "s", "fail"), tmp_path)
    assert caught.value.message == "ValueError: the brushes are dry"
    assert not model.usable
    (line_,) = [entry for entry in logged if entry["event"] == "model.failed"]
    assert "acts.py" in str(line_["traceback"])


@pytest.mark.parametrize(
    ("do", "kind", "words"),
    [
        ("devour", OutOfMemoryError, "memory"),
        ("die", ChildLostError, "SIGKILL"),
        ("leave", ChildLostError, "status 3"),
        ("nothing", ModelFailedError, "without an output"),
        ("stray", ModelFailedError, "not in the job's scratch"),
    ],
)
async def test_how_a_run_ends_is_typed(
    service: ServiceFolder,
    start: Start,
    tmp_path: Path,
    do: str,
    kind: type[Exception],
    words: str,
) -> None:
    with pytest.raises(kind, match=words):
        await run(await start(service), Script(tmp_path / "s", do), tmp_path)


async def test_a_process_that_the_kernel_ended_for_memory_is_out_of_memory(
    service: ServiceFolder, start: Start, tmp_path: Path
) -> None:
    kills = iter(range(100))
    model = await start(service, count_oom_kills=lambda: next(kills))
    with pytest.raises(OutOfMemoryError, match="kernel"):
        await run(model, Script(tmp_path / "s", "die"), tmp_path)


async def test_what_a_model_prints_is_logged_and_never_a_frame(
    service: ServiceFolder, start: Start, tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    media, _ = await run(await start(service), Script(tmp_path / "s", "chatter"), tmp_path)
    assert len(media) == 1

    async def printed() -> bool:
        lines = {str(entry.get("line")) for entry in logged}
        return {"loading", "a word", '{"frame":"done"}', '{"frame":"failed"}'} <= lines

    await eventually(printed)


async def test_a_cancel_stops_it_within_a_tick_and_keeps_the_process(
    service: ServiceFolder, start: Start, tmp_path: Path
) -> None:
    model = await start(service)
    loop = asyncio.get_running_loop()
    cancelled_at: list[float] = []

    def cancel_on(tick: Ticked) -> None:
        if tick.phase == "wait" and not cancelled_at:
            cancelled_at.append(loop.time())
            model.cancel()

    with pytest.raises(JobCancelledError):
        await model.run(job(Script(tmp_path / "s", "wait"), tmp_path), cancel_on)
    assert loop.time() - cancelled_at[0] < CANCEL_GRACE_SECONDS, "it heard; nobody killed it"
    assert model.usable
    media, _ = await run(model, Script(tmp_path / "again", "make"), tmp_path)
    assert len(media) == 1, "the cancel was of the other run"


@pytest.mark.parametrize("do", ["deaf", "seize"])
async def test_a_cancel_that_is_not_heard_is_enforced(
    service: ServiceFolder, start: Start, tmp_path: Path, do: str
) -> None:
    model = await start(service)
    script = Script(tmp_path / "s", do)
    work = asyncio.create_task(run(model, script, tmp_path))
    await opened(script)
    model.cancel()
    with pytest.raises(JobCancelledError):
        await work
    assert not model.usable
    await gone(model.pid)


@pytest.mark.parametrize("do", ["deaf", "seize"])
async def test_a_hang_is_a_stall_and_the_process_is_killed(
    start: Start, tmp_path: Path, do: str
) -> None:
    service = write_service(tmp_path / "services", stall_seconds=0.5)
    model = await start(service)
    with pytest.raises(StalledError, match=r"0\.5 s"):
        await run(model, Script(tmp_path / "s", do), tmp_path)
    await gone(model.pid)


async def test_what_the_model_started_ends_with_it(start: Start, tmp_path: Path) -> None:
    service = write_service(tmp_path / "services", stall_seconds=0.5)
    script = Script(tmp_path / "s", "breed")
    with pytest.raises(StalledError):
        await run(await start(service), script, tmp_path)
    await gone(int(script.gate.read_text()))


async def test_a_killed_worker_takes_a_hung_model_and_its_children_along(
    service: ServiceFolder, tmp_path: Path
) -> None:
    """The worker here is a process that holds the pipe and is killed; nobody is asked nicely."""
    script = Script(tmp_path / "s", "breed")
    frame = line(job(script, tmp_path)).decode()
    holder = hold(service, frame)
    await opened(script)
    model, grandchild = script.runs[0], int(script.gate.read_text())
    assert alive(model)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    await gone(model)
    await gone(grandchild)


async def test_a_model_that_cannot_load_says_why(tmp_path: Path) -> None:
    service = write_service(tmp_path / "services")
    (service.path / "acts.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(ModelFailedError, match="a_module_that_is_not_there"):
        await process.start(service)


def test_a_model_never_sees_the_credentials() -> None:
    environ = {"ADGENX_S3_SECRET_KEY": "s", "ADGENX_NATS_PASSWORD": "n", "ADGENX_DATA_DIR": "d"}
    seen = child_environment(environ)
    assert seen["ADGENX_DATA_DIR"] == "d"
    assert not {"ADGENX_S3_SECRET_KEY", "ADGENX_NATS_PASSWORD"} & seen.keys()
