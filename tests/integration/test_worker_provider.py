"""A model that calls an API, through the real worker: what is asked again, and how often."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from worker_rig import Rig, working

from bus.worker.folder import open_folder
from contracts import pricing
from contracts.jobs import Run, RunState
from contracts.requests import GenerateImage

pytestmark = pytest.mark.integration

SERVICE = open_folder(Path(__file__).parent / "services" / "http_provider")
ATTEMPTS = SERVICE.manifest.resources.max_attempts
NEVER = "1000000000"
RETRY_AFTER = ("", "0", "soon", "-1", NEVER, formatdate(0, usegmt=True))
"""What a provider may say of later; for the fifth nobody waits."""
EVERY_HEADER = (400, 408, 425, 429, 500, 503)


class Provider(ThreadingHTTPServer):
    """Answers `/<status>[-<status>…]/<number of its Retry-After>`, one status for each time it is
    asked; `drop` breaks off and `hang` keeps silent. `asked` counts by path.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.connections = 0
        self.over = threading.Event()
        self._lock = threading.Lock()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def count(self, path: str) -> int:
        with self._lock:
            self.asked[path] += 1
            return self.asked[path]

    def count_connection(self) -> None:
        with self._lock:
            self.connections += 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def setup(self) -> None:
        super().setup()
        self.server.count_connection()

    def do_POST(self) -> None:
        _, statuses, header = self.path.split("/")
        script = statuses.split("-")
        status = script[min(self.server.count(self.path), len(script)) - 1]
        if status == "hang":
            self.server.over.wait(10)
        if not status.isdecimal():
            self.close_connection = True
            return
        body = f"answer {status}".encode()
        self.send_response_only(int(status))
        if RETRY_AFTER[int(header)]:
            self.send_header("Retry-After", RETRY_AFTER[int(header)])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.service = SERVICE.name
    return rig


def request(url: str) -> GenerateImage:
    return GenerateImage(prompt=url, width=1000, height=500, seed=1)


async def ended(rig: Rig, urls: dict[str, str], deadline_at: float = 0.0) -> dict[str, Run]:
    """Ask for everything at once, and return each run once it is over."""
    async with working(rig.settings, SERVICE):
        names = {path: f"r{n}" for n, path in enumerate(urls)}
        jobs = {
            path: await rig.ask(request(url), names[path], deadline_at=deadline_at)
            for path, url in urls.items()
        }
        return {path: await rig.ended(job) for path, job in jobs.items()}


def code_of(run: Run) -> str:
    return run.error.code if run.error else ""


@pytest.mark.timeout(120)
async def test_of_400_to_599_only_429_and_5xx_are_asked_again_and_never_too_often(
    rig: Rig, provider: Provider
) -> None:
    paths = [f"/{status}/{status % len(RETRY_AFTER)}" for status in range(400, 600)]
    paths += [
        f"/{status}/{header}" for status in EVERY_HEADER for header in range(len(RETRY_AFTER))
    ]
    runs = await ended(rig, {path: provider.url(path) for path in paths})
    for path, run in runs.items():
        status, header = map(int, path.strip("/").split("/"))
        transient = status == 429 or status >= 500
        never = RETRY_AFTER[header] == NEVER
        tries = ATTEMPTS if transient and not never else 1
        assert (provider.asked[path], run.attempt) == (tries, tries), path
        assert len(run.failures) == tries - 1
        assert run.state is RunState.FAILED
        expected = "PROVIDER_UNAVAILABLE" if transient else "PROVIDER_REFUSED"
        assert code_of(run) == ("RATE_LIMITED" if status == 429 else expected)
        assert run.error is not None
        assert run.error.retryable is transient
        assert run.error.retry_after_seconds == (float(NEVER) if never and transient else 0.0)
        assert f"answer {status}" in run.error.message
    asked = sum(provider.asked.values())
    assert asked == sum(run.attempt for run in runs.values())
    assert provider.connections <= asked, "no connection without a question"


async def test_a_provider_that_recovers_costs_one_more_call(rig: Rig, provider: Provider) -> None:
    paths = ["/503-200/0", "/429-200/1", "/drop-200/0", "/hang-200/0"]
    runs = await ended(rig, {path: provider.url(path) for path in paths})
    for path, run in runs.items():
        assert (run.state, run.attempt, provider.asked[path]) == (RunState.OK, 2, 2)
        assert await rig.artifacts.read(run.outputs[0].key) == b"answer 200"
        assert run.cost == pricing.charge(SERVICE.manifest, request(""), 0.0) == 1.5
    told = {path: run.failures[0].code for path, run in runs.items()}
    assert told == {
        "/503-200/0": "PROVIDER_UNAVAILABLE",
        "/429-200/1": "RATE_LIMITED",
        "/drop-200/0": "PROVIDER_UNAVAILABLE",
        "/hang-200/0": "PROVIDER_TIMEOUT",
    }


async def test_a_redirect_is_not_followed(rig: Rig, provider: Provider) -> None:
    runs = await ended(rig, {"/302/0": provider.url("/302/0")})
    assert code_of(runs["/302/0"]) == "PROVIDER_REFUSED"
    assert provider.asked == {"/302/0": 1}


async def test_nobody_listens_is_an_outage(rig: Rig, provider: Provider) -> None:
    provider.server_close()
    runs = await ended(rig, {"away": provider.url("/200/0")})
    assert (code_of(runs["away"]), runs["away"].attempt) == ("PROVIDER_UNAVAILABLE", ATTEMPTS)


async def test_a_deadline_that_comes_first_ends_it_with_the_providers_own_error(
    rig: Rig, provider: Provider
) -> None:
    deadline_at = time.time() + 60
    runs = await ended(rig, {"/503/4": provider.url("/503/4")}, deadline_at)
    assert provider.asked["/503/4"] == 1
    assert code_of(runs["/503/4"]) == "PROVIDER_UNAVAILABLE"
