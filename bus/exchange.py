"""One HTTP request to an address that was vetted: no redirects, bounded in time and in bytes.

The socket is opened to the vetted address and TLS checks the certificate against the URL's own
name, so that nothing between the look-up and the connection can send it elsewhere. Proxies of the
environment are not used: they would look the name up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bus.outward import Vetted
from contracts.errors import ProviderTimeoutError, ProviderUnavailableError

CHUNK = 16 * 1024


class Answer(NamedTuple):
    """What came back; header names in lower case. `whole`: the body ended within the limits."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


class Exchange:
    """Makes requests in threads of its own: a receiver that hangs holds up nobody else."""

    def __init__(self, *, threads: int = 32, trust: ssl.SSLContext | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="exchange")
        self._trust = trust or ssl.create_default_context()

    def close(self) -> None:
        """Give back the threads; call when no request is under way."""
        self._pool.shutdown(wait=True)

    async def request(
        self,
        vetted: Vetted,
        method: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        seconds: float = 10.0,
        limit_bytes: int = 64 * 1024,
    ) -> Answer:
        """Send it and return the answer, whatever its status; at most `limit_bytes` of its body.

        `seconds` bound the whole exchange, however slowly bytes drip. Raises ProviderTimeoutError
        or ProviderUnavailableError when no status line and headers came.
        """
        line = _Line(vetted, self._trust, seconds)
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(seconds, line.cut)
        try:
            return await loop.run_in_executor(
                self._pool, line.exchange, method, dict(headers), body, limit_bytes
            )
        finally:
            alarm.cancel()
            line.cut()


class _Line:
    """One connection, which another thread may cut at any moment."""

    def __init__(self, vetted: Vetted, trust: ssl.SSLContext, seconds: float) -> None:
        self._vetted = vetted
        self._trust = trust
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def cut(self) -> None:
        """End whatever blocks on this line, now and from now on. Safe to repeat."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own: it changes the object under the thread that reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def exchange(
        self, method: str, headers: dict[str, str], body: bytes, limit_bytes: int
    ) -> Answer:
        """Do it all; runs in a thread."""
        try:
            with contextlib.closing(self._connect()) as sock:
                return self._talk(sock, method, headers, body, limit_bytes)
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not valid: {error.verify_message}"
            raise ProviderUnavailableError(reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._is_cut or isinstance(error, TimeoutError):
                raise ProviderTimeoutError("it did not answer in time") from None
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ProviderUnavailableError(f"no answer: {reason}") from None

    def _talk(
        self, sock: socket.socket, method: str, headers: dict[str, str], body: bytes, limit: int
    ) -> Answer:
        destination = self._vetted.destination
        connection = http.client.HTTPConnection(destination.host, destination.port)
        connection.sock = sock
        own = {"Host": destination.host_header, "Connection": "close"}
        connection.request(method, destination.target, body=body, headers=headers | own)
        with contextlib.closing(connection.getresponse()) as response:
            if self._is_cut:  # what ended the headers was not the other side
                raise TimeoutError
            named = {name.lower(): value for name, value in response.getheaders()}
            read, whole = self._read(response, limit)
            return Answer(response.status, named, read, whole)

    def _read(self, response: http.client.HTTPResponse, limit: int) -> tuple[bytes, bool]:
        """Read the body as far as it comes: the status is known by now, whatever follows."""
        read = bytearray()
        try:
            while len(read) <= limit:
                chunk = response.read1(CHUNK)
                if not chunk:
                    return bytes(read), not self._is_cut and not response.length
                read += chunk
        except (OSError, http.client.HTTPException, ValueError):
            pass
        return bytes(read[:limit]), False

    def _connect(self) -> socket.socket:
        """Connect to the first address that answers; the rest share what time is left."""
        failure: OSError = TimeoutError()
        for count, address in enumerate(self._vetted.addresses):
            left = (self._deadline - time.monotonic()) / (len(self._vetted.addresses) - count)
            if left <= 0 or self._is_cut:
                break
            try:
                plain = socket.create_connection((address, self._vetted.destination.port), left)
            except OSError as error:
                failure = error
                continue
            return self._secured(plain)
        raise failure

    def _secured(self, plain: socket.socket) -> socket.socket:
        plain.settimeout(max(self._deadline - time.monotonic(), 0.001))
        destination = self._vetted.destination
        sock = plain
        if destination.scheme == "https":
            sock = self._trust.wrap_socket(
                plain, server_hostname=destination.host, do_handshake_on_connect=False
            )
        with self._lock:
            self._socket = sock
            cut = self._is_cut
        if cut:
            sock.close()
            raise TimeoutError
        if isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
            except BaseException:
                sock.close()
                raise
        return sock
