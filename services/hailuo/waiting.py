"""Waiting for a task that is bought, without losing it: what fails here is asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from contracts.errors import ProviderError, ProviderTimeoutError
from services.hailuo.api import Api, failure_of
from services.hailuo.task import Stage, Task

MOST_MISSES = 5
"""Queries that fail one after another; then the job is given back, and goes on with this task."""
SLICE_SECONDS = 0.2

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


def made(api: Api, task_id: str, *, poll_seconds: float, most_seconds: float, tell: Tell) -> Task:
    """Return the task once its film is made.

    Raises what a failed task means, ProviderTimeoutError after `most_seconds`, and ProviderErrors
    that do not pass; whoever tries again after these asks for the same task.
    """
    began = time.monotonic()
    stage, misses = Stage.QUEUED, 0
    while True:
        tell(stage)
        pause = poll_seconds
        try:
            task = api.query(task_id)
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
                raise failure_of(task)
        if time.monotonic() - began > most_seconds:
            raise ProviderTimeoutError(f"task {task_id} is not done after {most_seconds:g} s")
        passed(pause, partial(tell, stage))
