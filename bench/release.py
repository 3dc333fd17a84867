"""What it costs to say who goes next, with few and with very many jobs waiting; no bus."""

from __future__ import annotations

import random
import statistics
import time
import tracemalloc

from services.router.release import Capacity, Queue, Waiting, release

SIZES = (10, 1_000, 10_000, 100_000)
DECISIONS = 2_000
REPEATS = 5
TENANTS = 8
NOW = 1_000_000.0
_HOW = (
    f"{TENANTS} tenants, priorities 0 to 9, every fifth job with a deadline. A decision takes one "
    "job out, and counts its tenant's jobs inside; medians, and the 99th percentile, of "
    f"{REPEATS} x {DECISIONS} decisions."
)
_ROOM = {"s": Capacity(free=1, places=8, seconds=2.0)}


def main() -> str:
    """Return a table: microseconds for one decision and one arrival, bytes for each waiting job."""
    lines = [
        "### Who goes next",
        "",
        _HOW,
        "",
        "| waiting | decision µs (p99) | arrival µs | bytes per waiting job |",
        "|---|---|---|---|",
    ]
    lines += [_row(size) for size in SIZES]
    return "\n".join(lines)


def _row(size: int) -> str:
    decisions: list[float] = []
    arrivals: list[float] = []
    for seed in range(REPEATS):
        chance = random.Random(seed)  # noqa: S311 - a load, not a secret
        queue = _filled(size, chance)
        for number in range(DECISIONS):
            began = time.perf_counter()
            [(_, job)] = release({"s": queue}, _ROOM, NOW)
            queue.entered(job.tenant)
            queue.left(job.tenant)
            decided = time.perf_counter()
            queue.put(_waiting(size + number, chance))
            arrivals.append(time.perf_counter() - decided)
            decisions.append(decided - began)
    slowest = statistics.quantiles(decisions, n=100)[98]
    decision, arrival = statistics.median(decisions), statistics.median(arrivals)
    return (
        f"| {size:,} | {decision * 1e6:.1f} ({slowest * 1e6:.1f}) | {arrival * 1e6:.1f} "
        f"| {_bytes_each(size):.0f} |"
    )


def _bytes_each(size: int) -> float:
    tracemalloc.start()
    queue = _filled(size, random.Random(0))  # noqa: S311 - a load, not a secret
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / len(queue)


def _filled(size: int, chance: random.Random) -> Queue:
    queue = Queue()
    for number in range(size):
        queue.put(_waiting(number, chance))
    return queue


def _waiting(number: int, chance: random.Random) -> Waiting:
    key = f"tenant{chance.randrange(TENANTS)}.campaign-{number % 97}.r1-video-hook-{number}"
    deadline = NOW + chance.uniform(1, 10_000) if number % 5 == 0 else 0.0
    return Waiting(key, chance.randrange(10), NOW - 1e5 + number, deadline)
