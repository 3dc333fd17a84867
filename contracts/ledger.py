"""The ledger: one entry for every output that was made and is paid for."""

from __future__ import annotations

import msgspec


class Charge(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="charge.v1"
):
    """What one request cost, in US dollars; `at` is when its job ended, in Unix seconds."""

    tenant: str
    campaign_id: str
    request_id: str
    job_id: str
    service: str
    amount: float
    at: float
    labels: dict[str, str] = {}
