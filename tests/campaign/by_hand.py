"""A client by hand: NATS, subjects spelled out, JSON; nothing of the product but its settings."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from bus.settings import Settings

README = Path(__file__).parents[2] / "README.md"
ONCE = {"Nats-Expected-Last-Subject-Sequence": "0"}
PATIENCE_SECONDS = 60.0


def from_readme(language: str, beginning: str) -> str:
    """Return the README's code block of this language whose text holds the beginning."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    [found] = [block for block in blocks if beginning in block]
    return str(found)


async def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:  # noqa: ANN401 - whatever the condition returns
    """Await the condition again and again until it returns something true; return that."""
    try:
        async with asyncio.timeout(seconds):
            # What is waited for happens in another process, which sets no event of ours.
            while not (found := await condition()):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.02)
            return found
    except TimeoutError:
        raise AssertionError(f"waited {seconds:.0f} s for {what}") from None


def over_http(url: str, body: bytes | None = None) -> bytes:
    """GET the link, or PUT the body to it, with nothing but the standard library."""
    method = "GET" if body is None else "PUT"
    request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - our own store's link
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
        found: bytes = answer.read()
        return found


class Hand:
    """What any NATS client can do."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._js = nc.jetstream()

    async def publish(self, subject: str, body: object) -> int:
        """Publish once; return 0 when it was stored, else the server's error code."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            await self._js.publish(subject, data, headers=ONCE)
        except APIError as error:
            return error.err_code or -1
        return 0

    async def publish_unguarded(self, subject: str, body: bytes) -> None:
        """Publish as a careless client does, without the header that makes it once."""
        await self._js.publish(subject, body)

    async def refused(self, subject: str) -> bool:
        """Say whether no stream takes this subject."""
        try:
            await self._js.publish(subject, b"{}")
        except NoStreamResponseError:
            return True
        return False

    async def subjects(self, stream: str, pattern: str) -> list[str]:
        """Return the subjects of a stream that match, sorted."""
        info = await self._js.stream_info(stream, subjects_filter=pattern)
        return sorted(info.state.subjects or {})

    async def count(self, stream: str) -> int:
        """Return how many messages a stream holds."""
        return int((await self._js.stream_info(stream)).state.messages)

    async def read(self, stream: str, subject: str) -> dict[str, Any] | None:
        """Return the JSON last published to a subject, or None."""
        with contextlib.suppress(NotFoundError):
            message = await self._js.get_last_msg(stream, subject)
            return json.loads(message.data or b"null")  # type: ignore[no-any-return]  # JSON
        return None

    async def event(self, rest: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Wait for `adgenx.evt.default.<rest>` and return it."""
        subject = f"adgenx.evt.default.{rest}"

        async def look() -> dict[str, Any] | None:
            return await self.read("EVENTS", subject)

        found: dict[str, Any] = await until(look, subject, seconds)
        return found

    async def told(self, prefix: str) -> list[str]:
        """Return the names of the events told under `<campaign>.<request>`, sorted."""
        start = f"adgenx.evt.default.{prefix}."
        return [s.removeprefix(start) for s in await self.subjects("EVENTS", f"{start}>")]

    async def keys(self, bucket: str, pattern: str = ">") -> list[str]:
        """Return the keys of a bucket that match, sorted."""
        start = f"$KV.{bucket}."
        return [s.removeprefix(start) for s in await self.subjects(f"KV_{bucket}", start + pattern)]


@contextlib.asynccontextmanager
async def by_hand(found: Settings) -> AsyncIterator[Hand]:
    """Connect as any client does."""
    nc = await nats.connect(
        found.nats_url, user=found.nats_user, password=found.nats_password.reveal()
    )
    try:
        yield Hand(nc)
    finally:
        await nc.close()
