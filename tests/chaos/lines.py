"""Bad lines, as a process of its own: `python lines.py <nats|s3> <control file> <target port>`.

It listens on a free port, which it writes beside the control file (`<control file>.port`), and does
what the control file says (JSON, read again when it changes):

nats  {"delay": s, "jitter": s, "stall": bool, "cut": bool, "slow": bytes per second}
s3    {"rate": share of requests that go wrong, "cut": bool, "delay": s}: answered 500 or 503, reset
      before or after the store has done them, answered late, or cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from pathlib import Path
from typing import Any

CHUNK = 32768
LOOK_SECONDS = 0.03
WRONGS = ("refuse", "lie", "reset", "forget", "late", "short")


class Orders:
    """What the control file says now."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = ""
        self.now: dict[str, Any] = {}

    def look(self) -> bool:
        """Read the file again; say whether it has changed."""
        with contextlib.suppress(OSError, ValueError):
            text = self._file.read_text(encoding="utf-8")
            if text != self._seen:
                self.now = json.loads(text)
                self._seen = text
                return True
        return False


class Line:
    """One listener and its open connections."""

    def __init__(self, orders: Orders, port: int) -> None:
        self.orders = orders
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the far end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.add(writer)
        return reader, writer

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends."""
        if self.orders.now.get("cut"):
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            await self.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        raise NotImplementedError

    async def watch(self) -> None:
        """Obey the control file; a cut breaks what is open."""
        while True:
            if self.orders.look() and self.orders.now.get("cut"):
                for writer in list(self._writers):
                    writer.transport.abort()
                self._writers.clear()
            await asyncio.sleep(LOOK_SECONDS)


class NatsLine(Line):
    """Carries bytes: late, slowly, or for a while not at all."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry both ways until either side ends."""
        far, into = await self.open()
        ways = [asyncio.create_task(self._carry(*way)) for way in ((reader, into), (far, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        into.transport.abort()
        self._writers.discard(into)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            orders = self.orders.now
            wait = orders.get("delay", 0) + random.random() * orders.get("jitter", 0)  # noqa: S311 - weather
            if orders.get("slow"):
                wait += len(data) / orders["slow"]
            if wait:
                await asyncio.sleep(wait)
            while self.orders.now.get("stall"):  # noqa: ASYNC110 - another task reads the orders
                await asyncio.sleep(LOOK_SECONDS)
            target.write(data)
            await target.drain()


class S3Line(Line):
    """Carries one HTTP request per connection, and lets some of them go wrong."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a request in whole, pass it on, pass the answer back."""
        head, body = await self._request(reader)
        orders = self.orders.now
        wrong = ""
        if random.random() < orders.get("rate", 0):  # noqa: S311 - weather
            wrong = random.choice(WRONGS)  # noqa: S311 - weather
        if orders.get("delay") or wrong == "late":
            await asyncio.sleep(orders.get("delay") or 0.5)
        if wrong == "reset":
            return
        if wrong == "refuse":
            await self._answer(writer, b"503 Service Unavailable")
            return
        answer = await self._ask(head, body)
        if wrong == "forget":
            return
        if wrong == "lie":
            await self._answer(writer, b"500 Internal Server Error")
            return
        if wrong == "short":
            answer = answer[: max(1, len(answer) * 2 // 3)]
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        """Read a request; its head comes back such that the store closes after its answer."""
        first, *rows = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
        length = 0
        kept = [first]
        for row in rows:
            name = row.partition(b":")[0].strip().lower()
            if name == b"content-length":
                length = int(row.partition(b":")[2])
            if name != b"connection":
                kept.append(row)
        head = b"\r\n".join([*kept, b"Connection: close", b"", b""])
        return head, await reader.readexactly(length)

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        far, into = await self.open()
        try:
            into.write(head + body)
            await into.drain()
            return await far.read()
        finally:
            into.transport.abort()
            self._writers.discard(into)

    async def _answer(self, writer: asyncio.StreamWriter, status: bytes) -> None:
        xml = b"<Error><Code>InternalError</Code><Message>weather</Message></Error>"
        writer.write(
            b"HTTP/1.1 " + status + b"\r\nContent-Type: application/xml\r\n"
            b"Connection: close\r\nContent-Length: " + str(len(xml)).encode() + b"\r\n\r\n" + xml
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def main(kind: str, control: Path, port: int) -> None:
    """Serve until killed; a restarted line listens on the port that it had."""
    line = (NatsLine if kind == "nats" else S3Line)(Orders(control), port)
    line.orders.look()
    mine = control.with_suffix(".port")
    wanted = int(mine.read_text()) if mine.exists() else 0
    server = await asyncio.start_server(line.accept, "127.0.0.1", wanted, limit=1 << 20)
    mine.write_text(str(server.sockets[0].getsockname()[1]))
    await line.watch()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
