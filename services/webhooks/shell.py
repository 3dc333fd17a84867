"""The webhooks' process: events in, deliveries out.

    EVENTS (durable)    a result was told     -> one delivery record per address, ack
    CONTROL (durable)   a webhook is set      -> record, answer, ack
    sender              what is pending       -> attempts until it is delivered or dead

The event is acknowledged once its records exist; from then on they are what is owed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from bus import outward
from bus.consume import Delivery, ack, consume
from bus.exchange import Exchange
from bus.outward import Resolve
from bus.records import Conflict, Records
from bus.topology import durable, ensure_consumer
from bus.webhook_keys import Keyring
from contracts import subjects
from contracts.subjects import Bucket, Stream
from contracts.webhooks import DeliveryRecord, DeliveryState
from services.webhooks import letter
from services.webhooks.agenda import IN_FLIGHT as SENDERS
from services.webhooks.commands import Commands
from services.webhooks.recipients import Recipients, Told, told
from services.webhooks.sender import Sender

if TYPE_CHECKING:
    from bus.connection import Bus

log = structlog.get_logger(__name__)

DURABLE = "webhooks"
"""Shared by all senders: the server gives each message to one of them."""
IN_FLIGHT = 64


class Webhooks:
    """One process of the webhooks. Any number of them may run at once."""

    def __init__(
        self,
        bus: Bus,
        clock: Callable[[], float] = time.time,
        resolve: Resolve = outward.resolve,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._exchange = Exchange(threads=SENDERS)
        self._recipients = Recipients(bus)
        self._deliveries = Records(bus, Bucket.DELIVERIES, DeliveryRecord)
        keyring = Keyring(bus.settings.secrets_dir)
        self._sender = Sender(bus, self._exchange, keyring, clock, resolve)
        self._commands = Commands(bus, self._sender.expect, clock)

    async def run(self) -> None:
        """Work until the bus is stopping, then finish what is in hand."""
        for stream, filters in (
            (Stream.CONTROL, [subjects.webhook_pattern()]),
            (Stream.EVENTS, [*subjects.result_patterns(), subjects.campaign_result_pattern()]),
        ):
            wanted = durable(DURABLE, filters, ack_wait_seconds=self._bus.settings.ack_wait_seconds)
            await ensure_consumer(self._bus, stream, wanted)
        self._bus.on_reconnect(self._sender.look)
        log.info("webhooks.started")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._consume(Stream.CONTROL, self._commanded))
                group.create_task(self._consume(Stream.EVENTS, self._told))
                group.create_task(self._sender.run())
        finally:
            await asyncio.to_thread(self._exchange.close)
        log.info("webhooks.drained")

    async def _consume(self, stream: Stream, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        await consume(self._bus, stream, DURABLE, handle, in_flight=IN_FLIGHT)

    async def _commanded(self, delivery: Delivery) -> None:
        await self._commands.carry_out(delivery)
        await ack(self._bus, delivery)

    async def _told(self, delivery: Delivery) -> None:
        event = told(delivery.subject, delivery.stored_at)
        if event is not None:
            for url in await self._recipients.of(event):
                await self._owe(event, url)
        await ack(self._bus, delivery)

    async def _owe(self, event: Told, url: str) -> None:
        """Write down that this address is to be told, once for ever."""
        now = self._clock()
        record = DeliveryRecord(
            tenant=event.tenant,
            delivery_id=letter.delivery_id(event.subject, url),
            subject=event.subject,
            url=url,
            state=DeliveryState.PENDING,
            created_at=now,
            next_at=now,
        )
        key = f"{record.tenant}.{record.delivery_id}"
        created = await self._deliveries.create(key, record)
        if not isinstance(created, Conflict):
            self._sender.expect(record)
