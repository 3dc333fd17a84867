"""A receiver that misbehaves as it is told, events as a router tells them, and senders."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from bus_servers import eventually

from bus import gate
from bus.connection import Bus, connected
from bus.records import Records
from bus.settings import Settings
from bus.webhook_keys import Keyring
from contracts import events, subjects
from contracts.capability import Capability
from contracts.codec import encode
from contracts.identity import job_id_of
from contracts.jobs import JobRecord, JobState
from contracts.subjects import Bucket, Stream
from contracts.webhook_signature import verify
from contracts.webhooks import DeliveryRecord, DeliveryState, WebhookRecord
from services.webhooks.letter import delivery_id
from services.webhooks.shell import Webhooks

TENANT = "acme"
PACE = 0.01


@dataclass
class Letter:
    """One request as the receiver got it."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]


Respond = Callable[[Letter, int], bytes | None]
"""From a letter and how often its id came before to an answer; None resets the connection."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def status(code: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} Said", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


@dataclass
class Receiver:
    """An HTTP server of a few lines; `hanging` paths are read and never answered."""

    respond: Respond = lambda _letter, _count: OK
    letters: list[Letter] = field(default_factory=list)
    hanging: set[str] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def of(self, message_id: str) -> list[Letter]:
        return [x for x in self.letters if x.message_id == message_id]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            letter = await _read(reader)
            count = len(self.of(letter.message_id))
            self.letters.append(letter)
            self.arrived.set()
            if letter.path in self.hanging:
                await reader.read()  # until the sender gives up
            elif (answer := self.respond(letter, count)) is None:
                sock: socket.socket = writer.get_extra_info("socket")
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Letter:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
    }
    body = await reader.readexactly(int(headers["content-length"]))
    return Letter(head[0].split()[1], headers, body, time.time())


@contextlib.asynccontextmanager
async def receiving(respond: Respond = lambda _letter, _count: OK) -> AsyncIterator[Receiver]:
    made = Receiver(respond)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


class Rig:
    """The router's side, and what the records say."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus = bus
        self.settings = settings
        self.jobs = Records(bus, Bucket.JOBS, JobRecord)
        self.deliveries = Records(bus, Bucket.DELIVERIES, DeliveryRecord)
        self.webhooks = Records(bus, Bucket.WEBHOOKS, WebhookRecord)

    async def end(
        self, request_id: str, webhook: str = "", campaign_id: str = "-", tenant: str = TENANT
    ) -> str:
        """End a request as a router does: its record first, then its result; return the subject."""
        job = JobRecord(
            tenant=tenant,
            campaign_id=campaign_id,
            request_id=request_id,
            capability=Capability.IMAGE,
            job_id=job_id_of(tenant, campaign_id, request_id),
            state=JobState.OK,
            request_hash="",
            accepted_at=1.0,
            webhook=webhook,
        )
        await self.jobs.create(f"{tenant}.{campaign_id}.{request_id}", job)
        event = events.GenerationResult(
            request_id=request_id, at=1.5, capability="image", status="ok"
        )
        name = Capability.IMAGE.result_event
        subject = subjects.event(tenant, campaign_id, request_id, name)
        await gate.publish_once(self.bus, subject, encode(event))
        return subject

    async def owe(self, subject: str, url: str) -> None:
        """Leave a delivery as a sender does that dies before its first attempt."""
        record = DeliveryRecord(
            tenant=TENANT,
            delivery_id=delivery_id(subject, url),
            subject=subject,
            url=url,
            state=DeliveryState.PENDING,
            created_at=1.0,
        )
        await self.deliveries.create(f"{TENANT}.{record.delivery_id}", record)

    async def command(self, name: str, command: msgspec.Struct | bytes) -> events.CommandResult:
        """Say something of a webhook, and return the answer."""
        body = command if isinstance(command, bytes) else encode(command)
        told = await gate.publish_once(self.bus, subjects.webhook(TENANT, name), body)
        answer = subjects.event(TENANT, "-", name, f"{events.WEBHOOK_RESULT}.{told.sequence}")

        async def answered() -> bool:
            return await gate.last(self.bus, Stream.EVENTS, answer) is not None

        await eventually(answered)
        found = await gate.last(self.bus, Stream.EVENTS, answer)
        assert found is not None
        return msgspec.json.decode(found.data, type=events.CommandResult)

    async def records(self) -> list[DeliveryRecord]:
        return [r.value for r in await self.deliveries.under()]

    async def settled(self, count: int) -> list[DeliveryRecord]:
        """Wait until so many deliveries exist and none is pending."""

        async def over() -> bool:
            found = await self.records()
            pending = any(r.state is DeliveryState.PENDING for r in found)
            return len(found) == count and not pending

        await eventually(over)
        return await self.records()

    def genuine(self, letter: Letter, tenant: str = TENANT) -> bool:
        """Say whether a letter's signature is the tenant's; raises if it is not."""
        keys = [k.key for k in Keyring(self.settings.secrets_dir).signing(tenant, time.time())]
        return verify(letter.headers, letter.body, keys, time.time()) == letter.message_id


def sender_settings(nats: Settings, secrets: Path, pace: float = PACE) -> Settings:
    return msgspec.structs.replace(
        nats, secrets_dir=secrets, webhook_private=True, webhook_pace=pace, ack_wait_seconds=2.0
    )


@contextlib.asynccontextmanager
async def sending(settings: Settings) -> AsyncIterator[Bus]:
    """Run a sender in this process for the length of a block; it ends in order."""
    async with connected(settings, "webhooks") as bus:
        task = asyncio.create_task(Webhooks(bus).run())
        try:
            yield bus
        finally:
            bus.stopping.set()
            await task


def environment(settings: Settings) -> dict[str, str]:
    """Return the settings as a process of its own reads them; it touches no artifact."""
    given = {
        "NATS_URL": settings.nats_url,
        "NATS_USER": settings.nats_user,
        "NATS_PASSWORD": settings.nats_password.reveal(),
        "S3_ACCESS_KEY": "never-used",
        "S3_SECRET_KEY": "never-used",
        "MAKE_DURABLE": "server",
        "DATA_DIR": str(settings.data_dir),
        "SECRETS_DIR": str(settings.secrets_dir),
        "WEBHOOK_PRIVATE": "true",
        "WEBHOOK_PACE": str(settings.webhook_pace),
        "TENANT": settings.tenant,
        "ACK_WAIT_SECONDS": str(settings.ack_wait_seconds),
    }
    return {**os.environ, **{f"ADGENX_{k}": v for k, v in given.items()}}


class Process:
    """A sender as a process of its own, to be killed."""

    def __init__(self, settings: Settings) -> None:
        self._env = environment(settings)
        self._argv = [sys.executable, "-m", "services.webhooks.run"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._argv, env=self._env)

    def kill(self) -> None:
        """End it with SIGKILL, wherever it is."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
