"""A server that speaks OpenAI's chat completions as llama-server and vLLM do, and can misbehave.

It writes an answer of the asked shape: from `response_format` where it honours one, else from the
outline in the prompt, as a model would. What it shall do wrong is queued in `faults`, one for each
question. Everything that it was asked is in `questions`.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local_server import serving

FIRST = ("Cold", "Clear", "Late", "Early", "Bright", "Soft", "Slow", "Loud", "Warm", "Sharp")
SECOND = ("glass", "street", "table", "sun", "hand", "noon", "lemon", "door")
MODEL = "moonshotai/Kimi-Linear-48B-A3B-Instruct"
_ONE_OF = re.compile(r"<one of: ([^|>]+?)(?: \|[^>]*)?>")
_PIECE = 7
_INSTEAD = {
    "long": ("Cold glass.", "Cold glass. " * 40),
    "banned": ("Cold glass.", "Game-changing."),
    "figure": ("Late glass.", "Save 99 now."),
    "claim": ("Late glass.", "The best one."),
    "markup": ("Late glass.", "<b>Late</b>"),
    "copied": ("Late glass.", "<at most 34 characters>"),
    "foreign": ("Late glass.", "\u6e05\u723d"),
}
"""What a model may write in a line's place."""
Json = dict[str, Any] | list[Any] | str


class KimiServer(ThreadingHTTPServer):
    """The server; one model, whose `window` it tells if it is not 0."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: deque[str] = deque()
        self.questions: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.refuses: set[str] = set()
        self.models: list[dict[str, Any]] = [{"id": "other"}, {"id": MODEL}]
        self.hung_up = threading.Event()
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ways(self) -> list[str]:
        """How each question wanted its answer held to the schema."""
        return [q.get("response_format", {}).get("type", "prompt") for q in self.questions]


@contextmanager
def kimi_server() -> Iterator[KimiServer]:
    """Run a server for the block."""
    with serving(KimiServer()) as server:
        yield server


def written(question: dict[str, Any]) -> Json:
    """Return an answer in the asked shape: short lines, no two alike."""
    lines = (f"{a} {b}." for b, a in itertools.product(SECOND, FIRST))
    shape = question.get("response_format", {}).get("json_schema")
    if shape is not None:
        return _by_schema(shape["schema"], lines)
    asked = next(m["content"] for m in question["messages"] if m["role"] == "user")
    return _by_outline(json.loads(asked.splitlines()[-1]), lines)


def _by_schema(schema: dict[str, Any], lines: Iterator[str], name: str = "") -> Json:
    if schema["type"] == "object":
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
        return {n: _by_schema(s, lines, n) for n, s in schema["properties"].items()}
    if schema["type"] == "array":
        return [_by_schema(schema["items"], lines, name)]
    return schema["enum"][0] if "enum" in schema else _line(lines, name)


def _by_outline(outline: Json, lines: Iterator[str], name: str = "") -> Json:
    if isinstance(outline, dict):
        return {n: _by_outline(o, lines, n) for n, o in outline.items()}
    if isinstance(outline, list):
        return [_by_outline(outline[0], lines, name)]
    choice = _ONE_OF.match(outline)
    return choice[1] if choice else _line(lines, name)


def _line(lines: Iterator[str], name: str) -> str:
    text = next(lines)
    return "#" + text.replace(" ", "")[:-1] if name == "hashtags" else text


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KimiServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers.get("Authorization"))
        found = {"object": "list", "data": self.server.models}
        self._whole(200 if self.path == "/v1/models" else 404, found)

    def do_POST(self) -> None:
        server = self.server
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.questions.append(question)
        server.tokens.append(self.headers.get("Authorization"))
        server.asked.set()
        if question.get("response_format", {}).get("type") in server.refuses:
            self._whole(400, {"error": {"message": "response_format is not supported"}})
            return
        fault = server.faults.popleft() if server.faults else ""
        status = int(fault) if fault.isdigit() else 200
        if status != 200:
            said = f"no: {self.headers.get('Authorization')}"
            self._whole(status, {"error": {"message": said}}, {"Retry-After": "7"})
        elif fault == "silent":
            self._wait_for_the_end()
        elif fault == "late" and not server.may_answer.wait(20):
            raise AssertionError("nobody has let it answer")
        elif fault == "whole":
            text = json.dumps(written(question))
            choice = {"message": {"content": text}, "finish_reason": "stop"}
            self._whole(200, {"choices": [choice]})
        else:
            self._stream(question, fault)

    def _whole(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, question: dict[str, Any], fault: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        text = _spoilt(json.dumps(written(question), ensure_ascii=False), fault)
        pieces = [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
        if fault == "cut":
            pieces = pieces[: len(pieces) // 2]
        for piece in pieces:
            self._event({"choices": [{"index": 0, "delta": {"content": piece}}]})
            if fault == "gives up":
                self._event({"error": {"message": "out of memory"}})
            if fault == "slow":
                self._wait_for_the_end()
                return
            if fault == "breaks off":
                self.close_connection = True
                return
        finish = "length" if fault == "cut" else "stop"
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if question.get("stream_options"):
            usage = {"prompt_tokens": 1000, "completion_tokens": len(pieces)}
            self._event({"choices": [], "usage": usage})
        self._send(b"data: [DONE]\n\n")
        self._send(b"")

    def _event(self, body: Json) -> None:
        self._send(f": alive\r\n\r\ndata: {json.dumps(body)}\n\n".encode())

    def _send(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _wait_for_the_end(self) -> None:
        """Say nothing more until the client hangs up."""
        if self.connection.recv(1) == b"":
            self.server.hung_up.set()
        self.close_connection = True


def _spoilt(text: str, fault: str) -> str:
    """Return the answer as a model may spoil it."""
    put = _INSTEAD.get(fault)
    if put is not None:
        return text.replace(*put, 1)
    match fault:
        case "no json":
            return "Of course! Here is your script: {" + text[:40]
        case "fenced":
            return f"<think>A can. {{Perhaps}} lemons.</think>Here it is:\n```json\n{text}\n```"
        case "extra":
            return text[:-1] + ', "notes": "mine"}'
        case _:
            return text
