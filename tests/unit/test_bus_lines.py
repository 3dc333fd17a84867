"""The little of HTTP that a small PUT needs, against servers that answer in every way there is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bus import lines
from bus.lines import AT_ONCE, Lines
from contracts.errors import StoreUnavailableError

pytestmark = pytest.mark.unit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADERS = {"Host": "store", "Content-Length": "4"}


class Store:
    """Answers each request with the next of its bytes; nothing means: break off."""

    def __init__(self, *answers: bytes, breaks_off: bool = False) -> None:
        self.answers = list(answers)
        self.breaks_off = breaks_off
        self.requests: list[bytes] = []
        self.connections = self.most = self.open = 0
        self.hold: asyncio.Event | None = None
        self.server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def endpoint(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(4))
                self.open += 1
                self.most = max(self.most, self.open)
                if self.hold is not None:
                    await self.hold.wait()
                self.open -= 1
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    break
                for byte in range(0, len(answer), 7):  # in small pieces, as networks may
                    writer.write(answer[byte : byte + 7])
                    await writer.drain()
                if self.breaks_off:
                    break
        self._writers.discard(writer)
        writer.close()

    def drop_all(self) -> None:
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def lines_to(store: Store) -> AsyncIterator[Lines]:
    store.server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    made = Lines(store.endpoint)
    yield made
    made.close()
    store.drop_all()
    store.server.close()
    await store.server.wait_closed()


async def put(to: Lines) -> tuple[int, bytes]:
    return await to.put("/b/key", HEADERS, b"body")


async def test_a_request_is_whole_and_the_connection_is_kept() -> None:
    store = Store(OK)
    async with lines_to(store) as to:
        assert [await put(to) for _ in range(3)] == [(200, b"ok")] * 3
    assert (
        store.requests
        == [b"PUT /b/key HTTP/1.1\r\nHost: store\r\nContent-Length: 4\r\n\r\nbody"] * 3
    )
    assert store.connections == 1


@pytest.mark.parametrize(
    ("answer", "expected", "connections"),
    [
        (b"HTTP/1.1 412 no\r\ncontent-length:0\r\n\r\n", (412, b""), 1),
        (b"HTTP/1.1 204 none\r\n\r\n", (204, b""), 1),
        (b"HTTP/1.1 100 go on\r\n\r\n" + OK, (200, b"ok"), 1),
        (b"HTTP/1.1 500 x\r\nConnection: Close\r\nContent-Length: 1\r\n\r\ny", (500, b"y"), 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", (200, b""), 2),
        (OK + b"and what nobody asked for", (200, b"okand what nobody asked for"), 2),
    ],
)
async def test_every_answer_is_read_to_its_end(
    answer: bytes, expected: tuple[int, bytes], connections: int
) -> None:
    store = Store(answer)
    async with lines_to(store) as to:
        for _ in range(2):
            status, data = await put(to)
            assert (status, data[: len(expected[1])]) == (expected[0], expected[1][: len(data)])
    assert store.connections == connections


async def test_a_body_without_a_length_is_no_reason_to_wait() -> None:
    store = Store(b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    async with lines_to(store) as to:
        assert (await put(to))[0] == 503
        assert (await put(to))[0] == 503
    assert store.connections == 2


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    store = Store(OK)
    async with lines_to(store) as to:
        await asyncio.gather(*(put(to) for _ in range(3)))
        store.drop_all()
        assert await put(to) == (200, b"ok")
        assert len(store.requests) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_none(answer: bytes) -> None:
    store = Store(answer, breaks_off=True)
    async with lines_to(store) as to:
        with pytest.raises(StoreUnavailableError):
            await put(to)


async def test_an_endless_head_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_HEAD", 1000)
    async with lines_to(Store(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000)) as to:
        with pytest.raises(StoreUnavailableError):
            await put(to)


async def test_nobody_there_is_an_outage() -> None:
    store = Store(OK)
    async with lines_to(store) as to:
        endpoint = store.endpoint
    to = Lines(endpoint)
    with pytest.raises(StoreUnavailableError, match="Refused"):
        await put(to)
    to.close()


async def test_a_store_that_keeps_silent_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ANSWER_SECONDS", 0.05)
    store = Store(OK)
    store.hold = asyncio.Event()
    async with lines_to(store) as to:
        with pytest.raises(StoreUnavailableError, match="in time"):
            await put(to)
        store.hold.set()
        monkeypatch.undo()
        assert await put(to) == (200, b"ok"), "on another connection: the late answer is nobody's"
    assert store.connections == 2


async def test_a_put_that_is_cancelled_leaves_no_answer_behind() -> None:
    store = Store(OK)
    store.hold = asyncio.Event()
    async with lines_to(store) as to:
        task = asyncio.create_task(put(to))
        async with asyncio.timeout(5):
            while not store.requests:  # noqa: ASYNC110 - the server is no task of ours
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store.hold.set()
        assert await put(to) == (200, b"ok")
    assert store.connections == 2


async def test_no_more_connections_than_agreed() -> None:
    store = Store(OK)
    async with lines_to(store) as to:
        await asyncio.gather(*(put(to) for _ in range(4 * AT_ONCE)))
    assert store.connections <= AT_ONCE
    assert store.most <= AT_ONCE
