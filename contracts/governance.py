"""The rules by which requests are governed, as records: flags, breakers, budgets.

Each is a record of its own bucket, written by compare-and-set by the router alone. Operators change
them by commands (contracts/operating.py), never by writing here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

Dollars = Annotated[float, msgspec.Meta(ge=0)]


class Limit(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a campaign may cost in all, in US dollars.

    The limit of the highest `revision` counts: a re-run may raise or lower it.
    """

    amount: Dollars
    revision: Annotated[int, msgspec.Meta(ge=1)] = 1


class FlagRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An operator's word on a service; key `<service>`. It overrides the environment's
    `USE_<SERVICE>`. Without a record the environment counts, and without that the service is on.
    """

    enabled: bool
    reason: str = ""
    at: float = 0.0


class BreakerState(StrEnum):
    """Closed lets everything through, open nothing, half-open one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One failure that counts against a service: which start of which job, when, and its code."""

    job_id: str
    attempt: int
    at: float
    code: str


class BreakerRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service's circuit breaker; key `<service>`. Times are Unix seconds.

    `failures` are the ones still within the window. `openings` counts consecutive openings, which
    sets how long the next pause is; `probe` is the id of the job let through half-open, and
    `probe_since` when that was, so that a probe which never ends does not hold the breaker.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: list[Failure] = []
    openings: int = 0
    opened_at: float = 0.0
    retry_at: float = 0.0
    probe: str = ""
    probe_since: float = 0.0
    changed_at: float = 0.0


class BudgetRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a campaign (key `<tenant>.<campaign_id>`) or a tenant (key `<tenant>`) may spend.

    US dollars. `limit` is None for no limit; `revision` is the campaign revision that set it.
    `reserved` maps the keys of unfinished JobRecords to what they may cost at most; `spent` is the
    sum of the charges of those that were dropped from it. `closed`: the campaign was deleted, and
    nothing more may run in it. `opening`: a limit was just set for a tenant whose past is still
    being counted; nothing may be reserved until that is done.
    """

    limit: float | None = None
    revision: int = 0
    spent: float = 0.0
    reserved: dict[str, float] = {}
    closed: bool = False
    opening: bool = False
