"""A server that keeps to MiniMax's documented flow: orders, queries, files; their codes and limits.

It is as strict with bodies as their pages are, counts what it sells, and has its faults set by the
test. Its films are grey, from black to white in even steps: a test sees what became of them.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import itertools
import json
import threading
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from local_server import serving
from PIL import Image

from bus.worker.child import JobFiles
from inference.output import film

KEY = "sk-test-0123456789abcdef"
WIDTH, HEIGHT, FPS = 64, 36, 8
V1_SECONDS = {
    "MiniMax-Hailuo-2.3": {"768P": (6, 10), "1080P": (6,)},
    "MiniMax-Hailuo-02": {"512P": (6, 10), "768P": (6, 10), "1080P": (6,)},
}
V2_RATIOS = {"21:9", "16:9", "4:3", "1:1", "3:4", "9:16"}


@cache
def footage(seconds: int) -> bytes:
    """Return a film of so many seconds."""
    count = seconds * FPS
    grey = np.linspace(0, 255, count).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (count, HEIGHT, WIDTH, 3))
    with TemporaryDirectory() as folder:
        made = film(
            frames,
            FPS,
            size=(WIDTH, HEIGHT),
            fps=FPS,
            seconds=seconds,
            files=JobFiles({}, Path(folder)),
            facts={},
        )
        return made.path.read_bytes()


class RefusedCallError(Exception):
    """A call that is answered with one of their codes."""

    def __init__(self, code: int, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.code, self.message, self.after = code, message, after


class HailuoServer(http.server.ThreadingHTTPServer):
    """Listens on a free port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.sold: list[dict[str, Any]] = []
        """Bodies of the orders that were taken: each of them is paid."""
        self.asked = 0
        """Orders that came, whatever came of them."""
        self.queries: list[str] = []
        self.stages = ["Preparing", "Queueing", "Processing", "Success"]
        self.verdict: tuple[int, str] = (0, "success")
        """Code and message of a task that fails."""
        self.per_minute = 100
        self.order_faults: deque[str | RefusedCallError | tuple[int, bytes]] = deque()
        """`drop`: it is sold and nothing is answered; `hold`: it is sold, the answer waits."""
        self.query_faults: deque[RefusedCallError | tuple[int, bytes] | str] = deque()
        self.cuts = 0
        """Downloads that will break off half way."""
        self.downloads = 0
        self.sold_one = threading.Event()
        self.queried = threading.Event()
        self.release = threading.Event()
        self.callbacks: list[str] = []
        self._moments: deque[float] = deque()
        self._tasks: dict[str, Iterator[str]] = {}
        self._seconds: dict[str, int] = {}
        self._numbers = itertools.count(1001)
        self.lock = threading.Lock()

    def order(self, body: dict[str, Any], version: str) -> str:
        """Take an order and return its task."""
        with self.lock:
            now = time.monotonic()
            while self._moments and now - self._moments[0] > 60:
                self._moments.popleft()
            if len(self._moments) >= self.per_minute:
                raise RefusedCallError(1002, "rate limit", after=60 - (now - self._moments[0]))
            self._moments.append(now)
        _check(body, version)
        if body.get("callback_url"):
            self._challenge(body["callback_url"])
        with self.lock:
            task = str(next(self._numbers))
            self.sold.append(body)
            self._tasks[task] = iter(self.stages)
            self._seconds[task] = int(body.get("duration", 6))
        self.sold_one.set()
        return task

    def stage(self, task: str) -> str:
        """Return a task's next stage; its last one stays."""
        self.queries.append(task)
        if task not in self._tasks:
            raise RefusedCallError(2013, "no such task")
        self.queried.set()
        return next(self._tasks[task], self.stages[-1])

    def film(self, task: str) -> bytes:
        """Return a task's film."""
        return footage(self._seconds[task])

    def _challenge(self, url: str) -> None:
        told = json.dumps({"challenge": "c-42"}).encode()
        try:
            with urllib.request.urlopen(url, told, timeout=3) as answer:  # noqa: S310 - the test's own
                echoed = json.loads(answer.read())
        except (OSError, ValueError):
            echoed = None
        if echoed != {"challenge": "c-42"}:
            raise RefusedCallError(2013, "fail to check callback url")
        self.callbacks.append(url)


def _check(body: dict[str, Any], version: str) -> None:
    """Refuse a body as their pages say that they do."""
    if version == "v1":
        _check_v1(body)
    else:
        _check_v2(body)


