"""Whether this worker serves, and why not: what its loop obeys and its announcement says."""

from __future__ import annotations

import asyncio


class State:
    """Reasons not to take jobs, and bells that ring when anything worth announcing has changed.

    `refuse`: the environment has turned the service off. `lack`: what the model needs is not here.
    `trouble`: the model does not load.
    """

    def __init__(self) -> None:
        self._refused = ""
        self._lack = ""
        self._trouble = ""
        self._bells: list[asyncio.Event] = []

    @property
    def reason(self) -> str:
        """Why no job is taken; empty while jobs are."""
        return self._refused or self._lack or self._trouble

    @property
    def refused(self) -> bool:
        """Say whether not even loading is tried: it was turned off, or lacks what it needs."""
        return bool(self._refused or self._lack)

    def refuse(self, reason: str) -> None:
        """Take no job for this reason, or, if it is empty, for no such reason any more."""
        if reason != self._refused:
            self._refused = reason
            self.ring()

    def lack(self, reason: str) -> None:
        """Say what the model needs and has not, its weights or its server; empty: it has all."""
        if reason != self._lack:
            self._lack = reason
            if not reason:
                self._trouble = ""  # what it lacked is why it did not load: try at once
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
