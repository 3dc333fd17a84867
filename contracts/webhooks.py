"""Webhooks: who is told over HTTP, and how far each delivery is.

Bodies and signatures follow Standard Webhooks: headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`. Keys never stand in a record: they are files of the sender's machine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from contracts.envelope import Envelope

EventKind = Literal["generation_result", "campaign_result"]
"""What may be told; an event's `type` without its version."""


class SetWebhook(Envelope, frozen=True, kw_only=True, tag="set_webhook.v1"):
    """Tell this address of every result of the tenant from now on; an empty `url` ends that.

    `events` chooses what is told; empty means everything. The answer is the CommandResult
    `webhook_result.<sequence>`, where the sequence is the one that CONTROL gave to the command: a
    webhook may be set again under its id, and each time is answered.
    """

    url: Annotated[str, msgspec.Meta(max_length=2000)]
    events: Annotated[list[EventKind], msgspec.Meta(max_length=16)] = []


class RetryDelivery(Envelope, frozen=True, kw_only=True, tag="retry_delivery.v1"):
    """Try a dead delivery again, from the first attempt on; the subject names it. Answered as
    SetWebhook is.
    """


WebhookCommand = SetWebhook | RetryDelivery
"""What may be said on `adgenx.ctl.<tenant>.webhook.<id>`."""


class WebhookRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tenant's standing webhook; key `<tenant>.<webhook_id>`."""

    tenant: str
    webhook_id: str
    url: str
    events: list[str] = []
    at: float = 0.0


class DeliveryState(StrEnum):
    """Where a delivery stands; the last two are terminal."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event on its way to one address; key `<tenant>.<webhook-id header>`.

    `subject` is where the event stands in EVENTS. Times are Unix seconds; `status` is the last
    answer's HTTP status, 0 if there was none.
    """

    tenant: str
    delivery_id: str
    subject: str
    url: str
    state: DeliveryState
    created_at: float
    attempts: int = 0
    next_at: float = 0.0
    status: int = 0
    error: str = ""
    ended_at: float = 0.0
