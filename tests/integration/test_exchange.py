"""One request to a vetted address, over real sockets and real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from bus.exchange import Answer, Exchange
from bus.outward import Destination, Vetted
from contracts.errors import ProviderTimeoutError, ProviderUnavailableError

pytestmark = pytest.mark.integration

NAME = "hooks.example.com"
BODY_END = b"\r\n\r\n{}"
"""The end of every request that is sent here."""
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for NAME that signs itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NOT CHECKED: TLS to a vetted address; install openssl")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            f"/CN={NAME}",
            "-addext",
            f"subjectAltName=DNS:{NAME}",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    made = Exchange(threads=4)
    yield made
    made.close()


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    handled: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handled.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in handled:
            task.cancel()
        await asyncio.gather(*handled, return_exceptions=True)


def vetted(port: int, scheme: str = "http", host: str = NAME, *addresses: str) -> Vetted:
    return Vetted(Destination(scheme, host, port, "/hook?a=b"), addresses or ("127.0.0.1",))


async def post(exchange: Exchange, to: Vetted, seconds: float = 20.0) -> Answer:
    return await exchange.request(to, "POST", headers={"X-A": "b"}, body=b"{}", seconds=seconds)


async def test_the_name_is_in_the_request_and_the_address_is_what_was_vetted(
    exchange: Exchange,
) -> None:
    heads: list[str] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        heads.append((await reader.readexactly(2)).decode())
        writer.write(b"HTTP/1.1 202 Yes\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nabc")

    async with serving(echo) as port:
        # The first address does not answer; the name is nobody's, and nobody looks it up.
        answer = await post(exchange, vetted(port, "http", NAME, "127.0.0.2", "127.0.0.1"))
    assert answer == (202, {"retry-after": "7", "content-length": "3"}, b"abc", True)
    assert heads[0].startswith("POST /hook?a=b HTTP/1.1\r\n")
    assert f"Host: {NAME}:{port}\r\n" in heads[0]
    assert "X-A: b\r\n" in heads[0]
    assert heads[1] == "{}"


async def test_a_redirect_is_an_answer_like_any_other(exchange: Exchange) -> None:
    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY_END)
        writer.write(b"HTTP/1.1 307 Else\r\nLocation: http://127.0.0.1:1/\r\n\r\n")

    async with serving(elsewhere) as port:
        assert (await post(exchange, vetted(port))).status == 307


async def test_no_more_of_an_answer_is_read_than_was_asked_for(exchange: Exchange) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY_END)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(endless) as port:
        answer = await post(exchange, vetted(port))
    assert (answer.status, len(answer.body), answer.whole) == (200, 64 * 1024, False)


async def test_an_answer_that_drips_is_cut_off_in_time(exchange: Exchange) -> None:
    """Each byte resets a socket's own timeout: only a deadline for the whole ends this."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY_END)
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serving(drip) as port:
        with pytest.raises(ProviderTimeoutError):
            await post(exchange, vetted(port), seconds=0.5)


async def test_a_status_counts_although_the_body_never_ends(exchange: Exchange) -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY_END)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await reader.read()

    async with serving(stuck) as port:
        answer = await post(exchange, vetted(port), seconds=0.5)
    assert (answer.status, answer.body, answer.whole) == (200, b"abc", False)


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2", b"HTTP/1.1 2xx No\r\n\r\n"]
)
async def test_what_is_no_http_is_unavailable(exchange: Exchange, said: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY_END)
        writer.write(said)

    async with serving(other) as port:
        with pytest.raises(ProviderUnavailableError):
            await post(exchange, vetted(port))


async def test_nobody_there_is_unavailable(exchange: Exchange) -> None:
    async with serving(lambda _reader, _writer: asyncio.sleep(0)) as port:
        pass
    with pytest.raises(ProviderUnavailableError):
        await post(exchange, vetted(port))


async def test_tls_asks_for_the_urls_own_name_and_believes_no_other(
    certificate: tuple[Path, Path], exchange: Exchange
) -> None:
    asked: list[str | None] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = Exchange(threads=1, trust=ssl.create_default_context(cafile=certificate[0]))

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY_END)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with serving(greet, context) as port:
        assert (await post(trusting, vetted(port, "https"))).status == 200
        assert asked == [NAME]
        for other, name in ((trusting, "evil.example.com"), (exchange, NAME)):
            with pytest.raises(ProviderUnavailableError, match="certificate"):
                await post(other, vetted(port, "https", name))
    trusting.close()


async def test_a_handshake_that_hangs_is_cut_off_in_time(exchange: Exchange) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port:
        with pytest.raises(ProviderTimeoutError):
            await post(exchange, vetted(port, "https"), seconds=0.5)
