"""A model behind HTTP: how a request becomes a body, an answer media, and trouble a typed error."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from local_server import serving

from contracts.endpoint import EndpointSection
from contracts.errors import (
    AdgenxError,
    InvalidRequestError,
    JobCancelledError,
    ModelFailedError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    TooLargeError,
)
from contracts.manifest import Manifest, parse_manifest
from contracts.requests import GenerateImage
from inference import endpoint
from inference.endpoint import Endpoint, filled, picked, values_of

pytestmark = pytest.mark.integration

SERVICE = """
name = "paint"
version = "1.0.0"
tier = "production"
accepts = ["generate_image.v1"]

[model]
name = "Elsewhere"
licence = "MIT"
commercial_use = true

[endpoint]
url = "http://127.0.0.1:1"
path = "/v1/infer"
secret = "lab"
media = "artifacts.0.base64"
body = { prompt = "{prompt}", seed = "{seed}", sizes = ["{width}", "{height}"], note = "{width}x{height}" }

[resources]
memory_gb = 0.1
"""  # noqa: E501 - an inline table is one line
WORK = GenerateImage(prompt="a can", width=64, height=32, seed=5)
MADE = b"\x89PNG and so on"
ANSWER = json.dumps({"artifacts": [{"base64": base64.b64encode(MADE).decode()}]}).encode()

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Keeps what it was asked, and answers as the test says."""

    protocol_version = "HTTP/1.1"
    reply: Reply
    asked: list[tuple[str, dict[str, str], bytes]]

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked.append((self.path, dict(self.headers), body))
        type(self).reply(self)

    def send(self, status: int, body: bytes, *, said: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if said is None else said))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


class Server:
    """A model's server, and what it has been asked."""

    def __init__(self, handler: type[Handler], url: str) -> None:
        self.handler = handler
        self.url = url

    @property
    def asked(self) -> list[tuple[str, dict[str, str], bytes]]:
        return self.handler.asked

    def answers(self, reply: Reply) -> None:
        self.handler.reply = staticmethod(reply)  # type: ignore[assignment]  # a class keeps it as it is


@pytest.fixture
def server() -> Iterator[Server]:
    handler = type("Asked", (Handler,), {"asked": []})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as found:
        made = Server(handler, f"http://127.0.0.1:{found.server_port}")
        made.answers(lambda asked: asked.send(200, ANSWER))
        yield made


def manifest(**section: object) -> Manifest:
    found = parse_manifest(SERVICE, "paint")
    assert found.endpoint is not None
    return msgspec.structs.replace(
        found, endpoint=msgspec.structs.replace(found.endpoint, **section)
    )


class Told:
    """A report that remembers, and cancels when its event is set."""

    def __init__(self) -> None:
        self.words: list[tuple[int, int, str]] = []
        self.over = threading.Event()

    def __call__(self, done: int, total: int, phase: str, preview: bytes | None = None) -> None:
        assert preview is None
        self.words.append((done, total, phase))
        if self.over.is_set():
            raise JobCancelledError("the job was cancelled")


def client(server: Server, tmp_path: Path, **section: object) -> Endpoint:
    environ = {"ADGENX_PAINT_URL": f"{server.url}/", "ADGENX_SECRETS_DIR": str(tmp_path)}
    return Endpoint(manifest(**section), environ)


def test_a_request_becomes_the_body_that_the_manifest_says(server: Server, tmp_path: Path) -> None:
    told = Told()
    assert client(server, tmp_path).ask(values_of(WORK), told, done=2, total=7) == MADE
    ((path, headers, body),) = server.asked
    assert path == "/v1/infer"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert json.loads(body) == {"prompt": "a can", "seed": 5, "sizes": [64, 32], "note": "64x32"}
    assert set(told.words) == {(2, 7, "waiting")}


