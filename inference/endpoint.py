"""A model behind HTTP: a container of its maker, or a server of our own on another machine.

    server = Endpoint(manifest)
    body = server.ask({"prompt": request.prompt, "seed": request.seed}, report)

The manifest's `[endpoint]` says how a request becomes a body and where in the answer the output is.
It asks once; what an answer means is decided by bus/provider.py, and who tries again is the worker.
"""

from __future__ import annotations

import base64
import binascii
import concurrent.futures
import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from urllib3.filepost import encode_multipart_formdata

from bus import endpoints, provider, settings
from contracts.errors import (
    InvalidRequestError,
    ModelFailedError,
    ProviderTimeoutError,
    TooLargeError,
)
from contracts.requests import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bus.worker.model import Report
    from contracts.manifest import Manifest

ANSWER_BYTES = 1 << 30
"""Of an answer at most."""
LOOK_SECONDS = 0.25
"""How often is looked whether the job is still wanted while an answer is awaited."""
CONNECT_SECONDS = 10.0
_NAME = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_PHASE = "waiting"


def values_of(request: Request) -> dict[str, Any]:
    """Return a request's fields as plain values, for `[endpoint] body` to name."""
    found: dict[str, Any] = msgspec.to_builtins(request)
    return {**{name: getattr(request, name) for name in request.__struct_fields__}, **found}


def filled(template: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a body with every `{name}` replaced; one that is all of a text keeps its type.

    What is None is left out: servers refuse fields that they do not expect. Raises
    InvalidRequestError(endpoint.body) for a name that no value has.
    """
    match template:
        case dict():
            made = {key: filled(value, values) for key, value in template.items()}
            return {key: value for key, value in made.items() if value is not None}
        case list():
            return [filled(value, values) for value in template]
        case str():
            whole = _NAME.fullmatch(template)
            if whole:
                return _value(whole[1], values)
            return _NAME.sub(lambda found: str(_value(found[1], values)), template)
        case _:
            return template


def _value(name: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as it is
    if name not in values:
        raise InvalidRequestError(f"[endpoint] body names {name!r}", field="endpoint.body")
    return values[name]


def picked(answer: Any, path: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return what lies at a dotted path of an answer; raises ModelFailedError if nothing does."""
    found = answer
    for step in path.split("."):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ModelFailedError(f"the answer has nothing at {path}") from None
    return found


class Endpoint:
    """The server of one service's model; safe to keep for many jobs, one at a time."""

    def __init__(self, manifest: Manifest, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.url = endpoints.url_of(manifest, environ)
        self._prefix = urlsplit(self.url).path
        assert manifest.endpoint is not None  # else url_of has raised
        self._told = manifest.endpoint
        self._key = endpoints.key_of(manifest, settings.secrets_dir(environ))
        self._headers = {"Authorization": f"Bearer {self._key.reveal()}"} if self._key else {}

    def ask(
        self, values: Mapping[str, Any], report: Report, *, done: int = 0, total: int = 1
    ) -> bytes:
        """Send one request and return the output's bytes.

        `values` fill `[endpoint] body`; in a multipart body a value of type Path is a file to send.
        While the answer is awaited `report(done, total, "waiting")` is called, which may raise:
        then the connection is closed. Raises ProviderErrors, and ModelFailedError for an answer
        that is not what the manifest says.
        """
        told = self._told
        body = filled(told.body, values)
        answer = self.post(told.path, body, report, done=done, total=total)
        if not told.media:
            return answer
        return _decoded(picked(_json(answer), told.media))

    def post(
        self,
        path: str,
        body: Any,  # noqa: ANN401 - JSON of any shape
        report: Report,
        *,
        done: int = 0,
        total: int = 1,
    ) -> bytes:
        """Send a body and return the answer's bytes; waits, reports and raises as `ask` does."""
        wire = _wire(self.url, self._told.timeout_seconds)
        line = _Line()
        worker = concurrent.futures.ThreadPoolExecutor(1)
        until = time.monotonic() + self._told.timeout_seconds
        try:
            future = worker.submit(self._send, wire, line, path, body)
            while time.monotonic() < until:
                report(done, total, _PHASE)
                if concurrent.futures.wait([future], LOOK_SECONDS).done:
                    return future.result()
            raise ProviderTimeoutError(f"no answer within {self._told.timeout_seconds:g} s")
        finally:
            line.cut()  # an answer that nobody waits for any more: the server may stop
            worker.shutdown()
            wire.close()

    def json(self, path: str, body: Any, report: Report) -> Any:  # noqa: ANN401 - JSON of any shape
        """Send a body and return the answer as JSON; raises as `ask` does."""
        return _json(self.post(path, body, report))

    def _send(self, wire: http.client.HTTPConnection, line: _Line, path: str, body: Any) -> bytes:  # noqa: ANN401 - as above
        if self._told.format == "multipart":
            data, kind = encode_multipart_formdata(dict(_fields(body)))
        else:
            data, kind = msgspec.json.encode(body), "application/json"
        headers = {**self._headers, "Content-Type": kind}
        with provider.asking():
            wire.connect()
            line.hold(wire.sock)
            wire.sock.settimeout(self._told.timeout_seconds)
            wire.request("POST", self._prefix + path, data, headers)
            answer = wire.getresponse()
            content = _read(answer)
        provider.check(answer.status, dict(answer.headers), content, secret=self._key.reveal())
        return content


def _wire(url: str, seconds: float) -> http.client.HTTPConnection:
    """Return a connection that is not open yet."""
    parts = urlsplit(url)
    limit = min(CONNECT_SECONDS, seconds)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=limit, context=context
        )
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=limit)


class _Line:
    """A connection's socket, to be cut by another thread than the one that waits on it.

    The connection itself forgets its socket once the server announces that it will close.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    def hold(self, connected: socket.socket) -> None:
        """Take the socket; one that was cut while it connected is cut now: nothing is asked."""
        with self._lock:
            self._socket = connected
            if self._cut:
                self._shut()

    def cut(self) -> None:
        """End whatever waits on the socket, now or later: it returns at once."""
        with self._lock:
            self._cut = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _fields(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a form: files with their names, everything else as text."""
    for name, value in body.items():
        if isinstance(value, Path):
            yield name, (value.name, value.read_bytes())
        elif isinstance(value, (dict, list, bool)):
            yield name, msgspec.json.encode(value).decode()
        else:
            yield name, str(value)


def _read(answer: http.client.HTTPResponse) -> bytes:
    content = answer.read(ANSWER_BYTES + 1)
    if len(content) > ANSWER_BYTES:
        raise TooLargeError(f"the answer is larger than {ANSWER_BYTES >> 20} MiB")
    if answer.length:  # what it still owes: reading up to a limit does not complain
        raise http.client.IncompleteRead(content, answer.length)
    return content


def _json(answer: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    try:
        return msgspec.json.decode(answer)
    except msgspec.DecodeError as error:
        raise ModelFailedError(f"the answer is no JSON: {error}") from None


def _decoded(value: object) -> bytes:
    """Return the bytes of base64, alone or in a data URI."""
    if isinstance(value, str):
        text = value.partition(",")[2] if value.startswith("data:") else value
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise ModelFailedError("the answer's media is no base64")
