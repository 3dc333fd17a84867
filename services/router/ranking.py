"""A person's order among the waiting: `Prioritise` writes a rank into records of jobs.

A rank counts for what has been asked: the one request named, or every unfinished one of the
campaign. Steps that the campaign asks later go by its priority like anything else, until the
command is given again; so a rank ends by itself, and nothing has to be tidied up after a campaign.

The router that carries the command out sorts anew at once; another one learns it from the record,
at the latest when its sweep looks at the job afresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from bus.records import Conflict, Record
from contracts.subjects import campaign_key, job_key
from services.router.operations import Done

if TYPE_CHECKING:
    from contracts.jobs import JobRecord
    from contracts.operating import Prioritise

log = structlog.get_logger(__name__)

WIDTH = 32
"""Records written side by side."""


class Shelf(Protocol):
    """The records of jobs, as bus.records has them."""

    async def get(self, key: str) -> Record[JobRecord] | None:
        """Return the record, or None."""

    async def update(self, key: str, value: JobRecord, revision: int) -> int | Conflict:
        """Replace the value if the record is still at this revision."""

    async def under(self, prefix: str = "") -> list[Record[JobRecord]]:
        """Return every record below a prefix."""


class Ranking:
    """Carries out `Prioritise`. Safe to repeat, and by two routers at once.

    `ranked(key, job)` is called with every record that was written.
    """

    def __init__(self, shelf: Shelf, ranked: Callable[[str, JobRecord], None]) -> None:
        self._shelf = shelf
        self._ranked = ranked

    async def prioritise(self, command: Prioritise) -> Done:
        """Rank what the command names; UnknownOutcomeError to be called again."""
        of_campaign = campaign_key(command.of_tenant, command.of_campaign)
        if command.of_request:
            key = job_key(command.of_tenant, command.of_campaign, command.of_request)
            one = await self._shelf.get(key)
            found = [one] if one else []
        else:
            found = await self._shelf.under(of_campaign)
        if not found:
            return Done(0, f"nothing is known of {command.of_request or of_campaign}", "unknown")
        width = asyncio.Semaphore(WIDTH)

        async def rank(record: Record[JobRecord]) -> bool:
            async with width:
                return await self._rank(record, command.rank)

        changed = sum(await asyncio.gather(*map(rank, found)))
        log.info("jobs.ranked", campaign=of_campaign, rank=command.rank, jobs=changed)
        return Done(changed, _sentence(changed, command.rank))

    async def _rank(self, record: Record[JobRecord] | None, rank: int | None) -> bool:
        """Write the rank into one record; False if it is over, or ranked so already."""
        while record is not None:
            job = record.value
            if job.state.terminal or job.rank == rank:
                return False
            ranked = msgspec.structs.replace(job, rank=rank)
            written = await self._shelf.update(record.key, ranked, record.revision)
            if not isinstance(written, Conflict):
                self._ranked(record.key, ranked)
                return True
            record = await self._shelf.get(record.key)
        return False


def _sentence(changed: int, rank: int | None) -> str:
    if not changed:
        return "nothing to change: it is over, or was ranked so already"
    jobs = "1 job" if changed == 1 else f"{changed} jobs"
    return f"{jobs} lost the rank" if rank is None else f"{jobs} ranked {rank}"
