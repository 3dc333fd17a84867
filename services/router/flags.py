"""Which services are turned off: the environment's word at start, and the operator's over it.

    operator's record   USE_<SERVICE>=0   the service is
    enabled             either            on
    disabled            either            off
    none                given             off
    none                not given         on

A command to turn a service off is answered only when no worker can begin a job of it any more:
the record is written; every router has had the time to read it; every job of the service without a
run got one that has ended, which is what a worker would have had to create.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING

import structlog

from contracts.errors import UnknownOutcomeError
from contracts.governance import FlagRecord
from services.router.board import AGREED_SECONDS, Board, Shelf
from services.router.operations import Done

if TYPE_CHECKING:
    from contracts.operating import SetFlag

log = structlog.get_logger(__name__)

Settle = Callable[[str], Awaitable[int]]
"""Advances every unfinished job of a service; returns how many a worker could still begin."""

CLEAR_SECONDS = 20.0
"""After so long the command is started over: something keeps jobs from being looked at."""
LOOK_AGAIN_SECONDS = 0.1


class Flags:
    """Which services are off. Methods that write raise UnknownOutcomeError and may be repeated."""

    def __init__(
        self,
        shelf: Shelf[FlagRecord],
        disabled: Collection[str],
        settle: Settle,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = Board(shelf)
        self._disabled = frozenset(disabled)
        self._settle = settle
        self._clock = clock

    async def refresh(self) -> bool:
        """Read the records; say whether another router has changed one."""
        return await self._board.refresh()

    async def keep_up(self, changed: Callable[[], None]) -> None:
        """Read the records again and again until cancelled; `changed` is called after news."""
        await self._board.keep_up(changed)

    def off(self) -> Mapping[str, str]:
        """Return every service that is turned off, with the reason."""
        return off(self._board.values, self._disabled)

    async def set(self, command: SetFlag) -> Done:
        """Turn a service on or off, or give it back to the environment."""
        wanted = self._wanted(command)
        before = self._board.get(command.service)
        await self._board.change(command.service, lambda old: _unless_equal(old, wanted))
        log.info("flag.set", service=command.service, enabled=command.enabled)
        if command.service in self.off():
            await self._clear(command.service)
        return Done(int(not _equal(before, wanted)), self._sentence(command.service))

    def _wanted(self, command: SetFlag) -> FlagRecord | None:
        if command.enabled is None:
            return None
        return FlagRecord(enabled=command.enabled, reason=command.reason, at=self._clock())

    async def _clear(self, service: str) -> None:
        """Return when no worker can begin a job of the service any more."""
        try:
            async with asyncio.timeout(CLEAR_SECONDS):
                await self._settle(service)
                # Another router may have chosen it until it has read the record as well.
                await asyncio.sleep(AGREED_SECONDS)
                # What is waited for happens on the server, which sets no event of ours.
                while await self._settle(service):  # noqa: ASYNC110 - the same
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        except TimeoutError:
            raise UnknownOutcomeError(f"{service}: its queued jobs are not settled yet") from None

    def _sentence(self, service: str) -> str:
        reason = self.off().get(service)
        return f"{service} is off: {reason}" if reason else f"{service} is on"


def off(records: Mapping[str, FlagRecord], disabled: Collection[str]) -> dict[str, str]:
    """Return every service that is off with the reason: the table above."""
    reasons = {name: f"USE_{name.upper()}=0 in the router's environment" for name in disabled}
    for name, record in records.items():
        if record.enabled:
            reasons.pop(name, None)
        else:
            reasons[name] = record.reason or "an operator turned it off"
    return reasons


def _unless_equal(old: FlagRecord | None, wanted: FlagRecord | None) -> FlagRecord | None:
    return old if _equal(old, wanted) else wanted


def _equal(old: FlagRecord | None, wanted: FlagRecord | None) -> bool:
    """Say whether two words are the same; when they were said does not count."""
    if old is None or wanted is None:
        return old is wanted
    return (old.enabled, old.reason) == (wanted.enabled, wanted.reason)
