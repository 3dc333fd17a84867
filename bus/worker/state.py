"""Whether this worker serves, and why not: what its loop obeys and its announcement says."""

from __future__ import annotations

import asyncio


class State:
    """Reasons not to take jobs, and bells that ring when anything worth announcing has changed.

    `refused`: the environment has turned the service off. `trouble`: the model does not load.
    """

    def __init__(self) -> None:
        self._refused = ""
        self._trouble = ""
        self._bells: list[asyncio.Event] = []

    @property
    def reason(self) -> str:
        """Why no job is taken; empty while jobs are."""
        return self._refused or self._trouble

    @property
    def refused(self) -> bool:
        """Say whether it was turned off, so that not even loading is tried."""
        return bool(self._refused)

    def refuse(self, reason: str) -> None:
        """Take no job for this reason, or, if it is empty, for no such reason any more."""
        if reason != self._refused:
            self._refused = reason
            self.ring()

    def trouble(self, reason: str) -> None:
        """Say why the model does not load; empty: it does."""
        if reason != self._trouble:
            self._trouble = reason
            self.ring()

    def bell(self) -> asyncio.Event:
        """Return an event of one's own that is set at every change; clear it before looking."""
        self._bells.append(asyncio.Event())
        return self._bells[-1]

    def ring(self) -> None:
        """Say that something has changed: a reason, or which processes there are."""
        for bell in self._bells:
            bell.set()


async def either(first: asyncio.Event, second: asyncio.Event) -> None:
    """Return as soon as one of two events is set."""
    waits = [asyncio.create_task(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
