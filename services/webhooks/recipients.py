"""Who is told of an event: the request's own webhook, and what the tenant has set for good.

A campaign's webhook is told the campaign's result and not each of its steps'. Whoever wants to hear
of every step sets a webhook of the tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bus.records import Records
from contracts import events, subjects
from contracts.campaign import CampaignRecord
from contracts.identity import NO_CAMPAIGN, is_id
from contracts.jobs import JobRecord
from contracts.subjects import Bucket
from contracts.webhooks import EventKind, WebhookRecord

if TYPE_CHECKING:
    from bus.connection import Bus

_PARTS = 5
"""`adgenx.evt.<tenant>.<campaign_id>.<request_id>` before the event's name."""


class Told(NamedTuple):
    """An event of EVENTS as its subject names it; `at` is when it was stored, in Unix seconds."""

    subject: str
    tenant: str
    campaign_id: str
    request_id: str
    kind: EventKind
    at: float


def told(subject: str, at: float) -> Told | None:
    """Read an event's subject; None if it names nobody who could be told."""
    parts = subject.split(".", _PARTS)
    if len(parts) != _PARTS + 1 or not is_id(parts[2]) or not is_id(parts[4]):
        return None
    _, _, tenant, campaign_id, request_id, name = parts
    of_campaign = name.partition(".")[0] == events.CAMPAIGN_RESULT
    kind: EventKind = "campaign_result" if of_campaign else "generation_result"
    return Told(subject, tenant, campaign_id, request_id, kind, at)


def standing(event: Told, webhooks: list[WebhookRecord]) -> list[str]:
    """Return the addresses that the tenant has set for events of this kind, before it was told."""
    return [
        w.url for w in webhooks if event.at >= w.at and (not w.events or event.kind in w.events)
    ]


class Recipients:
    """Looks up the addresses of an event. Every call may raise UnknownOutcomeError: start over."""

    def __init__(self, bus: Bus) -> None:
        self._jobs = Records(bus, Bucket.JOBS, JobRecord)
        self._campaigns = Records(bus, Bucket.CAMPAIGNS, CampaignRecord)
        self._webhooks = Records(bus, Bucket.WEBHOOKS, WebhookRecord)

    async def of(self, event: Told) -> list[str]:
        """Return every address once."""
        found = await self._webhooks.under(event.tenant)
        own = await self._own(event)
        urls = [*([own] if own else []), *standing(event, [r.value for r in found])]
        return list(dict.fromkeys(urls))

    async def _own(self, event: Told) -> str:
        if event.kind == "campaign_result":
            return await self._of_campaign(event)
        key = subjects.job_key(event.tenant, event.campaign_id, event.request_id)
        job = await self._jobs.get(key)
        url = job.value.webhook if job else ""
        if url and event.campaign_id != NO_CAMPAIGN and url == await self._of_campaign(event):
            return ""
        return url

    async def _of_campaign(self, event: Told) -> str:
        key = subjects.campaign_key(event.tenant, event.campaign_id)
        campaign = await self._campaigns.get(key)
        return campaign.value.webhook if campaign else ""
