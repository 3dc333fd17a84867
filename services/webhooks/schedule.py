"""When a delivery is tried again, and when it is given up: pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from bus import provider
from contracts.webhooks import DeliveryRecord, DeliveryState

WAITS_SECONDS = (5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
"""After the first, second, ... failure; one failure more and the delivery is dead."""

JITTER = 0.2
"""A wait is up to so much shorter or longer: what failed together does not come together."""

LONGEST_RETRY_AFTER_SECONDS = 3600.0
GONE = 410


class Reply(NamedTuple):
    """What an attempt came to. `status` is HTTP's, 0 without an answer; `final`: do not ask again.

    `retry_after_seconds` is how long the receiver asked to be left alone.
    """

    status: int = 0
    error: str = ""
    final: bool = False
    retry_after_seconds: float = 0.0

    @property
    def delivered(self) -> bool:
        """Say whether the receiver has it."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own numbers


def answered(status: int, retry_after: str, now: float) -> Reply:
    """Return what an answer means; `retry_after` is the header, seconds or a date."""
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own numbers
        return Reply(status)
    return Reply(
        status,
        error=f"the receiver answers {status}",
        final=status == GONE,
        retry_after_seconds=min(
            provider.retry_after(retry_after, now) or 0.0, LONGEST_RETRY_AFTER_SECONDS
        ),
    )


def judge(
    record: DeliveryRecord, reply: Reply, now: float, draw: float, pace: float = 1.0
) -> DeliveryRecord:
    """Return the record after an attempt that it already counts.

    `draw` is a random number from 0 to 1; `pace` a factor on our own waits, not on the receiver's.
    """
    told = msgspec.structs.replace(record, status=reply.status, error=reply.error, next_at=0.0)
    if reply.delivered:
        return msgspec.structs.replace(told, state=DeliveryState.DELIVERED, ended_at=now)
    if reply.final or record.attempts > len(WAITS_SECONDS):
        return msgspec.structs.replace(told, state=DeliveryState.DEAD, ended_at=now)
    wait = WAITS_SECONDS[max(record.attempts, 1) - 1] * (1 + JITTER * (2 * draw - 1)) * pace
    return msgspec.structs.replace(told, next_at=now + max(wait, reply.retry_after_seconds))
