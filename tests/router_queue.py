"""What the tests of release are made of: jobs that wait, and the order in which they go."""

from __future__ import annotations

from services.router.release import Queue, Rush, Waiting

NOW = 1000.0


def waiting(
    key: str,
    priority: int = 5,
    since: float = 0.0,
    deadline_at: float = 0.0,
    rank: int | None = None,
) -> Waiting:
    return Waiting(key, priority, since, deadline_at, rank)


def queue_of(*jobs: Waiting) -> Queue:
    queue = Queue()
    for job in jobs:
        queue.put(job)
    return queue


def order(queue: Queue, rush: Rush = Rush(), now: float = NOW) -> list[str]:  # noqa: B008 - a constant tuple
    keys = []
    while (job := queue.take(now, rush)) is not None:
        keys.append(job.key)
    return keys
