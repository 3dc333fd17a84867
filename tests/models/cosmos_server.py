"""NVIDIA's container for Cosmos3 as its documentation describes it, with a drawn film for a model.

It refuses what the real one refuses: unknown fields, sizes, lengths and rates that it does not
have. It answers in VP9, as the real one may.
"""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
from fractions import Fraction
from typing import Any, Self

import av
import numpy as np

FIELDS = {
    "prompt",
    "negative_prompt",
    "image",
    "seed",
    "guidance_scale",
    "steps",
    "resolution",
    "num_output_frames",
    "fps",
}
CAPS = {"256": 397, "480": 297, "720": 197}
ASPECTS = {"": 16 / 9, "16_9": 16 / 9, "4_3": 4 / 3, "1_1": 1.0, "3_4": 3 / 4, "9_16": 9 / 16}
SHRUNK = 16
"""The drawn film is smaller than the real one by so much."""


def refusal(body: dict[str, Any]) -> str:
    """Return what the server has against a request, "" if nothing."""
    unknown = body.keys() - FIELDS
    tier, _, aspect = str(body.get("resolution", "720")).partition("_")
    frames = body.get("num_output_frames", 189)
    checks = {
        f"unknown field {sorted(unknown)}": not unknown,
        "prompt": "image" in body or bool(str(body.get("prompt", "")).strip()),
        "prompt is too long": len(body.get("prompt", "")) <= 20_000,
        "resolution": tier in CAPS and aspect in ASPECTS,
        "num_output_frames": frames >= 25 and frames % 4 == 1 and frames <= CAPS.get(tier, 0),
        "fps": 1 <= body.get("fps", 24.0) <= 60,
        "steps": 1 <= body.get("steps", 35) <= 100,
        "guidance_scale": 1 <= body.get("guidance_scale", 6.0) <= 7,
    }
    return next((what for what, fine in checks.items() if not fine), "")


def film(body: dict[str, Any]) -> bytes:
    """Return a film of the length and aspect asked for, whose colour is the seed's."""
    tier, _, aspect = body["resolution"].partition("_")
    ratio = ASPECTS[aspect]
    shorter = int(tier) // SHRUNK // 2 * 2
    longer = round(shorter * max(ratio, 1 / ratio)) // 2 * 2
    width, height = (longer, shorter) if ratio >= 1 else (shorter, longer)
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libvpx-vp9", rate=Fraction(body["fps"]))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for number in range(body["num_output_frames"]):
            shown = np.full((height, width, 3), (body["seed"] * 40) % 256, np.uint8)
            shown[:, : number % width] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown)))
        container.mux(stream.encode())
    return target.getvalue()


class CosmosServer:
    """Listens on a free port. A context manager; its faults are set by the test."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.status = 0
        self.says = ""
        self.asked = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and body for one request."""
        self.bodies.append(body)
        self.asked.set()
        self.go.wait(30)
        if self.status:
            return self.status, {"detail": self.says}
        wrong = refusal(body)
        if wrong:
            return 422, {"detail": wrong}
        return 200, {"b64_video": base64.b64encode(film(body)).decode(), "seed": body["seed"]}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                ready = self.path == "/v1/health/ready"
                self._send(200 if ready else 404, {"status": "ready" if ready else "unknown"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/infer":
                    self._send(404, {})
                    return
                self._send(*server.answer(body))

            def _send(self, status: int, body: dict[str, Any]) -> None:
                text = json.dumps(body).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # nobody wants the answer any more

        return Handler
