"""One task per job: whoever names a job that is being advanced has it looked at once more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from contracts.errors import TransientError

if TYPE_CHECKING:
    from services.router.facts import Rest

log = structlog.get_logger(__name__)


class _Turn:
    """A job being advanced. `again`: it was named meanwhile; `afresh`: by somebody who doubts."""

    def __init__(self) -> None:
        self.again = True
        self.afresh = False
        self.task: asyncio.Task[Rest] | None = None


class Desk:
    """Serialises `advance` by key within this process, and lets hints go on in the background."""

    def __init__(self, advance: Callable[[str, bool], Awaitable[Rest]]) -> None:
        self._advance = advance
        self._turns: dict[str, _Turn] = {}
        self._background: set[asyncio.Task[None]] = set()

    def busy(self, key: str) -> bool:
        """Say whether a job is being advanced now."""
        return key in self._turns

    async def advance(self, key: str, *, afresh: bool = False) -> Rest:
        """Advance a job, once more if it is at it already; raises UnknownOutcomeError."""
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = _Turn()
            turn.task = asyncio.create_task(self._take_turns(key, turn))
        turn.again = True
        turn.afresh |= afresh
        assert turn.task is not None
        # Whoever waits may be cancelled; the job goes on for the others.
        return await asyncio.shield(turn.task)

    def hint(self, key: str, *, afresh: bool = False) -> None:
        """Advance a job in the background; nobody waits, and a sweep makes up for a failure."""
        task = asyncio.create_task(self._quietly(key, afresh=afresh))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def clear(self) -> None:
        """Wait until nothing is being advanced any more."""
        while self._background or self._turns:
            tasks = [t.task for t in self._turns.values() if t.task is not None]
            await asyncio.wait([*self._background, *tasks])

    async def _take_turns(self, key: str, turn: _Turn) -> Rest:
        try:
            while True:
                afresh, turn.again, turn.afresh = turn.afresh, False, False
                rest = await self._advance(key, afresh)
                if not turn.again:
                    return rest
        finally:
            # Nothing is awaited between the last look at `again` and this: no word is lost.
            del self._turns[key]

    async def _quietly(self, key: str, *, afresh: bool) -> None:
        try:
            await self.advance(key, afresh=afresh)
        except TransientError as error:
            log.info("job.abandoned", key=key, error=error.message)
