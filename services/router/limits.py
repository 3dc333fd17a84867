"""Setting a limit, for a campaign or for a tenant.

A tenant's record exists only where somebody limits the tenant, so that its past has to be counted
when it is made. That takes two writes: the first one stops every reservation (`opening`), the
second one starts them again with what was spent and what may yet be. Whoever saw no record before
the first write had its own job's record before that, and is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from contracts import subjects
from contracts.errors import InvalidRequestError
from contracts.governance import BudgetRecord
from contracts.identity import NO_CAMPAIGN
from contracts.jobs import JobRecord
from services.router.facts import Seen
from services.router.operations import Done

if TYPE_CHECKING:
    from contracts.operating import SetBudget
    from services.router.stores import Past, Stores

log = structlog.get_logger(__name__)

MOST_OPEN = 5000
"""Paid requests that a tenant may have under way when its first limit is set: a record is small."""
COUNTED_AT_ONCE = 500


class Limits:
    """Carries out `SetBudget`. Safe to repeat, and by two routers at once."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def set_limit(self, command: SetBudget) -> Done:
        """Set or take away a limit; raises UnknownOutcomeError to be called again."""
        if command.of_campaign:
            return await self._of_campaign(command)
        return await self._of_tenant(command)

    async def _of_campaign(self, command: SetBudget) -> Done:
        key = subjects.campaign_key(command.of_tenant, command.of_campaign)
        while True:
            seen = await self._stores.budgets.get(key)
            before = seen.value if seen else BudgetRecord()
            if before.closed:
                return Done(0, f"{key} was deleted", "refused")
            # At least the first revision's: what the brief itself says must not come after it.
            after = msgspec.structs.replace(
                before, limit=command.limit, revision=max(1, before.revision)
            )
            if after == before:
                return Done(0, _sentence(after))
            if await self._write(key, seen, after):
                log.info("budget.limited", key=key, limit=command.limit)
                return Done(1, _sentence(after))

    async def _of_tenant(self, command: SetBudget) -> Done:
        key = subjects.tenant_budget_key(command.of_tenant)
        while True:
            seen = await self._stores.budgets.get(key)
            if command.limit is None:
                if seen is None:
                    return Done(0, "it has no limit")
                if await self._stores.budgets.delete(key, seen.revision):
                    log.info("budget.limited", key=key, limit=None)
                    return Done(1, "it has no limit any more")
            elif seen is None:
                opening = BudgetRecord(limit=command.limit, opening=True)
                await self._stores.budgets.create(key, opening)
            elif seen.value.opening:
                counted = await self._counted(command.of_tenant, seen)
                after = msgspec.structs.replace(counted, limit=command.limit)
                if await self._write(key, seen, after):
                    log.info("budget.limited", key=key, limit=command.limit, spent=after.spent)
                    return Done(1, _sentence(after))
            else:
                after = msgspec.structs.replace(seen.value, limit=command.limit)
                if after == seen.value:
                    return Done(1, _sentence(after))
                if await self._write(key, seen, after):
                    log.info("budget.limited", key=key, limit=command.limit)
                    return Done(1, _sentence(after))

    async def _counted(self, tenant: str, seen: Seen[BudgetRecord]) -> BudgetRecord:
        """Return an opening record with the tenant's past in it."""
        past = await self._stores.past(tenant)
        entries = await self._entries(past)
        if len(entries) > MOST_OPEN:
            await self._stores.budgets.delete(subjects.tenant_budget_key(tenant), seen.revision)
            raise InvalidRequestError(
                f"{len(entries)} paid requests are under way; at most {MOST_OPEN} may be when a "
                "tenant's first limit is set",
                field="of_tenant",
            )
        return msgspec.structs.replace(
            seen.value, spent=past.spent, reserved=entries, opening=False
        )

    async def _entries(self, past: Past) -> dict[str, float]:
        """Return what each job may yet be charged that could have been published already."""
        keys = sorted(past.unfinished | past.reserved)
        entries = {}
        for start in range(0, len(keys), COUNTED_AT_ONCE):
            jobs = await self._stores.jobs.each(keys[start : start + COUNTED_AT_ONCE])
            for key, seen in jobs.items():
                if _counts(seen.value, reserved=key in past.reserved):
                    entries[key] = seen.value.price
        return entries

    async def _write(self, key: str, seen: Seen[BudgetRecord] | None, after: BudgetRecord) -> bool:
        if seen is None:
            return await self._stores.budgets.create(key, after) is not None
        return await self._stores.budgets.update(key, after, seen.revision) is not None


def _counts(job: JobRecord, *, reserved: bool) -> bool:
    """Say whether a job that the ledger does not know may be charged without asking the tenant's
    record first. In a campaign it has reserved there before, or has ended already.
    """
    if job.state.terminal:
        return job.charge > 0
    return job.price > 0 and (reserved or job.campaign_id == NO_CAMPAIGN)


def _sentence(record: BudgetRecord) -> str:
    if record.limit is None:
        return f"no limit; {record.spent:.2f} US dollars spent"
    held = sum(record.reserved.values())
    return (
        f"{record.limit:.2f} US dollars; {record.spent:.2f} spent, {held:.2f} reserved for "
        f"{len(record.reserved)} unfinished requests"
    )