def test_the_key_is_sent_as_a_bearer_token(server: Server, tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("a-key\n")
    client(server, tmp_path).ask(values_of(WORK), Told())
    assert server.asked[0][1]["Authorization"] == "Bearer a-key"


def test_a_server_that_repeats_the_key_does_not_make_it_known(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "lab").write_text("a-key\n")
    server.answers(lambda asked: asked.send(401, b"unknown: a-key"))
    with pytest.raises(ProviderRefusedError, match="unknown: ") as caught:
        client(server, tmp_path).ask(values_of(WORK), Told())
    assert "a-key" not in caught.value.message


def test_an_answer_without_a_path_is_the_media_itself(server: Server, tmp_path: Path) -> None:
    server.answers(lambda asked: asked.send(200, MADE))
    assert client(server, tmp_path, media="").ask(values_of(WORK), Told()) == MADE


def test_media_may_be_a_data_uri(server: Server, tmp_path: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(MADE).decode()
    server.answers(lambda asked: asked.send(200, json.dumps({"image": uri}).encode()))
    assert client(server, tmp_path, media="image").ask(values_of(WORK), Told()) == MADE


def test_a_form_carries_files_with_their_names(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "in.wav"
    file.write_bytes(b"RIFFdata")
    body = {"text": "{prompt}", "audio": "{audio}", "mode": {"fast": True}}
    found = client(server, tmp_path, format="multipart", body=body)
    found.ask({**values_of(WORK), "audio": file}, Told())
    _, headers, sent = server.asked[0]
    assert headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert b'name="audio"; filename="in.wav"' in sent
    assert b"RIFFdata" in sent
    assert b'{"fast":true}' in sent
    assert b"a can" in sent


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimitedError),
        (503, ProviderUnavailableError),
        (422, ProviderRefusedError),
        (302, ProviderRefusedError),
    ],
)
def test_what_a_status_means(
    server: Server, tmp_path: Path, status: int, kind: type[AdgenxError]
) -> None:
    server.answers(lambda asked: asked.send(status, b"no", Retry_After="7", Location="http://x/"))
    with pytest.raises(kind) as caught:
        client(server, tmp_path).ask(values_of(WORK), Told())
    assert len(server.asked) == 1, "who tries again is the worker"
    if kind is RateLimitedError:
        assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize(
    "body",
    [b"no json", b"{}", b'{"artifacts": []}', b'{"artifacts": [{"base64": "%%"}]}', b"[1]"],
)
def test_an_answer_that_is_not_what_the_manifest_says_fails_the_job(
    server: Server, tmp_path: Path, body: bytes
) -> None:
    server.answers(lambda asked: asked.send(200, body))
    with pytest.raises(ModelFailedError):
        client(server, tmp_path).ask(values_of(WORK), Told())


def test_an_answer_that_breaks_off_may_come_whole_the_next_time(
    server: Server, tmp_path: Path
) -> None:
    server.answers(lambda asked: asked.send(200, ANSWER[:10], said=len(ANSWER)))
    with pytest.raises(ProviderUnavailableError):
        client(server, tmp_path).ask(values_of(WORK), Told())


def test_one_that_is_too_large_is_not_read_to_its_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "ANSWER_BYTES", 10)
    with pytest.raises(TooLargeError):
        client(server, tmp_path).ask(values_of(WORK), Told())


def test_nobody_at_the_address_is_an_outage(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environ = {"ADGENX_PAINT_URL": f"http://127.0.0.1:{free.getsockname()[1]}"}
        with pytest.raises(ProviderUnavailableError):
            Endpoint(manifest(), environ | {"HOME": str(tmp_path)}).ask(values_of(WORK), Told())


def test_a_cancel_while_waiting_closes_the_connection(server: Server, tmp_path: Path) -> None:
    told, gone = Told(), threading.Event()

    def work(asked: Handler) -> None:
        told.over.set()
        if asked.rfile.read(1) == b"":  # the other side has closed
            gone.set()
        asked.close_connection = True

    server.answers(work)
    with pytest.raises(JobCancelledError):
        client(server, tmp_path).ask(values_of(WORK), told)
    assert gone.wait(10), "the server works on for nobody"


def test_a_cancel_before_it_is_connected_asks_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, cut = Told(), threading.Event()
    told.over.set()
    connect, cutting = http.client.HTTPConnection.connect, endpoint._Line.cut

    def late(wire: http.client.HTTPConnection) -> None:
        assert cut.wait(10)
        connect(wire)

    def now(line: endpoint._Line) -> None:
        cutting(line)
        cut.set()

    monkeypatch.setattr(http.client.HTTPConnection, "connect", late)
    monkeypatch.setattr(endpoint._Line, "cut", now)
    with pytest.raises(JobCancelledError):
        client(server, tmp_path).ask(values_of(WORK), told)
    assert server.asked == []


def test_a_cancel_in_the_middle_of_a_last_answer_closes_the_connection(
    server: Server, tmp_path: Path
) -> None:
    told, gone = Told(), threading.Event()

    def work(asked: Handler) -> None:
        asked.send(200, ANSWER[:10], said=len(ANSWER), Connection="close")
        told.over.set()
        if asked.rfile.read(1) == b"":  # the other side has closed
            gone.set()

    server.answers(work)
    with pytest.raises(JobCancelledError):
        client(server, tmp_path).ask(values_of(WORK), told)
    assert gone.is_set() or gone.wait(10), "the server works on for nobody"


def test_a_server_that_never_answers_is_given_up(server: Server, tmp_path: Path) -> None:
    over = threading.Event()
    server.answers(lambda _asked: over.wait(20) and None)
    try:
        with pytest.raises(ProviderTimeoutError):
            client(server, tmp_path, timeout_seconds=0.3).ask(values_of(WORK), Told())
    finally:
        over.set()


def test_a_name_that_no_value_has_is_a_mistake_of_the_manifest() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        filled({"a": ["{nobody}"]}, {})
    assert caught.value.field == "endpoint.body"


def test_what_is_none_is_left_out_and_the_rest_keeps_its_type() -> None:
    template = {"a": "{a}", "b": "{b}", "c": [1, "{a}"], "d": True}
    assert filled(template, {"a": 1.5, "b": None}) == {"a": 1.5, "c": [1, 1.5], "d": True}


def test_a_path_goes_through_lists_and_tables() -> None:
    assert picked({"a": [{"b": 3}]}, "a.0.b") == 3
    assert EndpointSection(url="http://x").path == "/"
