"""What is published while a backup is taken and may be gone before its stream is looked at again.

Requests leave their stream once they are done, commands once they were taken, and a campaign's
record goes on to its next revision. Plain subscriptions hear all of it as it comes, whether a
stream took it or not: what one has refused, it refuses again when it is restored.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING

import msgspec

from bus.durability import fsync
from contracts import subjects
from contracts.backup import FilePart, Heard
from contracts.errors import UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from bus.connection import Bus

FILE = "heard.ndjson"


def patterns() -> list[str]:
    """Return what is listened to."""
    return [
        *subjects.request_patterns(),
        *subjects.campaign_command_patterns(),
        subjects.campaign_result_pattern(),
    ]


class Listener:
    """Writes down what it hears, one line each."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self._bus = bus
        self._path = folder / FILE
        self._file = self._path.open("wb")
        self._digest = hashlib.sha256()
        self._size = self._count = 0
        self._failed: str = ""
        self._subscriptions: list[Subscription] = []

    async def begin(self) -> None:
        """Listen; whatever is published after this call has returned is heard."""
        self._bus.on_reconnect(self._lost)
        for pattern in patterns():
            # No limits: one that is reached would drop what it cannot hold.
            made = await self._bus.nc.subscribe(
                pattern, cb=self._hear, pending_msgs_limit=0, pending_bytes_limit=0
            )
            self._subscriptions.append(made)
        await self._bus.nc.flush()

    async def end(self) -> FilePart:
        """Return what was written, complete up to this call.

        Raises UnknownOutcomeError if something may have been missed: begin again.
        """
        await self._bus.nc.flush()
        # What the server had sent by then lies in these queues, each emptied by a task of its own.
        while any(s.pending_msgs for s in self._subscriptions):  # noqa: ASYNC110 - nats-py has no event
            await asyncio.sleep(0)
        self._file.flush()
        await asyncio.to_thread(fsync, self._path)
        if self._failed:
            raise UnknownOutcomeError(f"listening while the backup was taken: {self._failed}")
        return FilePart(
            path=FILE, size_bytes=self._size, sha256=self._digest.hexdigest(), entries=self._count
        )

    async def close(self) -> None:
        """Listen no more."""
        self._bus.forget_reconnect(self._lost)
        for subscription in self._subscriptions:
            with contextlib.suppress(Exception):  # the connection may be gone, and them with it
                await subscription.unsubscribe()
        self._file.close()

    async def _hear(self, message: Msg) -> None:
        line = msgspec.json.encode(Heard(subject=message.subject, body=message.data)) + b"\n"
        try:
            self._file.write(line)
        except (OSError, ValueError) as error:
            self._failed = str(error)
        self._digest.update(line)
        self._size += len(line)
        self._count += 1

    async def _lost(self) -> None:
        self._failed = "the connection to NATS was away"


@contextlib.asynccontextmanager
async def listening(bus: Bus, folder: Path) -> AsyncIterator[Listener]:
    """Listen for the length of a block."""
    listener = Listener(bus, folder)
    try:
        await listener.begin()
        yield listener
    finally:
        await listener.close()


def read(folder: Path) -> list[Heard]:
    """Return what was written down, in order."""
    decoder = msgspec.json.Decoder(Heard)
    return [decoder.decode(line) for line in (folder / FILE).read_bytes().splitlines()]
