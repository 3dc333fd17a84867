"""A server of the shape of NVIDIA's /v1/infer that answers with real WAVE files, and can fail."""

from __future__ import annotations

import base64
import json
import tempfile
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from media.wav import Depth, write_wav

RATE = 44_100
FIELDS = {"prompt", "negative_prompt", "seconds_total", "seed", "steps", "cfg_scale"}


class AudioServer(ThreadingHTTPServer):
    """Listens on a free port. `fails` are the next answers: a status, and what is said.

    `hangs` keeps the next answer back until whoever asked has hung up.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fails: deque[tuple[int, bytes]] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.short = 1.0
        """The share of the asked length that is made."""
        self.hangs = False
        self.asked = threading.Event()
        self.hung_up = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AudioServer

    def log_message(self, *_what: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/v1/health/ready" else 404, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.keys.append(self.headers["Authorization"])
        self.server.asked.set()
        if self.path != "/v1/infer" or set(body) != FIELDS:
            self._answer(422, json.dumps({"detail": "unknown field"}).encode())
        elif self.server.fails:
            self._answer(*self.server.fails.popleft())
        elif self.server.hangs:
            self.connection.settimeout(30)
            if not self.connection.recv(1):
                self.server.hung_up.set()
        else:
            made = base64.b64encode(_music(body, self.server.short)).decode()
            answer = {"artifacts": [{"base64": made, "finishReason": "SUCCESS"}]}
            self._answer(200, json.dumps(answer).encode())

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", "3")
        self.end_headers()
        self.wfile.write(content)


def _music(body: dict[str, Any], share: float) -> bytes:
    """Noise of the seed over a tone, as 16 bit stereo."""
    count = round(body["seconds_total"] * share * RATE)
    drawn = np.random.default_rng(body["seed"]).normal(0, 0.1, (count, 2))
    tone = 0.2 * np.sin(2 * np.pi * 220 * np.arange(count) / RATE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "music.wav")
        write_wav(path, np.asarray(drawn + tone[:, None], np.float32), depth=Depth.PCM16, rate=RATE)
        return path.read_bytes()
