"""Commands about webhooks: set, end, list, retry, and the keys that they are signed with."""

from __future__ import annotations

import sys
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from bus import settings
from bus.records import Records
from bus.webhook_keys import Keyring
from contracts import events, subjects
from contracts.codec import encode
from contracts.errors import InvalidRequestError
from contracts.identity import NO_CAMPAIGN, check_id
from contracts.subjects import Bucket
from contracts.webhooks import (
    DeliveryRecord,
    DeliveryState,
    RetryDelivery,
    SetWebhook,
    WebhookCommand,
    WebhookRecord,
)
from services.cli import asking
from services.cli.exit_status import ExitStatus
from services.cli.reach import reached

if TYPE_CHECKING:
    import argparse

    from bus.connection import Bus

NONE_DEAD = "no dead delivery\n"


async def set_webhook(given: argparse.Namespace) -> ExitStatus:
    """Tell an address of every result from now on."""
    webhook_id = check_id(given.id or f"w-{uuid.uuid4().hex[:8]}", "id")
    command = SetWebhook(url=given.url, events=given.events or [])
    async with reached() as bus:
        answer = await _command(bus, bus.settings.tenant, webhook_id, command)
    return _report(webhook_id, answer)


async def end(given: argparse.Namespace) -> ExitStatus:
    """Tell an address no longer."""
    check_id(given.id, "id")
    async with reached() as bus:
        answer = await _command(bus, bus.settings.tenant, given.id, SetWebhook(url=""))
    return _report(given.id, answer)


async def list_webhooks(given: argparse.Namespace) -> ExitStatus:
    """List the webhooks that are set and the deliveries that are kept; every tenant's."""
    async with reached() as bus:
        standing = await Records(bus, Bucket.WEBHOOKS, WebhookRecord).under()
        deliveries = await deliveries_of(bus)
    if given.dead:
        standing = []
        deliveries = [d for d in deliveries if d.state is DeliveryState.DEAD]
    if given.json:
        for value in (*(w.value for w in standing), *deliveries):
            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        return ExitStatus.OK
    for webhook in (w.value for w in standing):
        kinds = ", ".join(webhook.events) or "every result"
        line = f"{webhook.webhook_id:<30}  set        {webhook.tenant}  {kinds}"
        sys.stdout.write(f"{line}  {address(webhook.url)}\n")
    for delivery in deliveries:
        sys.stdout.write(_line(delivery) + "\n")
    if not standing and not deliveries:
        sys.stdout.write(NONE_DEAD if given.dead else "no webhook, and no delivery\n")
    return ExitStatus.OK


async def retry(given: argparse.Namespace) -> ExitStatus:
    """Try dead deliveries again: those that are named, or all of them."""
    if not given.delivery and not given.all:
        raise InvalidRequestError("name a delivery, or give --all", field="delivery")
    for delivery_id in given.delivery:
        check_id(delivery_id, "delivery")
    async with reached() as bus:
        dead = [d for d in await deliveries_of(bus) if d.state is DeliveryState.DEAD]
        tenants = {d.delivery_id: d.tenant for d in dead}
        wanted = list(tenants) if given.all else given.delivery
        if not wanted:
            sys.stdout.write(NONE_DEAD)
        worst = ExitStatus.OK
        for delivery_id in wanted:
            tenant = tenants.get(delivery_id, bus.settings.tenant)
            answer = await _command(bus, tenant, delivery_id, RetryDelivery())
            worst = max(worst, _report(delivery_id, answer))
    return worst


async def key(given: argparse.Namespace) -> ExitStatus:
    """Show the keys that a tenant's webhooks are signed with on this machine, newest first.

    It is made when it is first needed. After a rotation the older ones sign on for a day.
    """
    keyring = Keyring(settings.load().secrets_dir)
    act = keyring.rotate if given.rotate else keyring.signing
    for found in act(given.tenant, time.time()):
        until = f"  until {_when(found.until)}" if found.until else ""
        sys.stdout.write(f"{found.key}{until}\n")
    return ExitStatus.OK


async def deliveries_of(bus: Bus) -> list[DeliveryRecord]:
    """Return every delivery that is kept, oldest first."""
    found = await Records(bus, Bucket.DELIVERIES, DeliveryRecord).under()
    return sorted((r.value for r in found), key=lambda d: d.created_at)


def address(url: str) -> str:
    """Return the URL as it is shown: its query may be the receiver's secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?…' if parts.query else ''}"


async def _command(
    bus: Bus, tenant: str, name: str, command: WebhookCommand
) -> events.CommandResult:
    sequence = await asking.say(bus, subjects.webhook(tenant, name), encode(command))
    event = f"{events.WEBHOOK_RESULT}.{sequence}"
    subject = subjects.event(tenant, NO_CAMPAIGN, name, event)
    return await asking.answer(bus, subject, events.CommandResult)


def _report(name: str, answer: events.CommandResult) -> ExitStatus:
    if answer.error is not None:
        sys.stderr.write(f"adgenx: {answer.error.code}: {answer.error.message}\n")
        return ExitStatus.INVALID
    sys.stdout.write(f"{name}: {answer.status}\n")
    return ExitStatus.OK if answer.status == "done" else ExitStatus.FAILED


def _line(delivery: DeliveryRecord) -> str:
    attempts = f"{delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
    event = delivery.subject.removeprefix("adgenx.evt.")
    line = f"{delivery.delivery_id:<30}  {delivery.state:<9}  {event}  {address(delivery.url)}"
    return "  ".join(filter(None, [line, attempts, delivery.error]))


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
