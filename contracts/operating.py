"""Commands of operators, and of tenants who tidy up. Each is answered by an `ops_result` event."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from contracts.envelope import Envelope
from contracts.governance import Dollars
from contracts.identity import Id
from contracts.manifest import ServiceName


class SetFlag(Envelope, frozen=True, kw_only=True, tag="set_flag.v1"):
    """Turn a service on or off at once, queued jobs included; None gives it back to the
    environment's `USE_<SERVICE>`.
    """

    service: ServiceName
    enabled: bool | None
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class ResetBreaker(Envelope, frozen=True, kw_only=True, tag="reset_breaker.v1"):
    """Close a service's circuit breaker: somebody has mended what was broken."""

    service: ServiceName


class SetBudget(Envelope, frozen=True, kw_only=True, tag="set_budget.v1"):
    """Limit what a tenant, or one of its campaigns, may spend in all; None takes the limit away."""

    of_tenant: Id
    of_campaign: Id | Literal[""] = ""
    limit: Dollars | None


class InvalidateCache(Envelope, frozen=True, kw_only=True, tag="invalidate_cache.v1"):
    """Forget cached outputs: those that match every criterion given; at least one must be.

    `cache_key` is a JobRecord's, `service` who made them, `prompt` the exact prompt.
    """

    of_tenant: Id | Literal[""] = ""
    cache_key: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")] = ""
    service: ServiceName | Literal[""] = ""
    prompt: Annotated[str, msgspec.Meta(max_length=8000)] = ""


class Prioritise(Envelope, frozen=True, kw_only=True, tag="prioritise.v1"):
    """Put waiting jobs in another order: `rank` 0 goes before everything that no person has
    ranked, lower before higher; None takes the rank away. Without `of_request` it counts for every
    unfinished request of the campaign.
    """

    of_tenant: Id
    of_campaign: Id | Literal["-"] = "-"
    of_request: Id | Literal[""] = ""
    rank: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None


class SettleDead(Envelope, frozen=True, kw_only=True, tag="settle_dead.v1"):
    """Take a buried job out of DEAD: ask for it again under a new request id, or drop it."""

    service: ServiceName
    job_id: Id
    action: Literal["retry", "drop"]


class CancelAll(Envelope, frozen=True, kw_only=True, tag="cancel_all.v1"):
    """Cancel everything unfinished of the tenant that the subject names."""


class DeleteCampaign(Envelope, frozen=True, kw_only=True, tag="delete_campaign.v1"):
    """Delete a campaign with all that it made; one that is open is cancelled first. Its id stays
    taken for ever.
    """


Operation = SetFlag | ResetBreaker | SetBudget | InvalidateCache | Prioritise | SettleDead
"""What an operator may say on `adgenx.ops.<command_id>`."""
