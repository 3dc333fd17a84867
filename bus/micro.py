"""NATS micro discovery: `nats micro ls`, `ping`, `info` and `stats` see every process.

ADR-32 of NATS, by hand: three subscriptions, a few JSON answers, and metadata that is read when it
is asked for (nats-py's own keeps what it was given at the start, and drains for seconds). What a
process takes from JetStream is no micro endpoint, so that none is listed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors

from bus import device, health
from contracts import subjects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

    from bus.connection import Bus

DISTRIBUTION = "adgenxai"
UNKNOWN_VERSION = "0.0.0"
PING_SECONDS = 1.0
_TYPE = "io.nats.micro.v1.{}_response"
_VERB = 1


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is, beside its name. A role has neither tier nor version of its own."""

    version: str = ""
    tier: str = ""
    description: str = ""


class Pong(msgspec.Struct, kw_only=True):
    """One process's answer to a ping; its metadata say how it is: `state`, and `why`."""

    id: str
    name: str
    version: str = ""
    metadata: dict[str, str] = {}


_pong = msgspec.json.Decoder(Pong)


@cache
def release_version() -> str:
    """Return the version of this release."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return UNKNOWN_VERSION


class Answerer:
    """One process as `nats micro` sees it."""

    def __init__(self, bus: Bus, name: str, about: About) -> None:
        self._bus = bus
        self._name = name
        self._about = about
        self._id = secrets.token_hex(10)
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def answer(self, message: Msg) -> None:
        """Answer what is asked of everybody, of this name, or of this very process."""
        verb, *whom = message.subject.split(".")[_VERB:]
        if not message.reply or whom not in ([], [self._name], [self._name, self._id]):
            return
        body = self._body(verb)
        if body is not None:
            with contextlib.suppress(nats.errors.Error, OSError):  # whoever asks, asks again
                await self._bus.publish(message.reply, msgspec.json.encode(body))

    def _body(self, verb: str) -> dict[str, Any] | None:
        told: dict[str, Any] = {
            "name": self._name,
            "id": self._id,
            "version": self._about.version or release_version(),
            "metadata": self._metadata(),
        }
        match verb:
            case "PING":
                return {**told, "type": _TYPE.format("ping")}
            case "INFO":
                described = {"description": self._about.description, "endpoints": []}
                return {**told, **described, "type": _TYPE.format("info")}
            case "STATS":
                counted = {"started": self._started, "endpoints": []}
                return {**told, **counted, "type": _TYPE.format("stats")}
        return None

    def _metadata(self) -> dict[str, str]:
        found = health.of_process(self._bus)
        reason = self._bus.reason()
        told = {
            "host": device.host(),
            "release": release_version(),
            "state": health.UNAVAILABLE if reason else found.status,
            "why": "; ".join(filter(None, [*found.why, reason])),
            "tier": self._about.tier,
        }
        return {name: value for name, value in told.items() if value}


@contextlib.asynccontextmanager
async def answering(bus: Bus, name: str, about: About) -> AsyncIterator[None]:
    """Be found for the length of a block."""
    answerer = Answerer(bus, name, about)
    listening = [
        await bus.nc.subscribe(subject, cb=answerer.answer)
        for subject in subjects.discovery_patterns(name)
    ]
    try:
        yield
    finally:
        for subscription in listening:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()


async def ping(bus: Bus, seconds: float = PING_SECONDS) -> list[Pong]:
    """Return every process that answers within so many seconds."""
    found: list[Pong] = []

    async def hear(message: Msg) -> None:
        with contextlib.suppress(msgspec.DecodeError):  # somebody else's service, of another form
            found.append(_pong.decode(message.data))

    inbox = bus.nc.new_inbox()
    listening = await bus.nc.subscribe(inbox, cb=hear)
    try:
        await bus.nc.publish(subjects.DISCOVERY_PING, b"", reply=inbox)
        await asyncio.sleep(seconds)  # nobody knows how many will answer
    finally:
        await listening.unsubscribe()
    return found
