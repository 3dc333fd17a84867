"""Saying something on the bus for certain, and waiting for what is answered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from bus import gate
from contracts import events
from contracts.errors import UnknownOutcomeError
from contracts.subjects import Stream

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from bus.connection import Bus

E = TypeVar("E", bound=events.Event)

ANSWER_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 3.0
"""A subscription may miss a message; the stream is read again this often."""


async def say(bus: Bus, subject: str, body: bytes) -> int:
    """Publish once and return the message's sequence.

    An unknown outcome is asked again, which the gate makes harmless; raises UnknownOutcomeError
    after a minute of them.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                with contextlib.suppress(UnknownOutcomeError):
                    return (await gate.publish_once(bus, subject, body)).sequence
    except TimeoutError:
        raise UnknownOutcomeError(f"{subject}: the server did not answer in a minute") from None


async def answer(bus: Bus, subject: str, kind: type[E]) -> E:
    """Wait for an event that answers a command; UnknownOutcomeError if none comes in a minute."""
    arrived = asyncio.Event()

    async def ring(_: Msg) -> None:
        arrived.set()

    subscription = await bus.nc.subscribe(subject, cb=ring)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                with contextlib.suppress(UnknownOutcomeError):  # asked again in a moment
                    found = await gate.last(bus, Stream.EVENTS, subject)
                    if found is not None:
                        return msgspec.json.decode(found.data, type=kind)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                        await arrived.wait()
                arrived.clear()
    except TimeoutError:
        name = subject.split(".", 5)[-1]
        raise UnknownOutcomeError(f"nobody answered {name} within a minute") from None
    finally:
        await subscription.unsubscribe()
