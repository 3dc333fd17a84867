"""Webhooks: who is told over HTTP, and how far each delivery is.

Bodies and signatures follow Standard Webhooks: headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`. Keys never stand in a record: they are files of the sender's machine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from contracts.envelope import Envelope

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class SetWebhook(Envelope, frozen=True, kw_only=True, tag="set_webhook.v1"):
    """Tell this address of every result of the tenant from now on; an empty `url` ends that.

    `events` chooses among `generation_result` and `campaign_result`; empty means both.
    """

    url: Annotated[str, msgspec.Meta(max_length=2000)]
    events: Annotated[list[str], msgspec.Meta(max_length=16)] = []


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
