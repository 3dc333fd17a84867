"""What is said on `adgenx.ctl.<tenant>.webhook.<id>`: set a webhook, end it, try a delivery again.

Every command may be carried out twice; it is acknowledged after its answer is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import structlog

from bus import gate, outward
from bus.records import Conflict, Records
from contracts import events, subjects
from contracts.codec import decode_input, encode
from contracts.errors import AdgenxError, ErrorInfo, InvalidRequestError, TransientError
from contracts.identity import NO_CAMPAIGN, is_id
from contracts.subjects import Bucket, ControlSubject, Stream
from contracts.webhooks import (
    DeliveryRecord,
    DeliveryState,
    SetWebhook,
    WebhookCommand,
    WebhookRecord,
)

if TYPE_CHECKING:
    from bus.connection import Bus
    from bus.consume import Delivery

log = structlog.get_logger(__name__)

MAX_WEBHOOKS = 16
"""Of one tenant: each of them makes a delivery of every event."""


class Commands:
    """Carries out commands; `expect` is told of a delivery that waits again."""

    def __init__(
        self,
        bus: Bus,
        expect: Callable[[DeliveryRecord], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._expect = expect
        self._clock = clock
        self._webhooks = Records(bus, Bucket.WEBHOOKS, WebhookRecord)
        self._deliveries = Records(bus, Bucket.DELIVERIES, DeliveryRecord)

    async def carry_out(self, delivery: Delivery) -> None:
        """Carry a command out and answer it. Raises TransientError to be called again."""
        try:
            control = subjects.parse_control(delivery.subject)
        except (AdgenxError, ValueError):
            control = None
        if control is None or not is_id(control.ids[0]):
            log.warning("command.unusable", size_bytes=len(delivery.data))
            return
        if await gate.last(self._bus, Stream.EVENTS, _answer_of(control, delivery)):
            return  # a repeat; what it said may have been taken back since
        error: ErrorInfo | None = None
        try:
            command = decode_input(delivery.data, WebhookCommand)
            if isinstance(command, SetWebhook):
                status = await self._set(control, command, delivery.stored_at)
            else:
                status = await self._retry(control)
        except TransientError:
            raise
        except AdgenxError as refusal:
            status, error = "refused", refusal.info()
        await self._answer(control, delivery, status, error)

    async def _set(self, control: ControlSubject, command: SetWebhook, at: float) -> str:
        key = f"{control.tenant}.{control.ids[0]}"
        found = await self._webhooks.get(key)
        if found is not None and found.value.at > at:
            return "done"  # a repeat of a command that a later one has overtaken
        if not command.url:
            if found is None:
                return "unknown"
            await self._webhooks.delete(key, found.revision)
            return "done"
        outward.read(command.url, private=self._bus.settings.webhook_private)
        if found is None and len(await self._webhooks.under(control.tenant)) >= MAX_WEBHOOKS:
            raise InvalidRequestError(f"a tenant has at most {MAX_WEBHOOKS} webhooks", field="url")
        record = WebhookRecord(
            tenant=control.tenant,
            webhook_id=control.ids[0],
            url=command.url,
            events=list(command.events),
            at=at,
        )
        await self._webhooks.put(key, record)
        log.info("webhook.set", tenant=control.tenant, webhook_id=record.webhook_id)
        return "done"

    async def _retry(self, control: ControlSubject) -> str:
        key = f"{control.tenant}.{control.ids[0]}"
        while True:
            found = await self._deliveries.get(key)
            if found is None:
                return "unknown"
            if found.value.state is DeliveryState.DELIVERED:
                return "too_late"
            if found.value.state is DeliveryState.PENDING:
                return "done"
            again = msgspec.structs.replace(
                found.value,
                state=DeliveryState.PENDING,
                attempts=0,
                next_at=self._clock(),
                ended_at=0.0,
            )
            if not isinstance(await self._deliveries.update(key, again, found.revision), Conflict):
                self._expect(again)
                return "done"

    async def _answer(
        self, control: ControlSubject, delivery: Delivery, status: str, error: ErrorInfo | None
    ) -> None:
        event = events.CommandResult(
            request_id=control.ids[0], at=delivery.stored_at, status=status, error=error
        )
        await gate.publish_once(self._bus, _answer_of(control, delivery), encode(event))


def _answer_of(control: ControlSubject, delivery: Delivery) -> str:
    """Return the answer's subject: a webhook may be set again, each command has its own."""
    name = f"{events.WEBHOOK_RESULT}.{delivery.sequence}"
    return subjects.event(control.tenant, NO_CAMPAIGN, control.ids[0], name)
