"""On what terms a campaign's steps are asked for: everything in their envelopes. Pure.

None of it is part of what a request asks for: a step that is asked for again on other terms, with
less time left or under a raised budget, is the same request. The campaign's webhook stays with the
campaign: it is told one result, not that of every step.
"""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.brief import Brief
from contracts.brief_check import BUDGET_CURRENCY
from contracts.campaign import CampaignRecord, RerunCampaign, RunCampaign
from contracts.governance import Limit
from services.coordinator.telling import request_id_of, step_labels

_SHORTEST_SECONDS = 0.001
"""A deadline of 0 would be none."""


def agreed(message: RunCampaign | RerunCampaign, at: float) -> dict[str, Any]:
    """Return the fields of a campaign's record that its message's envelope sets.

    `at` is when it was accepted, in Unix seconds: a deadline counts from there.
    """
    limits = [message.max_cost] if message.max_cost else []
    if message.budget is not None:
        limits.append(message.budget.amount)
    return {
        "priority": message.priority,
        "deadline_at": at + message.deadline_seconds if message.deadline_seconds else 0.0,
        "webhook": message.webhook,
        "max_cost": min(limits, default=None),
        "markets": message.markets,
        "allow_draft": message.allow_draft,
        "traceparent": message.traceparent,
        "labels": message.labels,
    }


def envelope(record: CampaignRecord, step: str, now: float) -> dict[str, Any]:
    """Return the envelope of a step that is asked for at `now` (Unix seconds)."""
    limit = budget(record)
    remaining = max(_SHORTEST_SECONDS, record.deadline_at - now) if record.deadline_at else 0.0
    return {
        "request_id": request_id_of(record, step),
        "campaign_id": record.campaign_id,
        "tenant": record.tenant,
        "priority": record.priority,
        "deadline_seconds": round(remaining, 3),
        "budget": msgspec.to_builtins(limit) if limit else None,
        "markets": markets(record),
        "allow_draft": allow_draft(record),
        "traceparent": record.traceparent,
        "labels": step_labels(record, step),
    }


def allow_draft(record: CampaignRecord) -> bool:
    """Say whether a draft is better than nothing: by its brief's word or its message's."""
    return record.allow_draft or record.brief.allow_draft


def budget(record: CampaignRecord) -> Limit | None:
    """Return what the campaign may cost: the least of what its brief and its message allow."""
    said = [_amount(record.brief), record.max_cost]
    limits = [amount for amount in said if amount is not None]
    return Limit(amount=min(limits), revision=record.revision) if limits else None


def markets(record: CampaignRecord) -> list[str]:
    """Return where it will be shown: the brief's word, the message's, or its locales' regions."""
    regions = dict.fromkeys(locale.partition("-")[2] for locale in record.brief.locales)
    return record.brief.markets or record.markets or list(regions)


def _amount(brief: Brief) -> float | None:
    """Return the brief's budget; one in another currency was only let in with an amount of 0."""
    if brief.budget is None or (brief.budget.currency != BUDGET_CURRENCY and brief.budget.amount):
        return None
    return brief.budget.amount
