"""Hailuo over API v1 and v2: every job is bought exactly once, whatever breaks in between."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import io
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hailuo_server import KEY, HailuoServer, RefusedCallError, hailuo_server
from model_suite import ModelSuite, Runner
from PIL import Image

from bus.worker import process
from bus.worker.child import JobFiles
from bus.worker.folder import SERVICES, ServiceFolder, open_folder
from bus.worker.frames import Keep
from bus.worker.model import Media
from contracts.artifacts import ArtifactRef
from contracts.errors import (
    AdgenxError,
    ChargeUnknownError,
    ChildLostError,
    ContentRefusedError,
    InvalidInputError,
    InvalidRequestError,
    JobCancelledError,
    ProviderRefusedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from contracts.manifest import Manifest
from contracts.requests import ArtDirection, GenerateVideo, Subject
from media import decode
from services.hailuo import codes
from services.hailuo.callback import answer_challenge
from services.hailuo.footage import Footage
from services.hailuo.model import Model

pytestmark = pytest.mark.contract

FOLDER = SERVICES / "hailuo"
NAMES = ["hailuo", "hailuo_h3"]
Fault = str | RefusedCallError | tuple[int, bytes]
REQUEST = GenerateVideo(prompt="a can in the rain", width=96, height=54, seconds=2, fps=12)


def png(width: int, height: int, grey: int = 90) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


PICTURES = {
    name: png(*size)
    for name, size in {"wide": (640, 360), "tall": (360, 640), "small": (100, 100)}.items()
} | {"strip": png(900, 100), "junk": b"no picture"}


def ref(name: str) -> ArtifactRef:
    sha256 = hashlib.sha256(PICTURES[name]).hexdigest()
    size = len(PICTURES[name])
    return ArtifactRef(key=f"t/{sha256}", sha256=sha256, media_type="image/png", size_bytes=size)


@pytest.fixture
def server() -> Iterator[HailuoServer]:
    with hailuo_server() as running:
        yield running


@pytest.fixture
def account(
    server: HailuoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """An operator's settings: where the API is, its key, and no patience."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "minimax").write_text(f"{KEY}\n")
    monkeypatch.setenv("ADGENX_SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.setenv("ADGENX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("ADGENX_SPOOL_DIR", raising=False)
    for name in NAMES:
        prefix = f"ADGENX_{name.upper()}"
        monkeypatch.setenv(f"{prefix}_URL", server.url)
        monkeypatch.setenv(f"{prefix}_POLL_SECONDS", "0.01")
        monkeypatch.setenv(f"{prefix}_REQUESTS_PER_MINUTE", "1000")
    return monkeypatch


class Job:
    """One job, run in this process as often as one likes: its notes stay, as the worker's do."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model = model
        self.notes: dict[str, str] = {}
        self._folder = folder

    def run(self, request: GenerateVideo = REQUEST, until: str = "") -> list[Media]:
        """Run once; it is cancelled when it comes to the phase `until`."""
        scratch = self._folder / secrets.token_hex(4)
        scratch.mkdir()
        inputs = {}
        for name, body in PICTURES.items():
            (scratch / name).write_bytes(body)
            inputs[ref(name).sha256] = str(scratch / name)

        def keep(note: Keep) -> str:
            if note.body:
                return self.notes.setdefault(note.name, note.body)
            return self.notes.get(note.name, "")

        def report(done: int, total: int, phase: str, preview: bytes | None = None) -> None:
            assert (done <= total, preview) == (True, None)
            if phase == until:
                raise JobCancelledError("the job was cancelled")

        return list(self.model.run(request, report, JobFiles(inputs, scratch, keep)))


def loaded(manifest: Manifest) -> Model:
    model = Model(manifest)
    model.load()
    return model


@pytest.fixture(params=NAMES)
def job(request: pytest.FixtureRequest, account: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    assert account
    return Job(loaded(open_folder(FOLDER, request.param).manifest), tmp_path)


@pytest.fixture
def v1(account: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    assert account
    return Job(loaded(open_folder(FOLDER).manifest), tmp_path)


@pytest.fixture
def v2(account: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    assert account
    return Job(loaded(open_folder(FOLDER, "hailuo_h3").manifest), tmp_path)


def greys(media: Media) -> list[float]:
    """Return how light each picture of a film is, 0 to 1."""
    return [(float(p.y.mean()) - 16) / 219 for p in decode.frames(media.path)]


# --- through the worker's pipe, where the process can be killed


class TestV1(ModelSuite):
    """The suite, and what only a process of its own can show."""

    @pytest.fixture
    def service(self, account: pytest.MonkeyPatch) -> ServiceFolder:
        assert account
        return open_folder(FOLDER)

    async def test_killed_after_the_order_it_goes_on_with_the_same_task(
        self, runner: Runner, service: ServiceFolder, server: HailuoServer, tmp_path: Path
    ) -> None:
        server.stages = ["Processing"]  # for as long as it takes
        work = asyncio.create_task(runner.run(REQUEST))
        assert await asyncio.to_thread(server.queried.wait, 30)
        runner.model.kill()
        with pytest.raises(ChildLostError):
            await work
        server.stages = ["Success"]
        model = await process.start(service)
        after = Runner(model, tmp_path)
        after.notes = runner.notes
        [film] = await after.run(REQUEST, again=True)
        await model.end()
        assert (server.asked, len(server.sold), set(server.queries)) == (1, 1, {"1001"})
        assert film.metadata["task"] == "1001"

    async def test_killed_before_the_answer_it_never_orders_again(
        self, runner: Runner, service: ServiceFolder, server: HailuoServer, tmp_path: Path
    ) -> None:
        server.order_faults.append("hold")
        work = asyncio.create_task(runner.run(REQUEST))
        assert await asyncio.to_thread(server.sold_one.wait, 30)
        runner.model.kill()
        with pytest.raises(ChildLostError):
            await work
        model = await process.start(service)
        after = Runner(model, tmp_path)
        after.notes = runner.notes
        with pytest.raises(ChargeUnknownError, match="not known") as caught:
            await after.run(REQUEST, again=True)
        await model.end()
        assert not caught.value.retryable
        assert server.asked == 1

    async def test_cancelled_while_it_waits_it_ends_at_once_and_serves_the_next(
        self, runner: Runner, server: HailuoServer
    ) -> None:
        server.stages = ["Processing"]
        work = asyncio.create_task(runner.run(REQUEST))
        assert await asyncio.to_thread(server.queried.wait, 30)
        runner.model.cancel()
        with pytest.raises(JobCancelledError):
            await work
        assert runner.model.usable, "it had to be killed"
        server.stages = ["Success"]
        assert await runner.run(REQUEST)


class TestV2(ModelSuite):
    """The suite over API v2; what is bought once is shown below for both."""

    @pytest.fixture
    def service(self, account: pytest.MonkeyPatch) -> ServiceFolder:
        assert account
        return open_folder(FOLDER, "hailuo_h3")


# --- bought once


def test_a_job_is_one_order(job: Job, server: HailuoServer) -> None:
    [film] = job.run()
    assert (film.width, film.height, film.seconds, film.fps) == (96, 54, 2.0, 12.0)
    assert film.metadata["made_size"] == "64x36"
    assert server.asked == len(server.sold) == 1
    assert server.downloads == 1


@pytest.mark.parametrize(
    "fault",
    [
        "drop",
        (502, b"<html>bad gateway</html>"),
        (500, b'{"base_resp":{"status_code":0}}'),
        (200, b"not json"),
        (200, b'{"base_resp":{"status_code":0,"status_msg":"success"}}'),
        RefusedCallError(codes.TIMEOUT, "timeout"),
    ],
    ids=str,
)
def test_an_order_whose_fate_is_not_known_is_never_repeated(
    job: Job, server: HailuoServer, fault: Fault
) -> None:
    server.order_faults.append(fault)
    for _ in range(2):
        with pytest.raises(ChargeUnknownError) as caught:
            job.run()
        assert not caught.value.info().retryable
    assert server.asked == 1
    assert list(job.notes) == ["order1"]


def test_an_order_that_was_refused_for_now_is_made_by_the_next_attempt(
    job: Job, server: HailuoServer
) -> None:
    server.order_faults.append(RefusedCallError(1002, "rate limit", after=7.0))
    with pytest.raises(RateLimitedError) as caught:
        job.run()
    assert caught.value.retry_after_seconds == pytest.approx(7)
    server.order_faults.append((429, b"slow down"))
    with pytest.raises(RateLimitedError):
        job.run()
    assert job.run()
    assert len(server.sold) == 1
    assert sorted(job.notes) == ["order1", "order2", "order3", "task3", "void1", "void2"]


def test_an_order_that_was_never_sent_is_made_by_the_next_attempt(
    account: pytest.MonkeyPatch, server: HailuoServer, tmp_path: Path
) -> None:
    manifest = open_folder(FOLDER).manifest
    account.setenv("ADGENX_HAILUO_URL", "http://127.0.0.1:1")
    job = Job(loaded(manifest), tmp_path)
    with pytest.raises(ProviderUnavailableError):
        job.run()
    account.setenv("ADGENX_HAILUO_URL", server.url)
    job.model = loaded(manifest)
    assert job.run()
    assert server.asked == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, ProviderUnavailableError),
        (1002, RateLimitedError),
        (1004, ProviderRefusedError),
        (1008, ProviderRefusedError),
        (1024, ProviderUnavailableError),
        (1026, ContentRefusedError),
        (1027, ContentRefusedError),
        (1033, ProviderUnavailableError),
        (1042, InvalidRequestError),
        (2013, InvalidRequestError),
        (2038, ProviderRefusedError),
        (2049, ProviderRefusedError),
        (9999, ProviderRefusedError),
    ],
)
def test_their_codes_have_a_meaning_although_the_answer_is_200(
    v1: Job, server: HailuoServer, code: int, kind: type[AdgenxError]
) -> None:
    server.order_faults.append(RefusedCallError(code, "as injected"))
    with pytest.raises(kind, match="as injected") as caught:
        v1.run()
    assert type(caught.value) is kind
    assert caught.value.info().retryable is (code in {1000, 1002, 1024, 1033})
    assert not server.sold


def test_queries_that_fail_for_a_while_cost_nothing(job: Job, server: HailuoServer) -> None:
    server.query_faults.extend(
        [(503, b"busy"), RefusedCallError(1002, "rate"), (200, b"nonsense"), "drop"]
    )
    assert job.run()
    assert len(server.sold) == 1


def test_queries_that_fail_for_long_give_the_job_back_and_not_up(
    job: Job, server: HailuoServer
) -> None:
    server.query_faults.extend([(500, b"broken")] * 6)
    with pytest.raises(ProviderUnavailableError) as caught:
        job.run()
    assert caught.value.info().retryable
    assert job.run()
    assert len(server.sold) == 1


def test_a_task_that_takes_too_long_is_waited_for_by_the_next_attempt(
    job: Job, server: HailuoServer
) -> None:
    server.stages = ["Processing"]
    patient, tuning = job.model, job.model._tuning
    job.model._tuning = msgspec.structs.replace(tuning, task_seconds=0.05)
    with pytest.raises(ProviderTimeoutError) as caught:
        job.run()
    assert caught.value.info().retryable
    server.stages = ["Success"]
    patient._tuning = tuning
    assert job.run()
    assert len(server.sold) == 1


def test_a_download_that_breaks_off_is_fetched_anew(
    job: Job, server: HailuoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.download.PAUSE_SECONDS", 0.0)
    server.cuts = 2
    assert job.run()
    assert (len(server.sold), server.downloads) == (1, 3)


def test_a_download_that_never_comes_through_is_left_to_the_next_attempt(
    job: Job, server: HailuoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.download.PAUSE_SECONDS", 0.0)
    server.cuts = 4
    with pytest.raises(ProviderUnavailableError, match="IncompleteRead"):
        job.run()
    assert job.run()
    assert (len(server.sold), server.downloads) == (1, 5)


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        ((1027, "output sensitive"), ContentRefusedError),
        ((1024, "internal"), ProviderRefusedError),
        ((0, ""), ProviderRefusedError),
    ],
)
def test_a_task_that_failed_stays_failed(
    job: Job, server: HailuoServer, verdict: tuple[int, str], kind: type[AdgenxError]
) -> None:
    server.stages, server.verdict = ["Processing", "Fail"], verdict
    for _ in range(2):
        with pytest.raises(kind) as caught:
            job.run()
        assert not caught.value.info().retryable
    assert len(server.sold) == 1


@pytest.mark.parametrize("phase", ["order", "provider", "download", "encode"])
def test_cancelled_anywhere_and_taken_up_again_it_is_one_order(
    job: Job, server: HailuoServer, phase: str
) -> None:
    with pytest.raises(JobCancelledError):
        job.run(until=phase)
    assert job.run()
    assert len(server.sold) == 1


# --- who pays, and what is shown to whom


def test_the_key_is_in_no_error(
    account: pytest.MonkeyPatch, tmp_path: Path, server: HailuoServer
) -> None:
    wrong = "sk-wrong-9876543210fedcba"
    (tmp_path / "secrets" / "minimax").write_text(wrong)
    assert account
    with pytest.raises(ProviderRefusedError, match="1004") as caught:
        Job(loaded(open_folder(FOLDER).manifest), tmp_path).run()
    assert wrong not in caught.value.message
    assert not server.sold


def test_without_a_key_nothing_is_loaded(account: pytest.MonkeyPatch, tmp_path: Path) -> None:
    account.setenv("ADGENX_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ProviderRefusedError, match="no key"):
        loaded(open_folder(FOLDER).manifest)


# --- what is ordered


def test_a_first_frame_is_sent_in_the_films_own_aspect(v1: Job, server: HailuoServer) -> None:
    v1.run(msgspec.structs.replace(REQUEST, first_frame=ref("tall")))
    [body] = server.sold
    assert (body["model"], body["duration"], body["resolution"]) == (
        "MiniMax-Hailuo-2.3",
        6,
        "768P",
    )
    assert body["first_frame_image"].startswith("data:image/jpeg;base64,")


def test_a_first_and_a_last_frame_bind_the_whole_film(v1: Job, server: HailuoServer) -> None:
    request = msgspec.structs.replace(REQUEST, first_frame=ref("wide"), last_frame=ref("tall"))
    [film] = v1.run(request)
    assert server.sold[0]["model"] == "MiniMax-Hailuo-02"
    assert (greys(film)[0] < 0.1, greys(film)[-1] > 0.9) == (True, True)
    assert float(film.metadata["tempo"]) == pytest.approx(3.0)


def test_without_a_last_frame_the_film_is_cut_where_it_is_long_enough(v1: Job) -> None:
    [film] = v1.run()
    light = greys(film)
    assert len(light) == 24
    assert light[-1] == pytest.approx(2 / 6, abs=0.03)


def test_a_portrait_goes_to_the_model_that_keeps_it(v1: Job, server: HailuoServer) -> None:
    v1.run(msgspec.structs.replace(REQUEST, references=[ref("small")]))
    [body] = server.sold
    assert body["model"] == "S2V-01"
    assert body["subject_reference"][0]["type"] == "character"


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({}, ["text"]),
        ({"first_frame": ref("wide")}, ["text", "first_frame"]),
        ({"last_frame": ref("wide")}, ["text", "last_frame"]),
        (
            {"first_frame": ref("wide"), "last_frame": ref("tall")},
            ["text", "first_frame", "last_frame"],
        ),
        (
            {"references": [ref("wide"), ref("tall")]},
            ["text", "reference_image", "reference_image"],
        ),
        (
            {"art": ArtDirection(subject=Subject(picture=ref("wide")))},
            ["text", "reference_image"],
        ),
    ],
)
def test_v2_lists_its_contents_by_role(
    v2: Job, server: HailuoServer, changes: dict[str, Any], roles: list[str]
) -> None:
    v2.run(msgspec.structs.replace(REQUEST, width=54, height=96, **changes))
    [body] = server.sold
    assert [part.get("role", part["type"]) for part in body["content"]] == roles
    framed = "first_frame" in roles or "last_frame" in roles
    assert body.get("ratio") == (None if framed else "9:16")
    assert (body["duration"], body["resolution"]) == (5, "2K")


def test_what_was_rounded_or_left_out_is_told(v1: Job, server: HailuoServer) -> None:
    request = msgspec.structs.replace(
        REQUEST,
        width=54,
        height=96,
        seconds=6.5,
        prompt="rain\u200b " * 300,
        negative_prompt="people, " * 100,
        art=ArtDirection(mood="calm", subject=Subject(picture=ref("wide"))),
    )
    [film] = v1.run(request)
    [body] = server.sold
    assert "\u200b" not in body["prompt"]
    assert film.metadata["made_seconds"] == str(body["duration"]) == "10"
    assert film.metadata["cropped_from"] == "16:9"
    assert film.metadata["left_out"] == "art.subject.picture"
    assert film.metadata["left_out_of_prompt"] == "art, negative_prompt"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seconds": 10.5}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"width": 97}, "width"),
        ({"prompt": "x" * 2001}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"last_frame": ref("wide")}, "last_frame"),
        ({"references": [ref("wide"), ref("tall")]}, "references"),
        ({"references": [ref("wide")], "first_frame": ref("tall")}, "references"),
        ({"references": [ref("wide")], "seconds": 7.0}, "seconds"),
        ({"references": [ref("strip")]}, "references[0]"),
        ({"references": [ref("junk")]}, "references[0]"),
        ({"first_frame": ref("junk")}, "first_frame"),
        ({"first_frame": ref("wide"), "width": 300}, "width"),
        ({"continue_from": ref("wide")}, "continue_from"),
        ({"art": ArtDirection(subject=Subject(picture=ref("junk")))}, "art.subject.picture"),
    ],
)
def test_what_it_cannot_make_is_refused_before_anything_is_bought(
    v1: Job, server: HailuoServer, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        v1.run(msgspec.structs.replace(REQUEST, **changes))
    assert caught.value.field == field
    assert (server.asked, v1.notes) == (0, {})


# --- the callback's other end


class _Receiver(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_what: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = answer_challenge(body) or b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def test_a_receiver_that_answers_the_challenge_is_accepted(
    account: pytest.MonkeyPatch, server: HailuoServer, tmp_path: Path
) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Receiver) as receiver:
        thread = threading.Thread(target=receiver.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{receiver.server_address[1]}/hailuo"
        account.setenv("ADGENX_HAILUO_CALLBACK_URL", url)
        assert Job(loaded(open_folder(FOLDER).manifest), tmp_path).run()
        thread.join()
    assert server.callbacks == [url]


# --- the film on the disk


def test_footage_is_read_forwards_and_from_the_start_again(v1: Job) -> None:
    [film] = v1.run()
    footage = Footage(film.path)
    light = [float(footage[n].mean()) for n in (0, 5, 5, 23, 3)]
    assert len(footage) == 24
    assert light[0] < light[4] < light[1] == light[2] < light[3]
    assert footage[0].shape == (54, 96, 3)
    with pytest.raises(IndexError):
        footage[24]
    assert np.array_equal(footage[3], Footage(film.path)[3])
