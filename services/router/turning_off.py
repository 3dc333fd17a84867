"""Looking at every unfinished job of a service that is off or away, so that none is left to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from contracts import subjects
from contracts.jobs import JobState, RunState
from services.router.stores import job_key_of

if TYPE_CHECKING:
    from services.router.stores import Stores

WIDTH = 32
"""Jobs looked at side by side."""


async def begun_no_more(
    stores: Stores, look: Callable[[str], Awaitable[object]], service: str, asked: Iterable[str]
) -> int:
    """Look at each job of a service that a worker could begin; return how many still can be.

    `asked` are the subjects of REQUESTS. Raises UnknownOutcomeError.
    """
    width = asyncio.Semaphore(WIDTH)

    async def one(key: str) -> bool:
        async with width:
            if not await _can_begin(stores, key, service):
                return False
            await look(key)
            return await _can_begin(stores, key, service)

    return sum(await asyncio.gather(*(one(key) for key in map(job_key_of, asked) if key)))


async def _can_begin(stores: Stores, key: str, service: str) -> bool:
    """Say whether a worker could claim the job: it is the service's, and nobody is at it."""
    job = await stores.jobs.get(key)
    if job is None or job.value.state is not JobState.NEW or job.value.service != service:
        return False
    run = await stores.runs.get(subjects.run_key(service, job.value.job_id))
    return run is None or run.value.state is RunState.IDLE
