"""A service with weights is there before its model: what it says and does until that is loaded."""

from __future__ import annotations

import asyncio
import secrets
import signal
import urllib.request
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from nats.aio.msg import Msg
from worker_fake import Script, write_service
from worker_rig import Rig, process, worker_settings

from bus import weights
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.exposition import FOLDER
from bus.settings import Settings
from bus.weights import folder_of
from bus.worker.folder import ServiceFolder, open_folder
from bus.worker.holding import BEATS_PER_ACK_WAIT
from contracts.jobs import RunState
from contracts.manifest import ServiceRecord, ServiceState

pytestmark = pytest.mark.integration

REPO = "lab/tiny"
BEAT = b"+WPI"
LIBRARIES = ("diffusers", "torch", "transformers")


@pytest.fixture
async def rig(
    bus: Bus, nats_settings: Settings, s3_settings: Settings, tmp_path: Path
) -> AsyncIterator[Rig]:
    bucket = f"test-{secrets.token_hex(6)}"
    settings = worker_settings(nats_settings, s3_settings, bucket, tmp_path / "spool")
    settings = msgspec.structs.replace(settings, models_dir=tmp_path / "models")
    artifacts = Artifacts(settings)
    await artifacts.ensure_bucket()
    yield Rig(bus, artifacts, settings)
    artifacts.close()


@pytest.fixture
def service(rig: Rig, tmp_path: Path) -> ServiceFolder:
    """The scripted service as one with weights, which are there; its model does not load yet."""
    weighed = write_service(tmp_path / "services")
    manifest = weighed.path / "service.toml"
    text = manifest.read_text()
    manifest.write_text(text.replace("[resources]", f'weights = "{REPO}"\n\n[resources]', 1))
    folder = folder_of(rig.settings.models_dir, REPO)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    weights.write_record(folder, weights.describe(folder, REPO, told=lambda _: None))
    (weighed.path / "slow").touch()
    return open_folder(weighed.path)


def told(rig: Rig) -> dict[str, str]:
    """Return what the worker's environment says beside the settings; no manager lends memory."""
    return {
        "ADGENX_MODELS_DIR": str(rig.settings.models_dir),
        "ADGENX_METRICS_LISTEN": "127.0.0.1:0",
        "ADGENX_LEASE_PATIENCE_SECONDS": "0.1",
    }


async def ready(rig: Rig) -> ServiceRecord:
    """Wait until the one worker announces that it serves."""
    found: list[ServiceRecord] = []

    async def said() -> bool:
        found[:] = await rig.workers()
        return any(worker.state is ServiceState.READY for worker in found)

    await eventually(said)
    (record,) = found
    return record


async def loading(service: ServiceFolder) -> None:
    """Wait until the model is being loaded."""

    async def begun() -> bool:
        return (service.path / "loading").exists()

    await eventually(begun)


def health(rig: Rig, service: str, pid: int) -> int:
    """Ask the worker's process for its health."""
    target = rig.settings.data_dir / FOLDER / f"{service}-{pid}.json"
    (where,) = msgspec.json.decode(target.read_bytes())[0]["targets"]
    with urllib.request.urlopen(f"http://{where}/healthz", timeout=5) as answer:
        return int(answer.status)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in found.split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def libraries_in(pid: int) -> list[str]:
    """Return the model libraries of which a process has a file mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return [name for name in LIBRARIES if f"/site-packages/{name}/" in maps]


async def test_it_is_announced_and_healthy_before_anything_of_its_model_runs(
    rig: Rig, service: ServiceFolder
) -> None:
    with process(rig.settings, service, **told(rig)) as worker:
        record = await ready(rig)
        assert record.reason == ""
        assert not record.resident
        assert record.resident_since == 0
        assert await asyncio.to_thread(health, rig, service.name, worker.pid) == HTTPStatus.OK
        assert children(worker.pid) == [], "discovery waits for no model's process"
        assert libraries_in(worker.pid) == []
        assert not (service.path / "loading").exists()


async def test_while_its_model_loads_it_keeps_the_job_answers_and_then_makes_it(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    beats: asyncio.Queue[str] = asyncio.Queue()

    async def heard(message: Msg) -> None:
        if message.data == BEAT:
            beats.put_nowait(message.subject)

    await rig.bus.nc.subscribe(f"$JS.ACK.JOBS.{service.name}.>", cb=heard)
    script = Script(tmp_path / "s", "make")
    with process(rig.settings, service, **told(rig)) as worker:
        before = await ready(rig)
        job = await rig.ask(script.request())
        await loading(service)
        async with asyncio.timeout(30):
            # Longer than the server would wait for a word: the job is still this worker's.
            heartbeats = {await beats.get() for _ in range(BEATS_PER_ACK_WAIT + 1)}
        assert len(heartbeats) == 1, "delivered once"
        assert await asyncio.to_thread(health, rig, service.name, worker.pid) == HTTPStatus.OK
        assert not (await ready(rig)).resident
        assert script.runs == []
        (service.path / "slow").unlink()
        run = await rig.ended(job)
        assert (run.state, run.attempt) == (RunState.OK, 1)

        async def resident() -> bool:
            return (await ready(rig)).resident

        await eventually(resident)
        assert (await ready(rig)).worker == before.worker


async def test_it_can_be_stopped_while_its_model_loads_and_the_job_is_not_counted(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "make")
    with process(rig.settings, service, **told(rig)) as worker:
        await ready(rig)
        job = await rig.ask(script.request())
        await loading(service)
        (child,) = children(worker.pid)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == 0
        assert not alive(child), "the half-loaded model went with it"
    assert await rig.workers() == []
    assert await rig.in_jobs(job)
    (service.path / "slow").unlink()
    with process(rig.settings, service, **told(rig)):
        run = await rig.ended(job)
    assert (run.state, run.attempt) == (RunState.OK, 1)
    assert len(script.runs) == 1
