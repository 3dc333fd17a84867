"""Cosmos in NVIDIA's container: against a server that speaks its documented protocol."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cosmos_server
import numpy as np
import pytest
import pytest_asyncio
from cosmos_server import CosmosServer
from cosmos_shots import video
from model_suite import ModelSuite, Runner
from PIL import Image
from samples import FILM, PICTURE, SAMPLES, Sample, ref

from bus.settings import load as load_settings
from bus.worker import process
from bus.worker.child import JobFiles
from bus.worker.folder import ServiceFolder, find
from bus.worker.model import Media, Report
from bus.worker.process import ModelProcess
from bus.worker.readiness import lack
from contracts.capability import Capability
from contracts.errors import (
    AdgenxError,
    ContentRefusedError,
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from contracts.requests import GenerateVideo
from inference import inputs
from services.cosmos.model import Model
from services.cosmos.nim import resolution

pytestmark = pytest.mark.contract

FIRST = ref(PICTURE, "image/png")


@pytest.fixture(scope="module")
def server() -> Iterator[CosmosServer]:
    with CosmosServer() as listening, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADGENX_COSMOS_NIM_URL", listening.url)
        yield listening


@pytest.fixture(autouse=True)
def fresh(server: CosmosServer) -> None:
    server.bodies, server.status, server.says = [], 0, ""
    server.asked.clear()
    server.go.set()


@pytest.fixture(scope="module")
def model(server: CosmosServer) -> Model:  # noqa: ARG001 - its address is in the environment
    loaded = Model(find("cosmos_nim").manifest)
    loaded.load()
    return loaded


def run(model: Model, request: GenerateVideo, folder: Path, report: Report | None = None) -> Media:
    files = JobFiles({}, folder)
    paths = {}
    for body in (PICTURE, FILM):
        paths[ref(body, "").sha256] = str(folder / ref(body, "").sha256)
        (folder / ref(body, "").sha256).write_bytes(body)
    files._inputs.update(paths)
    (media,) = model.run(request, report or (lambda *_, **__: None), files)
    return media


@pytest.mark.asyncio(loop_scope="class")
class TestContainer(ModelSuite):
    """What every service keeps, through the real pipe and over HTTP."""

    @pytest.fixture(scope="class")
    def service(self) -> ServiceFolder:
        return find("cosmos_nim")

    @pytest.fixture
    def sample(self) -> Sample:
        return SAMPLES[Capability.VIDEO]

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    async def child(
        self,
        service: ServiceFolder,
        server: CosmosServer,  # noqa: ARG002 - its address is in the environment
    ) -> AsyncIterator[ModelProcess]:
        started = await process.start(service)
        yield started
        await started.end()

    @pytest_asyncio.fixture(loop_scope="class")
    async def runner(self, child: ModelProcess, tmp_path: Path) -> AsyncIterator[Runner]:
        yield Runner(child, tmp_path)


def test_words_are_asked_for_as_the_server_knows_them(
    server: CosmosServer, model: Model, tmp_path: Path
) -> None:
    media = run(model, video(width=1280, height=720, seconds=1, fps=30, seed=3), tmp_path)
    (body,) = server.bodies
    assert body["prompt"] == "a can of lemonade"
    assert (body["resolution"], body["num_output_frames"], body["fps"]) == ("720_16_9", 25, 24.0)
    assert (body["seed"], body["steps"], body["guidance_scale"]) == (3, 35, 6.0)
    assert body.keys().isdisjoint({"image", "negative_prompt"}), "what is not asked is not sent"
    frames = inputs.read_film(media.path, most_frames=999).frames
    assert frames.shape == (30, 720, 1280, 3)
    assert media.metadata["guardrail"] == "container"
    assert media.metadata["made_frames"] == "25"


def test_a_first_picture_goes_with_them(server: CosmosServer, model: Model, tmp_path: Path) -> None:
    run(model, video(first_frame=FIRST, negative_prompt="blur"), tmp_path)
    (body,) = server.bodies
    kind, _, text = body["image"].partition(",")
    assert kind == "data:image/png;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    given = Image.open(io.BytesIO(PICTURE)).convert("RGB").resize(sent.size)
    assert np.abs(np.asarray(sent).astype(int) - np.asarray(given)).mean() < 3
    assert body["negative_prompt"] == "blur"


@pytest.mark.parametrize(
    ("status", "says", "error"),
    [
        (400, "Prompt blocked by text guardrail", ContentRefusedError),
        (422, "num_output_frames", ProviderRefusedError),
        (503, "warming up", ProviderUnavailableError),
    ],
)
def test_what_the_server_refuses(
    server: CosmosServer,
    model: Model,
    tmp_path: Path,
    status: int,
    says: str,
    error: type[AdgenxError],
) -> None:
    server.status, server.says = status, says
    with pytest.raises(error, match=says):
        run(model, video(), tmp_path)


def test_an_answer_without_a_film_is_no_success(
    server: CosmosServer, model: Model, tmp_path: Path
) -> None:
    server.status, server.says = 200, "nothing"
    with pytest.raises(ModelFailedError, match="b64_video"):
        run(model, video(), tmp_path)


@pytest.mark.usefixtures("server")
def test_an_answer_that_is_no_film_is_not_the_request_s_fault(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosmos_server, "film", lambda _body: b"no film")
    with pytest.raises(ModelFailedError, match="it is no film"):
        run(model, video(), tmp_path)


def test_a_cancel_does_not_wait_for_the_answer(
    server: CosmosServer, model: Model, tmp_path: Path
) -> None:
    server.go.clear()

    def report(*_: object, **__: object) -> None:
        if server.asked.is_set():
            raise JobCancelledError("the job was cancelled")

    with pytest.raises(JobCancelledError):
        run(model, video(), tmp_path, report)
    server.go.set()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"continue_from": ref(FILM, "video/mp4")}, "continue_from"),
        ({"last_frame": FIRST}, "last_frame"),
        ({"seconds": 9.0}, "seconds"),
        ({"height": 63}, "height"),
    ],
)
def test_what_it_cannot_do_is_not_asked_for(
    server: CosmosServer, model: Model, tmp_path: Path, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        run(model, video(**fields), tmp_path)
    assert caught.value.field == field
    assert server.bodies == []


def test_it_is_available_while_the_server_answers(server: CosmosServer) -> None:
    service = find("cosmos_nim")
    assert lack(service, load_settings(), {"ADGENX_COSMOS_NIM_URL": server.url}) == ""
    why = lack(service, load_settings(), {"ADGENX_COSMOS_NIM_URL": "http://127.0.0.1:1"})
    assert "ADGENX_COSMOS_NIM_URL" in why


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ((1920, 1080), "720_16_9"),
        ((1080, 1920), "720_9_16"),
        ((512, 512), "720_1_1"),
        ((480, 480), "480_1_1"),
        ((200, 256), "256_3_4"),
        ((640, 480), "480_4_3"),
    ],
)
def test_the_size_is_the_nearest_that_the_server_has(size: tuple[int, int], name: str) -> None:
    assert resolution(*size) == name
