"""One HTTP call that can be given up at any moment: while it connects, waits, or is answered.

A language model may read a long prompt for minutes before its first word. So a thread of its own
does the blocking, and the model's thread looks every moment whether the job is still wanted; if
not, the connection is closed, which is how a server learns that it may stop.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection, HTTPSConnection

from bus import provider
from contracts.errors import InvalidRequestError, ModelFailedError, ProviderTimeoutError

LOOK_SECONDS = 0.05
CONNECT_SECONDS = 10.0
MOST_BYTES = 64 * 1024 * 1024
_READ_BYTES = 65536

Look = Callable[[], None]


class Head(NamedTuple):
    """How an answer begins."""

    status: int
    headers: Mapping[str, str]


class Call:
    """A call as a context: leaving it closes the connection, whatever has happened."""

    def __init__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout_seconds: float,
    ) -> None:
        self._method, self._body, self._headers = method, body, dict(headers)
        self._deadline = time.monotonic() + timeout_seconds
        self._timeout = timeout_seconds
        self._target = urlsplit(url)
        self._connection = _connection(url)
        self._closed = threading.Event()
        self._news: queue.SimpleQueue[Head | bytes | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="kimi-call", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cut the connection; the thread ends with it."""
        self._closed.set()
        found = self._connection.sock
        if found is not None:
            with contextlib.suppress(OSError):  # it is closed already
                found.shutdown(socket.SHUT_RDWR)

    def head(self, look: Look) -> Head:
        """Wait for the answer's beginning; `look` is called all the while and may raise."""
        news = self._next(look)
        if not isinstance(news, Head):
            raise ModelFailedError("the server's answer has no beginning")
        return news

    def body(self, look: Look) -> Iterator[bytes]:
        """Yield the answer's bytes as they come. Raises typed errors of the provider."""
        total = 0
        while isinstance(data := self._next(look), bytes):
            total += len(data)
            if total > MOST_BYTES:
                raise ModelFailedError(f"the server's answer is longer than {MOST_BYTES} bytes")
            yield data

    def _next(self, look: Look) -> Head | bytes | None:
        while True:
            look()
            if time.monotonic() > self._deadline:
                raise ProviderTimeoutError(f"no whole answer within {self._timeout:g} s")
            with contextlib.suppress(queue.Empty):
                news = self._news.get(timeout=LOOK_SECONDS)
                if isinstance(news, BaseException):
                    raise provider.error_of_exception(news)
                return news

    def _run(self) -> None:
        try:
            self._exchange()
        except BaseException as error:  # noqa: BLE001 - the other thread is told, whatever it is
            self._news.put(error)
        finally:
            self._connection.close()

    def _exchange(self) -> None:
        connection, target = self._connection, self._target
        connection.connect()
        if self._closed.is_set():
            return  # given up while it connected: nothing is asked
        # A first word may take far longer than connecting; the deadline comes before this does.
        connection.timeout = self._timeout + 1.0
        path = target.path + (f"?{target.query}" if target.query else "")
        connection.request(
            self._method,
            path or "/",
            body=self._body,
            headers=HTTPHeaderDict(self._headers),
            preload_content=False,
        )
        answer = connection.getresponse()
        self._news.put(Head(answer.status, dict(answer.headers)))
        while data := answer.read1(_READ_BYTES):
            self._news.put(data)
        self._news.put(None)


def _connection(url: str) -> HTTPConnection:
    parts = urlsplit(url)
    if parts.hostname is None or parts.scheme not in ("http", "https"):
        raise InvalidRequestError("the endpoint's URL must begin with http:// or https://")
    if parts.scheme == "https":
        return HTTPSConnection(
            parts.hostname,
            parts.port,
            timeout=CONNECT_SECONDS,
            ssl_context=ssl.create_default_context(),
        )
    return HTTPConnection(parts.hostname, parts.port, timeout=CONNECT_SECONDS)
