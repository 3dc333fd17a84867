"""Picture models in containers, against a server that follows their documentation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from local_server import serving
from model_suite import ModelSuite, Runner
from picture_server import FILTERED, PictureServer
from PIL import Image
from samples import JUNK, PICTURE, Sample, ref
from suite import Told, made

from bus import endpoints
from bus.worker import process
from bus.worker.folder import ServiceFolder, find, load_model
from bus.worker.model import Model
from contracts.errors import (
    AdgenxError,
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from contracts.requests import GenerateImage

pytestmark = pytest.mark.models

NIM, WEB_UI = find("flux_nim"), find("flux_container")
PATHS = {"flux_nim": "", "flux_container": "/sdapi/v1"}
ASKED = GenerateImage(prompt="a calm sea", width=640, height=360, negative_prompt="text", seed=3)
SHOWN = ref(PICTURE, "image/png")


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving(PictureServer()) as listening:
        yield listening


@pytest.fixture(params=[NIM, WEB_UI], ids=lambda service: service.name)
def service(request: pytest.FixtureRequest) -> ServiceFolder:
    found: ServiceFolder = request.param
    return found


def environment(service: ServiceFolder, server: PictureServer) -> dict[str, str]:
    return {endpoints.variable(service.manifest): server.url + PATHS[service.name]}


Load = Callable[..., Model]


@pytest.fixture
def load(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a service's model, which asks the server; `timeout` is how many seconds it waits."""

    def loaded(service: ServiceFolder, *, timeout: float = 60.0) -> Model:
        for name, value in environment(service, server).items():
            monkeypatch.setenv(name, value)
        endpoint = msgspec.structs.replace(service.manifest.endpoint, timeout_seconds=timeout)
        manifest = msgspec.structs.replace(service.manifest, endpoint=endpoint)
        model = load_model(ServiceFolder(service.path, manifest))
        model.load()
        return model

    return loaded


class TestThroughThePipe(ModelSuite):
    """What every model keeps, for both containers."""

    @pytest.fixture
    def sample(self) -> Sample:
        unreadable = ref(JUNK, "image/png")
        return Sample(ASKED, msgspec.structs.replace(ASKED, references=[unreadable]))

    @pytest.fixture
    async def runner(
        self, service: ServiceFolder, server: PictureServer, tmp_path: Path
    ) -> AsyncIterator[Runner]:
        model = await process.start(service, environment=environment(service, server))
        yield Runner(model, tmp_path)
        await model.end()


def test_what_is_asked_follows_the_servers_documentation(
    load: Load, server: PictureServer, tmp_path: Path
) -> None:
    (media,) = made(load(NIM), ASKED, Told(), tmp_path)
    assert server.bodies == [
        {"prompt": "a calm sea", "width": 1392, "height": 752, "seed": 3, "steps": 4}
    ]
    assert media.metadata["steps"] == "4"
    assert "guidance" not in media.metadata, "the server was not told any"
    assert media.metadata["negative_prompt"] == "not used"


def test_a_web_ui_is_told_what_to_avoid(load: Load, server: PictureServer, tmp_path: Path) -> None:
    model = load(WEB_UI)
    (media,) = made(model, ASKED, Told(), tmp_path)
    assert server.bodies[0]["negative_prompt"] == "text"
    assert media.metadata["guidance"] == "3.5"
    assert "negative_prompt" not in media.metadata


def test_the_picture_is_of_the_size_asked_for_and_the_rounding_is_told(
    load: Load, service: ServiceFolder, tmp_path: Path
) -> None:
    (media,) = made(load(service), ASKED, Told(), tmp_path)
    with Image.open(media.path) as picture:
        assert picture.size == (media.width, media.height) == (640, 360)
        assert len(np.unique(np.asarray(picture))) > 2, "something is in it"
    assert media.metadata["made_size"]


