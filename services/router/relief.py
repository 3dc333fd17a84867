"""Looking again at what waits for a service that has no ready worker, ever more seldom.

Nobody else would soon: its jobs are in JOBS, or wait for a place there, so that the sweep takes
them for well cared for. What becomes of each is `decide`'s to say (outage.py); this only names
them, as turning a service off does. Any number of routers may do it at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from contracts.errors import TransientError

if TYPE_CHECKING:
    from services.router.landscape import Landscape, Patience

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
FIRST_SECONDS = 4.0
"""A service that is back sooner is not worth a look at its jobs."""


class _Moment(NamedTuple):
    """What was the case when a service's jobs were last looked at."""

    stage: int
    ready: frozenset[str]


class Relief:
    """Watches the services for which somebody waits. `look_at(service)` looks at all its jobs."""

    def __init__(
        self,
        landscape: Callable[[], Landscape],
        wanted: Callable[[], Iterable[str]],
        look_at: Callable[[str], Awaitable[object]],
    ) -> None:
        self._landscape = landscape
        self._wanted = wanted
        self._look_at = look_at
        self._last: dict[str, _Moment] = {}

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Name the jobs of every service that has been away for longer, or could be replaced."""
        landscape = self._landscape()
        watch = landscape.watch
        ready = frozenset(name for name in landscape.services if not watch.away(name))
        stages = {n: stage(watch.away(n), landscape.patience) for n in self._wanted()}
        away = {name: _Moment(found, ready) for name, found in stages.items() if found}
        self._last = {name: seen for name, seen in self._last.items() if name in away}
        for name, moment in away.items():
            if self._last.get(name) == moment:
                continue
            try:
                await self._look_at(name)
            except TransientError as error:
                log.info("relief.abandoned", service=name, error=error.message)
            else:
                self._last[name] = moment


def stage(seconds: float, patience: Patience) -> int:
    """Return how often the jobs of a service that is away so long have been due for a look.

    Whenever it has been away twice as long as at the last look, for those with a deadline; and when
    the patience of all others is over.
    """
    doubled = math.floor(math.log2(seconds / FIRST_SECONDS)) + 1 if seconds >= FIRST_SECONDS else 0
    return doubled + (seconds >= patience.move) + (seconds >= patience.give_up)
