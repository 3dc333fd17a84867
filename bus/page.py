"""A small page over HTTP: one request, one answer, then the connection is closed.

For scrapers and supervisors on this machine, which come every few seconds; no framework is worth
what it would weigh in every process.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from bus.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

READ_SECONDS = 5.0
HEAD_BYTES = 8192

Answer = tuple[int, str, bytes]
"""Status, media type, body."""


class Page:
    """Listens for as long as it is open; `answer(path)` returns what a path shows."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self, address: str, variable: str) -> None:
        """Listen at `host:port`, 0 for any free port. Raises SettingsError naming the variable."""
        host, _, port = address.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]"), int(port), limit=HEAD_BYTES
            )
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else "no such port"
            raise SettingsError(f"{variable}: {address}: {why}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.decode("latin-1").partition(" ")
                status, kind, body = 405, "text/plain", b""
                if method in ("GET", "HEAD"):
                    status, kind, body = self._answer(rest.partition(" ")[0].partition("?")[0])
                lines = (
                    f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                    f"Content-Type: {kind}",
                    f"Content-Length: {len(body)}",
                    "Connection: close",
                )
                writer.write("\r\n".join((*lines, "", "")).encode())
                if method != "HEAD":
                    writer.write(body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or never meant it
        finally:
            writer.close()
