"""PUTs of small objects over kept connections, on the event loop itself.

An HTTP library and a change of threads cost several times what a store takes for a kilobyte, and
most outputs of quick services are no larger. So this speaks the little of HTTP/1.1 that one PUT
needs, over plain sockets. Whatever is not plain (TLS, a large file) goes another way: see s3.py.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from contracts.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_BODY = 64 * 1024
"""Bytes of a body that is sent from here."""
AT_ONCE = 16
"""Connections at most; further PUTs wait for one."""
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 2.0
LONGEST_HEAD = 64 * 1024
_RECEIVE_BYTES = 64 * 1024
_HEAD_END = b"\r\n\r\n"
_FIRST_FINAL = 200
_NO_CONTENT = 204


class Answer(NamedTuple):
    """A status and as much of the body as came with a length."""

    status: int
    data: bytes


class _StaleError(Exception):
    """The server had closed a kept connection: it has seen nothing of this request."""


class Lines:
    """Connections to one `http://` endpoint. Close it at the end."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._address = (parts.hostname or "", parts.port or 80)
        self._idle: list[socket.socket] = []
        self._places = asyncio.Semaphore(AT_ONCE)

    def close(self) -> None:
        """Close the connections that nobody uses; from any thread."""
        while self._idle:
            self._idle.pop().close()

    async def put(self, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """PUT a body to a path that is quoted already; `headers` hold its length.

        Raises StoreUnavailableError when no answer came: it may or may not have been stored.
        """
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        message = f"PUT {target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1") + body
        try:
            async with self._places, asyncio.timeout(ANSWER_SECONDS):
                while self._idle:
                    try:
                        return await self._exchange(self._idle.pop(), message, kept=True)
                    except _StaleError:
                        continue  # a store that restarts closes them all
                return await self._exchange(await self._connect(), message, kept=False)
        except TimeoutError:
            raise StoreUnavailableError("the store did not answer in time") from None
        except OSError as error:
            raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await loop.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
            for last, (family, kind, protocol, _, address) in enumerate(found, 1 - len(found)):
                line = socket.socket(family, kind, protocol)
                try:
                    line.setblocking(False)  # noqa: FBT003 - the standard library's signature
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await loop.sock_connect(line, address)
                except BaseException as error:
                    line.close()
                    if last < 0 and isinstance(error, OSError):
                        continue  # it has another address
                    raise
                return line
        raise StoreUnavailableError("the store's name has no address")

    async def _exchange(self, line: socket.socket, message: bytes, *, kept: bool) -> Answer:
        try:
            answer, reusable = await _ask(line, message)
        except (ConnectionError, EOFError) as error:
            line.close()
            if kept:
                raise _StaleError from error
            raise StoreUnavailableError(f"the store broke off: {error}") from error
        except BaseException:  # whatever is on the line belongs to nobody now
            line.close()
            raise
        if reusable:
            self._idle.append(line)
        else:
            line.close()
        return answer


async def _ask(line: socket.socket, message: bytes) -> tuple[Answer, bool]:
    """Send a request and read its answer; say whether the line can carry another.

    Raises EOFError or ConnectionError if the server broke off. The PUTs of this house are
    conditional, so that one which was broken off may be repeated whatever became of it.
    """
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(line, message)
    text = b""
    while True:
        while _HEAD_END not in text:
            data = b"" if len(text) > LONGEST_HEAD else await loop.sock_recv(line, _RECEIVE_BYTES)
            if not data:
                raise EOFError("no whole answer")
            text += data
        head, _, text = text.partition(_HEAD_END)
        status, fields = _parsed(head)
        if status >= _FIRST_FINAL:
            break
    keep = fields.get(b"connection", b"").lower() != b"close"
    length = b"0" if status == _NO_CONTENT else fields.get(b"content-length", b"")
    if not length.isdigit():
        return Answer(status, text), False  # chunked, or until the end: only an error is so long
    while len(text) < int(length):
        data = await loop.sock_recv(line, _RECEIVE_BYTES)
        if not data:
            raise EOFError("half an answer")
        text += data
    return Answer(status, text), keep and len(text) == int(length)


def _parsed(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Return the status and the header fields, names in small letters."""
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise EOFError("no HTTP answer")
    pairs = (text.partition(b":") for text in lines)
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if version == b"HTTP/1.0":
        fields.setdefault(b"connection", b"close")
    return int(rest[:3]), fields
