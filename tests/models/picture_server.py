"""A picture server that speaks what containers speak: NVIDIA's NIM, and Stable Diffusion web UI's.

Its pictures are noise that follows from everything it was asked. What the documentation forbids it
refuses, with the answer of the web frameworks that both stand on.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import secrets
import select
import socket
import threading
from typing import Any

import numpy as np
from PIL import Image

NIM_SIZES = {
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184),
    (944, 1104), (1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752),
    (1456, 720), (1504, 688), (1568, 672),
}  # fmt: skip
NIM_FIELDS = {"prompt", "mode", "width", "height", "cfg_scale", "image", "samples", "seed", "steps"}
FILTERED = "a forbidden scene"
"""A prompt that the server's own filter withholds."""


class PictureServer(http.server.ThreadingHTTPServer):
    """Listens on a free port; its faults are set by the test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ready = True
        self.holds = False
        self.hung_up = threading.Event()
        self.faults: list[tuple[int, dict[str, str], bytes]] = []
        self.bodies: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an ACK
    server: PictureServer

    def log_message(self, *_what: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path not in {"/v1/health/ready", "/sdapi/v1/options"}:
            self._say(404, {"detail": "Not Found"})
        elif not self.server.ready:
            self._say(503, {"detail": "loading"})
        else:
            self._say(200, {"status": "ready"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if self.server.faults:
            status, headers, content = self.server.faults.pop(0)
            self._answer(status, content, headers)
        elif self.server.holds:
            self._hold()
        elif self.path == "/v1/infer":
            self._nim(body)
        elif self.path == "/sdapi/v1/txt2img":
            self._web_ui(body)
        else:
            self._say(404, {"detail": "Not Found"})

    def _nim(self, body: dict[str, Any]) -> None:
        size = (body.get("width", 1024), body.get("height", 1024))
        wrong = (
            [name for name in body if name not in NIM_FIELDS]
            or (["prompt"] if not 0 < len(body.get("prompt", "")) <= 10_000 else [])
            or (["width"] if size not in NIM_SIZES else [])
            or (["steps"] if not 1 <= body.get("steps", 4) <= 4 else [])
            or (["seed"] if not 0 <= body.get("seed", 0) < 2**32 else [])
        )
        if wrong:
            self._say(422, {"detail": [{"loc": ["body", wrong[0]], "type": "value_error"}]})
            return
        seed = body.get("seed", 0) or secrets.randbelow(2**32)
        withheld = body["prompt"] == FILTERED
        artifact = {
            "base64": picture(*size, body["prompt"], seed, kind="JPEG"),
            "finishReason": "CONTENT_FILTERED" if withheld else "SUCCESS",
            "seed": seed,
        }
        self._say(200, {"artifacts": [artifact]})

    def _web_ui(self, body: dict[str, Any]) -> None:
        for name in ("width", "height", "seed", "steps"):
            if not isinstance(body.get(name), int):
                self._say(422, {"detail": [{"loc": ["body", name], "type": "int_type"}]})
                return
        seed = body["seed"] if body["seed"] >= 0 else secrets.randbelow(2**32)
        said = body["prompt"] + "|" + body.get("negative_prompt", "")
        made = picture(body["width"], body["height"], said, seed, kind="PNG")
        self._say(200, {"images": [made], "parameters": body, "info": json.dumps({"seed": seed})})

    def _hold(self) -> None:
        """Work until whoever asked is gone."""
        while True:
            select.select([self.connection], [], [])
            if not self.connection.recv(1, socket.MSG_PEEK):
                self.server.hung_up.set()
                self.close_connection = True
                return

    def _say(self, status: int, answer: object) -> None:
        self._answer(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def picture(width: int, height: int, said: str, seed: int, *, kind: str) -> str:
    """Return a picture as base64: coarse noise that follows from what was said and the seed."""
    digest = hashlib.sha256(f"{said}\x00{seed}".encode()).digest()
    noise = np.random.default_rng(list(digest)).integers(0, 256, (16, 16, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(target, kind)
    return base64.b64encode(target.getvalue()).decode()
