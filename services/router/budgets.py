"""Reservations: who may spend what, written down before the work is published.

Whoever changes a budget because of a job reads the budget, then the job, and then
compares-and-sets the budget, in this order: a job that has ended and was settled between the two
reads is seen to have ended, and one that ends after the second leaves an entry that is dropped.

A campaign's record is made by its first paid job; a tenant's exists only where somebody has set a
limit for it (limits.py). Nobody settles a job by itself: ended entries are dropped by whoever
reserves next in the same record, and by the sweep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from contracts import subjects
from contracts.governance import BudgetRecord, Limit
from contracts.identity import NO_CAMPAIGN
from services.router import budget
from services.router.facts import Held, NoRoom, Seen

if TYPE_CHECKING:
    from contracts.jobs import JobRecord
    from services.router.stores import Stores

log = structlog.get_logger(__name__)

TRIES = 20
"""Compare-and-sets in a row that somebody else may win before the jobs are looked at anew."""

Answer = Held | NoRoom


class Want(NamedTuple):
    """A job that would be published: its key, its record as it was seen, and the limit that its
    request brings along for the campaign.
    """

    key: str
    job: Seen[JobRecord]
    limit: Limit | None


Write = Callable[[str, Sequence[Want]], Awaitable[Mapping[str, Answer]]]
"""Reserves for several jobs in one record; answers by the jobs' keys."""
Share = Callable[[Write, str, Want], Awaitable[Answer]]
"""Lets jobs that ask for the same record at the same moment be written as one."""


async def alone(write: Write, record_key: str, want: Want) -> Answer:
    """Write for one job by itself."""
    return (await write(record_key, [want]))[want.key]


class Budgets:
    """The IO around `budget`. Every method may raise UnknownOutcomeError, and may be repeated."""

    def __init__(self, stores: Stores, share: Share = alone) -> None:
        self._stores = stores
        self._share = share
        self._ended: dict[str, dict[str, float]] = {}

    async def closed(self, tenant: str, campaign_id: str) -> bool:
        """Say whether a campaign was deleted."""
        found = await self._stores.budgets.get(subjects.campaign_key(tenant, campaign_id))
        return found is not None and found.value.closed

    async def reserve(self, key: str, job: Seen[JobRecord], limit: Limit | None) -> Answer:
        """Reserve a job's price: with its campaign, if it has one, and then with its tenant."""
        answer: Answer = Held.RESERVED
        for record_key in record_keys(job.value):
            answer = await self._share(self._write, record_key, Want(key, job, limit))
            if answer is not Held.RESERVED:
                break
        return answer

    def ended(self, key: str, job: JobRecord) -> None:
        """Take note of the charge of a job that has ended: it holds back nobody any more."""
        if job.price > 0:
            for record_key in record_keys(job):
                self._ended.setdefault(record_key, {})[key] = job.charge

    async def settle(self) -> None:
        """Settle every record in which a job was noted to have ended."""
        for record_key in list(self._ended):
            await self.settle_one(record_key)

    async def settle_all(self) -> None:
        """Settle every record that there is: also what another router left behind."""
        for record_key in await self._stores.reserving():
            await self.settle_one(record_key)

    async def settle_one(self, record_key: str) -> None:
        """Drop the entries of ended jobs from one record, and add what they were charged."""
        noted = dict(self._ended.get(record_key, {}))
        seen = await self._stores.budgets.get(record_key)
        if seen is not None and seen.value.reserved:
            after = budget.settle(seen.value, await self._charges(seen.value))
            if after is not seen.value:
                written = await self._stores.budgets.update(record_key, after, seen.revision)
                if written is None:
                    return  # somebody else was faster; the next sweep looks again
                log.debug("budget.settled", key=record_key, spent=after.spent)
        self._forget(record_key, noted)

    async def _write(self, record_key: str, wants: Sequence[Want]) -> Mapping[str, Answer]:
        for _ in range(TRIES):
            seen = await self._stores.budgets.get(record_key)
            answers = _unasked(record_key, seen, wants)
            if answers is not None:
                return answers
            before = seen.value if seen else BudgetRecord()
            # Only now: what a job was before the budget was read says nothing.
            found = await self._stores.jobs.each([w.key for w in wants])
            still = [w for w in wants if _same(found.get(w.key), w.job)]
            noted = dict(self._ended.get(record_key, {}))
            after, answers = _decide(budget.settle(before, noted), record_key, still)
            if any(isinstance(answer, NoRoom) for answer in answers.values()):
                # Before anybody is refused, everybody who may have ended is looked at.
                settled = budget.settle(before, await self._charges(before))
                after, answers = _decide(settled, record_key, still)
            moved = {w.key: Held.MOVED for w in wants}
            if after == before or await self._store(record_key, seen, after):
                self._forget(record_key, noted)
                return moved | answers
        return {w.key: Held.MOVED for w in wants}

    async def _store(
        self, record_key: str, seen: Seen[BudgetRecord] | None, after: BudgetRecord
    ) -> bool:
        if seen is None:
            return await self._stores.budgets.create(record_key, after) is not None
        return await self._stores.budgets.update(record_key, after, seen.revision) is not None

    async def _charges(self, record: BudgetRecord) -> dict[str, float]:
        """Return what the ended ones among a record's entries were charged."""
        found = await self._stores.jobs.each(list(record.reserved))
        ended = {k: seen.value.charge for k, seen in found.items() if seen.value.state.terminal}
        for key in record.reserved:
            if key not in found:  # its campaign was deleted: the ledger outlives the record
                ended[key] = await self._stores.booked(key)
        return ended

    def _forget(self, record_key: str, noted: Mapping[str, float]) -> None:
        """Forget the charges that are in the record now."""
        left = self._ended.get(record_key, {})
        for key in noted:
            left.pop(key, None)
        if not left:
            self._ended.pop(record_key, None)


def record_keys(job: JobRecord) -> list[str]:
    """Return the keys of the budgets that a job spends from; the campaign's comes first."""
    tenant = subjects.tenant_budget_key(job.tenant)
    if job.campaign_id == NO_CAMPAIGN:
        return [tenant]
    return [subjects.campaign_key(job.tenant, job.campaign_id), tenant]


def _unasked(
    record_key: str, seen: Seen[BudgetRecord] | None, wants: Sequence[Want]
) -> dict[str, Answer] | None:
    """Return the answers that need no look at any job, or None."""
    if seen is None:
        # A tenant without a record has no limit; a campaign without one gets it now.
        every: Answer | None = None if _is_campaign(record_key) else Held.RESERVED
    elif seen.value.closed:
        every = Held.CLOSED
    else:
        every = Held.WAIT if seen.value.opening else None
    return None if every is None else {w.key: every for w in wants}


def _decide(
    record: BudgetRecord, record_key: str, wants: Sequence[Want]
) -> tuple[BudgetRecord, dict[str, Answer]]:
    """Reserve for one job after the other, as far as there is room."""
    answers: dict[str, Answer] = {}
    campaign = _is_campaign(record_key)
    for want in wants if campaign else ():
        record = budget.limited(record, want.limit)
    for want in wants:
        after = budget.reserve(record, want.key, want.job.value.price)
        if after is None:
            whose = "campaign" if campaign else "tenant"
            answers[want.key] = NoRoom(budget.left(record, want.key), whose)
        else:
            answers[want.key] = Held.RESERVED
            record = after
    return record, answers


def _same(found: Seen[JobRecord] | None, seen: Seen[JobRecord]) -> bool:
    return found is not None and found.revision == seen.revision


def _is_campaign(record_key: str) -> bool:
    return "." in record_key
