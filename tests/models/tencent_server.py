"""A server that keeps to Tencent Cloud's documented flow: signed calls, jobs, their codes, files.

It checks every signature by its own reading of their pages, counts what it sells, and has its
faults set by the test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import io
import itertools
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

from PIL import Image

SECRET_ID, SECRET_KEY = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3example", "Gu5t9xGARNpq86cd98joQYCN3example"
LIMIT_BYTES = 8 << 20


class TencentServer(http.server.ThreadingHTTPServer):
    """Listens on a free port."""

    daemon_threads = True

    def __init__(self, mesh: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.mesh = mesh
        self.sold: list[dict[str, Any]] = []
        """Bodies of the orders that were taken: each of them is paid."""
        self.asked = 0
        self.stages = ["WAIT", "RUN", "DONE"]
        self.verdict = ("", "")
        """Code and message of a job that fails."""
        self.order_faults: deque[str] = deque()
        """A code of theirs; `drop`: sold, and nothing is answered; `nothing`: sold, no answer."""
        self.query_faults: deque[str] = deque()
        self.cuts = 0
        """Downloads that will break off half way."""
        self.kinds = ["OBJ", "GLB"]
        self._jobs: dict[str, Iterator[str]] = {}
        self._numbers = itertools.count(1001)

    def order(self, body: dict[str, Any]) -> str:
        """Take an order and return its job."""
        job = str(next(self._numbers))
        self.sold.append(body)
        self._jobs[job] = itertools.chain(self.stages, itertools.repeat(self.stages[-1]))
        return job

    def status(self, job: str) -> str | None:
        """Return a job's status, one further with every question."""
        found = self._jobs.get(job)
        return next(found) if found else None


class RefusedError(Exception):
    """A call that is answered with one of their codes."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: TencentServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        action = self.headers["X-TC-Action"]
        try:
            self._signed(body)
            given = json.loads(body)
            told = self._submit(given) if action.startswith("Submit") else self._query(given)
        except RefusedError as refused:
            told = {"Error": {"Code": str(refused), "Message": f"no; {SECRET_KEY}"}}
        if told is not None:
            self._answer(json.dumps({"Response": told | {"RequestId": "r"}}).encode())

    def do_GET(self) -> None:
        mesh = self.server.mesh
        self.send_response(200)
        self.send_header("Content-Length", str(len(mesh)))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            self.wfile.write(mesh[: len(mesh) // 2])
            self.close_connection = True
            return
        self.wfile.write(mesh)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _signed(self, body: bytes) -> None:
        """Compute the signature anew from what came."""
        scheme, _, rest = self.headers["Authorization"].partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        who, day, service, ending = parts["Credential"].split("/")
        names = parts["SignedHeaders"].split(";")
        lines = "".join(f"{n}:{self.headers[n].strip().lower()}\n" for n in names)
        hashed = hashlib.sha256(body).hexdigest()
        canonical = "\n".join(["POST", "/", "", lines, parts["SignedHeaders"], hashed])
        text = "\n".join(
            [
                scheme,
                self.headers["X-TC-Timestamp"],
                f"{day}/{service}/{ending}",
                hashlib.sha256(canonical.encode()).hexdigest(),
            ]
        )
        key = ("TC3" + SECRET_KEY).encode()
        for part in (day, service, ending):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        if scheme != "TC3-HMAC-SHA256" or who != SECRET_ID or ending != "tc3_request":
            raise RefusedError("AuthFailure.SecretIdNotFound")
        if not hmac.compare_digest(signature, parts["Signature"]):
            raise RefusedError("AuthFailure.SignatureFailure")
        told = self.headers["X-TC-Region"] and self.headers["X-TC-Version"] == "2023-09-01"
        if not told or self.path != "/" or len(body) > 2 * LIMIT_BYTES:
            raise RefusedError("InvalidParameter")

    def _submit(self, body: dict[str, Any]) -> dict[str, Any] | None:
        server = self.server
        server.asked += 1
        fault = server.order_faults.popleft() if server.order_faults else ""
        if fault == "drop":
            server.order(body)
            self.close_connection = True
            return None
        if fault == "nothing":
            server.order(body)
            return {}
        if fault:
            raise RefusedError(fault)
        if ("Prompt" in body) == ("ImageBase64" in body):
            raise RefusedError("InvalidParameterValue")
        if body["Model"] not in ("3.0", "3.1") or not 10_000 <= body["FaceCount"] <= 1_500_000:
            raise RefusedError("InvalidParameterValue")
        if "ImageBase64" in body:
            with Image.open(io.BytesIO(base64.b64decode(body["ImageBase64"]))) as picture:
                if min(picture.size) < 50 or max(picture.size) > 5000:
                    raise RefusedError("InvalidParameterValue.ImageSize")
        return {"JobId": server.order(body)}

    def _query(self, body: dict[str, Any]) -> dict[str, Any]:
        server = self.server
        if server.query_faults:
            raise RefusedError(server.query_faults.popleft())
        status = server.status(body["JobId"])
        if status is None:
            raise RefusedError("FailedOperation.JobNotExist")
        told: dict[str, Any] = {"Status": status, "ErrorCode": "", "ErrorMessage": ""}
        if status == "DONE":
            files = [{"Type": kind, "Url": f"{server.url}/{kind}"} for kind in server.kinds]
            told["ResultFile3Ds"] = files
        if status == "FAIL":
            told["ErrorCode"], told["ErrorMessage"] = server.verdict
        return told
