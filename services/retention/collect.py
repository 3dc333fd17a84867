"""Mark and sweep of a store's objects: nothing is gone while something names it (ADR-0012).

    empty        a copy that has lain in the trash for the grace before the names were read:
                 named and not in its place -> bring it back; otherwise remove it
    quarantine   an object that nothing names, older than the grace:
                 copy it into the trash -> make that durable -> delete it
    look again   read the names anew; what has become named comes back

The worst moment is somebody who has seen an object (a conditional PUT answered "exists", a cache
hit found it) and names it only after it was deleted. The rule that makes this safe: everybody names
what he has seen within half the grace. A sweeper that is a quarter of it behind its copy does not
delete any more, and a delete that is on its way by then has arrived before the half. So whoever saw
the object in its place has named it by the time its copy may go; until then every reader finds the
copy (`bus.trash`). Any number of sweepers may be under way, and each may end anywhere.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from contracts.artifacts import parse_trash, trash_key
from contracts.retention import TenantSweep

if TYPE_CHECKING:
    from bus.s3 import Stat
    from bus.trash import Objects
    from services.retention.names import Names

log = structlog.get_logger(__name__)


class Mark(NamedTuple):
    """The names as they were read; `began_at` (Unix seconds) is before the first was."""

    names: Names
    began_at: float


class Rules(NamedTuple):
    """`grace_seconds`: how long nothing may have named an object before it goes for good."""

    grace_seconds: float
    dry_run: bool = False


class Collector:
    """One sweep of one store. `mark` reads all names; `durable` makes all copies survive a power
    cut; `rest` is waited for between pages, so that a sweep never gets in anybody's way.
    """

    def __init__(
        self,
        objects: Objects,
        mark: Callable[[], Awaitable[Mark]],
        durable: Callable[[], Awaitable[None]],
        rest: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        rules: Rules,
    ) -> None:
        self._objects = objects
        self._mark = mark
        self._durable = durable
        self._rest = rest
        self._clock = clock
        self._rules = rules
        self.token: Callable[[], str] = _token

    async def sweep(self, tenants: list[str], mark: Mark) -> dict[str, TenantSweep]:
        """Sweep every tenant's objects with the names just read; return what was done to each."""
        counts = {tenant: Counter[str]() for tenant in tenants}
        for tenant in tenants:
            await self._empty(tenant, mark, counts[tenant])
            await self._quarantine(tenant, mark, counts[tenant])
        moved = [tenant for tenant in tenants if counts[tenant]["trashed"]]
        if moved:
            again = await self._mark()
            for tenant in moved:
                await self._look_again(tenant, again, counts[tenant])
        return {t: TenantSweep(at=mark.began_at, **found) for t, found in counts.items()}

    async def _empty(self, tenant: str, mark: Mark, count: Counter[str]) -> None:
        """Empty the trash of what is too old, and bring back what is named."""
        oldest = mark.began_at - self._rules.grace_seconds
        if not self._rules.dry_run:
            await self._durable()  # what was brought back from the copies that go now
        async for page in self._objects.pages(f"{tenant}/trash/"):
            for entry in page:
                copy = parse_trash(entry.key)
                if copy is None:
                    continue
                named = copy.original in mark.names
                if named and await self._is_needed(entry, copy.original, mark, count):
                    pass  # a reader may be about to look for it here
                elif copy.taken_at <= oldest and not self._rules.dry_run:
                    await self._objects.remove(entry.key)
                    _count(count, "emptied", entry)
                    continue
                _count(count, "trash", entry)
            await self._rest()

    async def _quarantine(self, tenant: str, mark: Mark, count: Counter[str]) -> None:
        """Move what nothing names, and what nobody has stored of late, into the trash."""
        newest = mark.began_at - self._rules.grace_seconds
        async for page in self._objects.pages(f"{tenant}/sha256/"):
            unnamed = []
            for found in page:
                _count(count, "objects", found)
                if found.key not in mark.names:
                    _count(count, "unnamed", found)
                    if found.modified.timestamp() <= newest:
                        unnamed.append(found)
            if unnamed and not self._rules.dry_run:
                await self._move(unnamed, count)
            await self._rest()

    async def _move(self, unnamed: list[Stat], count: Counter[str]) -> None:
        copied = []
        began_at = self._clock()
        for found in unnamed:
            copy = trash_key(found.key, began_at, self.token())
            if not await self._objects.copy(found.key, copy):
                continue  # another sweeper was first
            there = await self._objects.stat(copy)
            if there is not None and there.size_bytes == found.size_bytes:
                copied.append(found)
        await self._durable()
        for found in copied:
            # The copies live for a grace from `began_at`: who is late must not touch the originals.
            if self._clock() - began_at > self._rules.grace_seconds / 4 > 0:
                log.warning("sweep.delayed", left=len(copied))
                return
            await self._objects.remove(found.key)
            _count(count, "trashed", found)
            _count(count, "trash", found)

    async def _look_again(self, tenant: str, mark: Mark, count: Counter[str]) -> None:
        """Bring back what has become named while it was moved."""
        async for page in self._objects.pages(f"{tenant}/trash/"):
            for entry in page:
                copy = parse_trash(entry.key)
                if copy is not None and copy.original in mark.names:
                    await self._brought_back(entry, copy.original, count)
            await self._rest()

    async def _is_needed(self, entry: Stat, original: str, mark: Mark, count: Counter[str]) -> bool:
        """Say whether the copy of a named object must stay: until its original was made durable."""
        if await self._brought_back(entry, original, count):
            return True
        there = await self._objects.stat(original)
        return there is None or there.modified.timestamp() >= mark.began_at

    async def _brought_back(self, entry: Stat, original: str, count: Counter[str]) -> bool:
        """Put a named object back into its place; False if it is there."""
        if self._rules.dry_run or await self._objects.stat(original) is not None:
            return False
        if await self._objects.copy(entry.key, original):
            log.info("artifact.restored", key=original)
            count["restored"] += 1
        return True


def _token() -> str:
    return secrets.token_hex(4)


def _count(count: Counter[str], what: str, found: Stat) -> None:
    count[what] += 1
    count[f"{what}_bytes"] += found.size_bytes
