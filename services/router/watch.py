"""For how long nobody has been there: what looks at the announced services add up to. Pure.

Only what was looked at counts. A router that has just started, was cut off from the server or slept
begins its watch anew, so that its own absence is never taken for a service's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

GAP_SECONDS = 30.0
"""Two looks that lie further apart say nothing of the time between them."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """Looks without a gap, `since` the first, `until` the last; `ready_at`: when each service was
    last seen with a worker that is ready. All in Unix seconds.
    """

    since: float = 0.0
    until: float = 0.0
    ready_at: Mapping[str, float] = {}

    def look(self, ready: Iterable[str], now: float) -> Watch:
        """Return what is known after one more look, which found these services ready."""
        unbroken = 0 <= now - self.until <= GAP_SECONDS
        return Watch(
            since=self.since if unbroken else now,
            until=now,
            ready_at={**(self.ready_at if unbroken else {}), **dict.fromkeys(ready, now)},
        )

    def away(self, service: str) -> float:
        """Return for how many seconds every look has found no ready worker of a service.

        A service that was never announced is away for as long as anybody has looked.
        """
        return self.until - self.ready_at.get(service, self.since)
