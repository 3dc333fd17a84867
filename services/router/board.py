"""A small bucket known by heart: read as a whole every moment, changed by compare-and-set.

Several routers keep a copy each and agree within AGREED_SECONDS; whatever must not be decided
twice is decided by the compare-and-set, never by the copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import structlog

from bus.records import Conflict, Record
from contracts.errors import TransientError, UnknownOutcomeError

log = structlog.get_logger(__name__)

R = TypeVar("R")

READ_SECONDS = 0.4
"""How often the bucket is read."""
AGREED_SECONDS = 1.0
"""After so long every router that reaches the server knows a change."""
TRIES = 50
"""Compare-and-sets in a row that somebody else may win: every one of them was progress."""


class Shelf(Protocol[R]):
    """The records of one bucket, as bus.records has them."""

    async def get(self, key: str) -> Record[R] | None:
        """Return the record, or None."""

    async def create(self, key: str, value: R) -> int | Conflict:
        """Write the first value of a key."""

    async def update(self, key: str, value: R, revision: int) -> int | Conflict:
        """Replace the value if the record is still at this revision."""

    async def delete(self, key: str, revision: int) -> bool:
        """Remove this very revision; False if the record has moved on or is gone."""

    async def under(self, prefix: str = "") -> list[Record[R]]:
        """Return every record below a prefix."""


class Board(Generic[R]):
    """The records of a small bucket. Every async method raises UnknownOutcomeError."""

    def __init__(self, shelf: Shelf[R]) -> None:
        self._shelf = shelf
        self._known: dict[str, Record[R]] = {}
        self._learned: dict[str, int] = {}
        self._lessons = 0

    @property
    def values(self) -> Mapping[str, R]:
        """Every record by its key, as last read or written here."""
        return {key: record.value for key, record in self._known.items()}

    def get(self, key: str) -> R | None:
        """Return one record as last read or written here, or None."""
        known = self._known.get(key)
        return known.value if known else None

    async def refresh(self) -> bool:
        """Read the bucket; say whether anything was changed there by somebody else."""
        begun = self._lessons
        found = {r.key: r for r in await self._shelf.under()}
        # What was written here while the bucket was being read is newer than what was read.
        for key in [k for k, lesson in self._learned.items() if lesson > begun]:
            found.pop(key, None)
            if key in self._known:
                found[key] = self._known[key]
        changed = _revisions(found) != _revisions(self._known)
        self._known = found
        return changed

    async def look(self, key: str) -> None:
        """Read one record now, for what must not be decided by a copy of a moment ago."""
        found = await self._shelf.get(key)
        known = self._known.get(key)
        if found is None or known is None or found.revision > known.revision:
            self._learn(key, found)

    async def change(self, key: str, make: Callable[[R | None], R | None]) -> R | None:
        """Change a record by what `make` says of it, None for removing it; return the new value.

        `make` is called again for every value that somebody else put there meanwhile. What it
        returns unchanged (the same object) is not written.
        """
        known = self._known.get(key)
        for _ in range(TRIES):
            old = known.value if known else None
            new = make(old)
            if new is old:
                return new
            if await self._write(key, known, new):
                return new
            known = await self._shelf.get(key)
            self._learn(key, known)
        raise UnknownOutcomeError(f"{key}: somebody else was faster {TRIES} times")

    async def keep_up(self, changed: Callable[[], None]) -> None:
        """Read the bucket again and again until cancelled; call `changed` after every change."""
        while True:
            await asyncio.sleep(READ_SECONDS)
            try:
                if await self.refresh():
                    changed()
            except TransientError as error:
                log.info("board.unread", error=error.message)

    async def _write(self, key: str, known: Record[R] | None, new: R | None) -> bool:
        if new is None:
            assert known is not None  # None is what `make` was given where nothing was
            if not await self._shelf.delete(key, known.revision):
                return False
            self._learn(key, None)
            return True
        if known is None:
            answer = await self._shelf.create(key, new)
        else:
            answer = await self._shelf.update(key, new, known.revision)
        if isinstance(answer, Conflict):
            return False
        self._learn(key, Record(new, answer, key))
        return True

    def _learn(self, key: str, record: Record[R] | None) -> None:
        self._lessons += 1
        self._learned[key] = self._lessons
        if record is None:
            self._known.pop(key, None)
        else:
            self._known[key] = record


def _revisions(records: Mapping[str, Record[R]]) -> dict[str, int]:
    return {key: record.revision for key, record in records.items()}
