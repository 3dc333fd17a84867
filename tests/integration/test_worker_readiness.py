"""A worker whose model lacks its weights or its server says so, takes no job, and serves later."""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from worker_fake import Script, write_service
from worker_rig import Rig, worker_settings, working

from bus import weights
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.settings import Settings
from bus.weights import folder_of
from bus.worker import readiness
from bus.worker.folder import ServiceFolder, open_folder
from contracts.jobs import RunState
from contracts.manifest import ServiceRecord, ServiceState
from contracts.weights import PULLING_FILE

pytestmark = pytest.mark.integration

READY, UNAVAILABLE = ServiceState.READY, ServiceState.UNAVAILABLE
REPO = "lab/tiny"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "AGAIN_SECONDS", 0.05)


@pytest.fixture
async def rig(
    bus: Bus, nats_settings: Settings, s3_settings: Settings, tmp_path: Path
) -> AsyncIterator[Rig]:
    bucket = f"test-{secrets.token_hex(6)}"
    settings = worker_settings(nats_settings, s3_settings, bucket, tmp_path / "spool")
    settings = msgspec.structs.replace(
        settings, models_dir=tmp_path / "models", lease_patience_seconds=0.1
    )
    artifacts = Artifacts(settings)
    await artifacts.ensure_bucket()
    yield Rig(bus, artifacts, settings)
    artifacts.close()


def written(tmp_path: Path, old: str, new: str) -> ServiceFolder:
    """Return the scripted service with something else in its manifest."""
    service = write_service(tmp_path / "services")
    manifest = service.path / "service.toml"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    return open_folder(service.path)


@pytest.fixture
def service(tmp_path: Path) -> ServiceFolder:
    return written(tmp_path, "[resources]", f'weights = "{REPO}"\n\n[resources]')


async def says(rig: Rig, state: ServiceState, *, other_than: str = "") -> ServiceRecord:
    """Wait until the one worker announces this state, in another revision than that."""
    found: list[ServiceRecord] = []

    async def said() -> bool:
        found[:] = await rig.workers()
        return any(w.state is state and w.revision != other_than for w in found)

    await eventually(said)
    return found[0]


def brought(rig: Rig, content: bytes = b"weights") -> Path:
    """Bring weights as a pull does: a marker, the files, a record, and the marker goes."""
    folder = folder_of(rig.settings.models_dir, REPO)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PULLING_FILE).touch()
    (folder / "model.safetensors").write_bytes(content)
    weights.write_record(folder, weights.describe(folder, REPO, told=lambda _: None))
    (folder / PULLING_FILE).unlink()
    return folder


async def test_without_weights_no_job_is_taken_and_with_them_the_same_worker_serves(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "make")
    async with working(rig.settings, service):
        said = await says(rig, UNAVAILABLE)
        assert said.reason == f"weights of {REPO} are not on disk: adgenx models pull scripted"
        job = await rig.ask(script.request())
        assert await rig.run_of(job) is None
        assert await rig.in_jobs(job)
        brought(rig)
        run = await rig.ended(job)
        assert (run.state, run.attempt) == (RunState.OK, 1)
        serving = await says(rig, READY)
        assert serving.worker == said.worker, "it was not started again"
        assert serving.revision != said.revision, "the weights are part of what makes the bytes"


async def test_other_weights_end_the_process_that_holds_the_old_ones(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    brought(rig)
    script = Script(tmp_path / "s", "make")
    async with working(rig.settings, service):
        await rig.ended(await rig.ask(script.request()))
        before = await says(rig, READY)
        brought(rig, b"other weights")
        after = await says(rig, READY, other_than=before.revision)
        assert after.worker == before.worker
        await rig.ended(await rig.ask(script.request(), "r2"))
        first, second = script.runs
        assert first != second


async def test_weights_that_go_away_end_the_serving_and_not_the_worker(
    rig: Rig, service: ServiceFolder
) -> None:
    folder = brought(rig)
    async with working(rig.settings, service):
        await says(rig, READY)
        (folder / "model.safetensors").unlink()
        said = await says(rig, UNAVAILABLE)
        assert "are damaged (model.safetensors)" in said.reason
        brought(rig)
        await says(rig, READY)


class Health(BaseHTTPRequestHandler):
    """A model's server that can be loading, and asks for a key."""

    status = 503
    keys: list[str | None] = []

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        type(self).keys.append(self.headers.get("Authorization"))
        self.send_response(self.status if self.path == "/ready" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def server() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Health.status, Health.keys = 503, []
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


def remote(tmp_path: Path, url: str) -> ServiceFolder:
    section = f'[endpoint]\nurl = "{url}"\nhealth = "/ready"\nsecret = "lab"\n\n[resources]'
    return written(tmp_path, "[resources]", section)


async def test_a_server_that_is_not_ready_is_waited_for(
    rig: Rig, server: str, tmp_path: Path
) -> None:
    async with working(rig.settings, remote(tmp_path, server)):
        said = await says(rig, UNAVAILABLE)
        assert f"{server} is not ready (503)" in said.reason
        assert "ADGENX_SCRIPTED_URL" in said.reason
        Health.status = 204
        await says(rig, READY)
        assert set(Health.keys) == {None}


async def test_a_server_that_does_not_answer_is_named(rig: Rig, tmp_path: Path) -> None:
    async with working(rig.settings, remote(tmp_path, "http://127.0.0.1:9")):
        said = await says(rig, UNAVAILABLE)
        assert "http://127.0.0.1:9 does not answer: start it" in said.reason


async def test_a_provider_on_the_internet_is_not_asked_but_its_key_must_be_here(
    rig: Rig, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(rig.settings, secrets_dir=tmp_path / "secrets")
    async with working(settings, remote(tmp_path, "https://api.invalid")):
        said = await says(rig, UNAVAILABLE)
        assert said.reason == "no key: put it into lab in the secrets folder"
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "lab").write_text("a-key\n")
        await says(rig, READY)
