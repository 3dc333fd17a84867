"""Waiting for a provider's task, without losing it: what fails here is asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeVar

from contracts.errors import AdgenxError, ProviderError, ProviderTimeoutError

MOST_MISSES = 5
"""Queries that fail one after another; then the job is given back, and goes on with this task."""
SLICE_SECONDS = 0.2


class Stage(StrEnum):
    """How far a task is."""

    QUEUED = "queued"
    RUNNING = "running"
    MADE = "made"
    FAILED = "failed"


class Staged(Protocol):
    """What a provider says of a task."""

    @property
    def stage(self) -> Stage:
        """How far it is."""


Told = TypeVar("Told", bound=Staged)
Tell = Callable[[Stage], None]
"""Told, often, how far the task is; raises once nobody wants it any more."""


def passed(seconds: float, look: Callable[[], None]) -> None:
    """Let time pass, looking all the while whether the job is still wanted."""
    end = time.monotonic() + seconds
    while True:
        look()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, SLICE_SECONDS))


def made(
    query: Callable[[], Told],
    failure: Callable[[Told], AdgenxError],
    *,
    poll_seconds: float,
    most_seconds: float,
    tell: Tell,
) -> Told:
    """Return what `query` says of the task once it is made.

    Raises `failure` of a task that failed, ProviderTimeoutError after `most_seconds`, and
    ProviderErrors that do not pass; whoever tries again after these asks for the same task.
    """
    began = time.monotonic()
    stage, misses = Stage.QUEUED, 0
    while True:
        tell(stage)
        pause = poll_seconds
        try:
            task = query()
            misses = 0
        except ProviderError as error:
            misses += 1
            if not error.retryable or misses > MOST_MISSES:
                raise
            pause = max(pause, error.retry_after_seconds)
        else:
            stage = task.stage
            if stage is Stage.MADE:
                return task
            if stage is Stage.FAILED:
                raise failure(task)
        if time.monotonic() - began > most_seconds:
            raise ProviderTimeoutError(f"the task is not done after {most_seconds:g} s")
        passed(pause, partial(tell, stage))
