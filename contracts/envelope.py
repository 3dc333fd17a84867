"""What every message has. The subject is the authority for the ids: the body may repeat them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from contracts.capability import Tier
from contracts.governance import Limit


class Envelope(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
):
    """Fields common to all requests.

    `type` (the tag) carries the version. `sent_at` is Unix seconds; `deadline_seconds` counts from
    acceptance, 0 for none; `priority` 0 (batch) to 9 (interactive); `traceparent` is W3C's;
    `provider` names a service if the client wants that one; `labels` come back in every event.

    What may be spent: `max_cost` is the most that this request may cost in US dollars, 0 for no
    limit; `budget` is what its whole campaign may cost. `markets` are the territories in which the
    output will be shown (ISO 3166-1 alpha-2); a service whose licence excludes one is not used.
    `allow_draft` lets a draft engine do a production request that no production service can do.
    `fresh` asks for new work even where an equal output lies in the cache. `webhook` is told the
    result over HTTP.
    """

    request_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    campaign_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    tenant: Annotated[str, msgspec.Meta(max_length=64)] = ""
    sent_at: float = 0.0
    deadline_seconds: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 0.0
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 5
    traceparent: Annotated[str, msgspec.Meta(max_length=64)] = ""
    tier: Tier = Tier.DRAFT
    provider: Annotated[str, msgspec.Meta(max_length=64)] = ""
    labels: Annotated[
        dict[str, Annotated[str, msgspec.Meta(max_length=200)]], msgspec.Meta(max_length=16)
    ] = {}
    max_cost: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    budget: Limit | None = None
    markets: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{2}\Z")]], msgspec.Meta(max_length=64)
    ] = []
    allow_draft: bool = False
    fresh: bool = False
    webhook: Annotated[str, msgspec.Meta(max_length=2000)] = ""


ENVELOPE_FIELDS = frozenset(Envelope.__struct_fields__)
"""Fields that never change what is made, so that they do not count in a cache key."""