def _check_v1(body: dict[str, Any]) -> None:
    if len(body.get("prompt", "")) > 2000:
        raise RefusedCallError(2013, "invalid params, prompt is too long")
    if body["model"] == "S2V-01":
        [subject] = body["subject_reference"]
        if subject["type"] != "character" or "duration" in body or "first_frame_image" in body:
            raise RefusedCallError(2013, "invalid params, subject_reference")
        _check_picture(subject["image"][0])
        return
    if body["duration"] not in V1_SECONDS[body["model"]].get(body["resolution"], ()):
        raise RefusedCallError(2013, "invalid params, duration or resolution")
    if "last_frame_image" in body:
        if body["model"] != "MiniMax-Hailuo-02" or "first_frame_image" not in body:
            raise RefusedCallError(2013, "invalid params, last_frame_image")
        _check_picture(body["last_frame_image"])
    if "first_frame_image" in body:
        _check_picture(body["first_frame_image"])
    elif not body["prompt"]:
        raise RefusedCallError(2013, "invalid params, empty prompt")


def _check_v2(body: dict[str, Any]) -> None:
    text, *pictures = body["content"]
    roles = [part["role"] for part in pictures]
    framed = {"first_frame", "last_frame"} & set(roles)
    if body["model"] != "MiniMax-H3" or body["duration"] not in range(5, 16):
        raise RefusedCallError(2013, "invalid params")
    if body["resolution"] not in {"768P", "2K"} or len(text["text"]) > 7000:
        raise RefusedCallError(2013, "invalid params")
    if framed and "reference_image" in roles:
        raise RefusedCallError(2013, "invalid params, frames and references exclude one another")
    if not framed and body.get("ratio") not in V2_RATIOS:
        raise RefusedCallError(2013, "invalid params, ratio")
    for part in pictures:
        _check_picture(part["image_url"]["url"])


def _check_picture(uri: str) -> None:
    head, _, text = uri.partition(",")
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
        width, height = picture.size
    if head != "data:image/jpeg;base64" or min(width, height) <= 300:
        raise RefusedCallError(2013, "invalid params, picture")
    if not 0.4 <= width / height <= 2.5:
        raise RefusedCallError(2013, "invalid params, aspect of the picture")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an ACK
    server: HailuoServer

    def log_message(self, *_what: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/health":
            self._json({})
        elif url.path.startswith("/film/"):
            self._film(url.path.rpartition("/")[2])
        else:
            self._guarded(lambda: self._asked(url.path, query), self.server.query_faults)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        version = self.path.split("/")[1]
        with self.server.lock:
            self.server.asked += 1
        self._guarded(lambda: self._ordered(body, version), self.server.order_faults)

    def _guarded(self, act: Any, faults: deque[Any]) -> None:  # noqa: ANN401 - whatever answers
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            sent = self.headers.get("Authorization", "")
            self._json(_resp(1004, f"login fail: {sent}"))
            return
        fault = faults.popleft() if faults else None
        try:
            if isinstance(fault, RefusedCallError):
                raise fault
            if isinstance(fault, tuple):
                self._answer(*fault)
                return
            answer = act()
            if fault == "hold":
                self.server.release.wait(30)
            if fault in ("drop", "hold"):
                self.close_connection = True
                return
            self._json(answer)
        except RefusedCallError as refusal:
            after = {"Retry-After": f"{refusal.after:.3f}"} if refusal.after else {}
            self._json(_resp(refusal.code, refusal.message), after)

    def _ordered(self, body: dict[str, Any], version: str) -> dict[str, Any]:
        return {"task_id": self.server.order(body, version), **_resp(0, "success")}

    def _asked(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        if path == "/v1/files/retrieve":
            link = f"{self.server.url}/film/{query['file_id'].removeprefix('f')}"
            return {"file": {"file_id": 1, "download_url": link}, **_resp(0, "success")}
        if path == "/v1/query/video_generation":
            return self._task_v1(query["task_id"])
        return self._task_v2(path.rpartition("/")[2])

    def _task_v1(self, task: str) -> dict[str, Any]:
        stage = self.server.stage(task)
        told: dict[str, Any] = {"task_id": task, "status": stage, "file_id": ""}
        if stage == "Success":
            told |= {"file_id": f"f{task}", "video_width": WIDTH, "video_height": HEIGHT}
        return told | _resp(*(self.server.verdict if stage == "Fail" else (0, "success")))

    def _task_v2(self, task: str) -> dict[str, Any]:
        stage = self.server.stage(task)
        names = {"Preparing": "queued", "Queueing": "queued", "Processing": "running"}
        names |= {"Success": "succeeded", "Fail": "failed"}
        told: dict[str, Any] = {"id": task, "status": names[stage]}
        if stage == "Success":
            told["content"] = {"url": f"{self.server.url}/film/{task}"}
        if stage == "Fail":
            code, message = self.server.verdict
            told["error"] = {"code": str(code), "message": message}
        return {"task": told}

    def _film(self, task: str) -> None:
        assert "Authorization" not in self.headers, "the key went to a stranger"
        body = self.server.film(task)
        self.server.downloads += 1
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _json(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._answer(200, json.dumps(body).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _resp(code: int, message: str) -> dict[str, Any]:
    return {"base_resp": {"status_code": code, "status_msg": message}}


@contextlib.contextmanager
def hailuo_server() -> Iterator[HailuoServer]:
    with serving(HailuoServer()) as server:
        try:
            yield server
        finally:
            server.release.set()