def test_seed_zero_is_a_seed_like_any_other(
    load: Load, service: ServiceFolder, tmp_path: Path
) -> None:
    model = load(service)
    zero = msgspec.structs.replace(ASKED, seed=0)
    one, two = (made(model, zero, Told(), tmp_path)[0].path.read_bytes() for _ in range(2))
    assert one == two, "servers take 0 for any seed"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ((500, {}, b"CUDA error"), ProviderUnavailableError),
        ((503, {}, b'{"detail":"loading"}'), ProviderUnavailableError),
        ((429, {"Retry-After": "7"}, b"busy"), RateLimitedError),
        ((422, {}, b'{"detail":[{"loc":["body","width"]}]}'), ProviderRefusedError),
        ((200, {}, b"<html>"), ModelFailedError),
        ((200, {}, b'{"artifacts":[],"images":[]}'), ModelFailedError),
        (
            (
                200,
                {},
                b'{"artifacts":[{"base64":"bm8=","finishReason":"SUCCESS"}],"images":["bm8="]}',
            ),
            ModelFailedError,
        ),
        (
            (200, {}, b'{"artifacts":[{"base64":7,"finishReason":"SUCCESS"}],"images":[7]}'),
            ModelFailedError,
        ),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else value.__name__,
)
def test_what_a_server_answers_has_a_type_and_the_next_request_works(
    load: Load,
    server: PictureServer,
    service: ServiceFolder,
    tmp_path: Path,
    fault: tuple[int, dict[str, str], bytes],
    kind: type[AdgenxError],
) -> None:
    model = load(service)
    server.faults.append(fault)
    with pytest.raises(kind) as caught:
        made(model, ASKED, Told(), tmp_path)
    assert type(caught.value) is kind
    assert caught.value.retry_after_seconds == (7.0 if kind is RateLimitedError else 0.0)
    assert len(server.bodies) == 1, "it asks once: the worker is who tries again"
    assert made(model, ASKED, Told(), tmp_path)


def test_a_picture_that_the_servers_filter_withholds_is_no_picture(
    load: Load, tmp_path: Path
) -> None:
    withheld = msgspec.structs.replace(ASKED, prompt=FILTERED)
    with pytest.raises(ProviderRefusedError, match="CONTENT_FILTERED"):
        made(load(NIM), withheld, Told(), tmp_path)


def test_a_cancel_while_it_waits_hangs_up(
    load: Load, server: PictureServer, service: ServiceFolder, tmp_path: Path
) -> None:
    model = load(service)
    server.holds = True

    class Patience(Told):
        def __call__(self, done: int, total: int, phase: str, preview: bytes | None = None) -> None:
            super().__call__(done, total, phase, preview)
            if server.bodies:
                raise JobCancelledError("the job was cancelled")

    with pytest.raises(JobCancelledError):
        made(model, ASKED, Patience(), tmp_path)
    assert server.hung_up.wait(30), "the server may stop"
    server.holds = False
    assert made(model, ASKED, Told(), tmp_path)


def test_a_server_that_never_answers_is_given_up(
    load: Load, server: PictureServer, service: ServiceFolder, tmp_path: Path
) -> None:
    server.holds = True
    with pytest.raises(ProviderTimeoutError):
        made(load(service, timeout=0.3), ASKED, Told(), tmp_path)


def test_nobody_listening_is_an_outage(
    load: Load, server: PictureServer, service: ServiceFolder, tmp_path: Path
) -> None:
    model = load(service)
    server.shutdown()
    server.server_close()
    with pytest.raises(ProviderUnavailableError):
        made(model, ASKED, Told(), tmp_path)


def test_a_server_that_is_not_ready_takes_no_job_and_says_why(
    server: PictureServer, service: ServiceFolder, tmp_path: Path
) -> None:
    environ = environment(service, server)
    assert endpoints.unready(service.manifest, environ, tmp_path) == ""
    server.ready = False
    why = endpoints.unready(service.manifest, environ, tmp_path)
    assert "503" in why
    assert endpoints.variable(service.manifest) in why


def test_what_it_cannot_look_at_is_refused_before_anything_is_asked(
    load: Load, server: PictureServer, service: ServiceFolder, tmp_path: Path
) -> None:
    told = Told()
    with pytest.raises(InvalidRequestError) as caught:
        made(load(service), msgspec.structs.replace(ASKED, references=[SHOWN]), told, tmp_path)
    assert caught.value.field == "references[0]"
    assert not told.words
    assert not server.bodies
