"""What the manager is compared with: first come, first served; the least recently used leaves."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from .trace import MODELS, Job, Model
from .world import STEP_SECONDS, Outcome


def first_come_first_served(
    jobs: Sequence[Job], models: dict[str, Model] = MODELS, *, budget_gb: float
) -> Outcome:
    """Run the jobs in the order in which they become ready, one after the other; a model that is
    not loaded is, when its job's turn has come, and whoever was not used for longest leaves for it.
    """
    ready = [(job.arrives, number) for number, job in enumerate(jobs) if not job.after]
    heapq.heapify(ready)
    ended: dict[int, float] = {}
    used: dict[str, float] = {}
    waits: dict[int, float] = {}
    device, loads = 0.0, 0
    while ready:
        moment, number = heapq.heappop(ready)
        job = jobs[number]
        if job.service in models:
            begins = max(moment, device)
            if job.service not in used:
                loads += 1
                begins += models[job.service].load_seconds
                _make_room(used, models, budget_gb - models[job.service].memory_gb)
            device = ended[number] = begins + job.seconds
            used[job.service] = device
            waits[number] = begins - moment
        else:
            ended[number] = moment + job.seconds
        for follower, other in enumerate(jobs):
            if number in other.after and all(b in ended for b in other.after):
                begin = max(ended[b] for b in other.after) + STEP_SECONDS
                heapq.heappush(ready, (max(begin, other.arrives), follower))
    return Outcome(max(ended.values()), loads, waits)


def _make_room(used: dict[str, float], models: dict[str, Model], most_gb: float) -> None:
    while sum(models[name].memory_gb for name in used) > most_gb:
        del used[min(used, key=used.__getitem__)]
