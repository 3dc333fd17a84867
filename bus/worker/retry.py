"""How long to wait before a job is tried again, if it is: pure.

Exponential backoff with full jitter, so that workers which failed together do not come back
together. A provider that says `Retry-After` is left alone for at least so long.
"""

from __future__ import annotations

from contracts.errors import ErrorInfo

FIRST_SECONDS = 0.5
"""The longest wait after the first failure; it doubles with each further one."""
LONGEST_SECONDS = 60.0
IN_PLACE_SECONDS = 30.0
"""A wait as long as this keeps the job in hand; a longer one gives it back."""
WORTH_SECONDS = 3600.0
"""Who asks for more than this is not waited for: another service may be asked instead."""


def ceiling(failures: int) -> float:
    """Return the longest wait in seconds after so many failures of one job, 1 or more."""
    # The exponent is bounded as well: 2.0 ** 1100 is no float any more.
    return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 32))


def pause(failures: int, error: ErrorInfo, seconds_left: float | None, dice: float) -> float | None:
    """Return how many seconds to wait before the next try, or None: there shall be none.

    `failures` counts the losses of this job, this one included. `seconds_left` is the time to its
    deadline, None without one: a wait that reaches it is not begun. `dice` is uniform in [0, 1).
    """
    if not error.retryable:
        return None
    wait = dice * ceiling(failures)
    if error.retry_after_seconds > 0:
        wait += error.retry_after_seconds  # never sooner, and not all at the same moment
    if wait > WORTH_SECONDS:
        return None
    if seconds_left is not None and wait >= seconds_left:
        return None
    return wait


def in_place(wait: float) -> bool:
    """Say whether a wait of so many seconds keeps the job in hand."""
    return wait <= IN_PLACE_SECONDS
