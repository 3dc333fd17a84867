"""How well models share a device: the manager's own policy over campaigns in simulated time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.lease_sim.baseline import first_come_first_served
from tests.lease_sim.search import Search
from tests.lease_sim.trace import BUDGET_GB, MODELS, Job, alternating, campaigns, cut
from tests.lease_sim.world import Outcome, World

SEEDS = 10
CUTS = 200
ALTERNATING_GB = 60.0
_HEADS = (
    "| trace | steps | manager h | usual h | usual / manager | manager / work "
    "| loads, manager | loads, usual |"
)
_HOW = (
    f"{BUDGET_GB:.0f} GB for models, one job at a time, one model loaded at a time. *Usual* is "
    "first come, first served, and the least recently used leaves. *Work* is the jobs' own "
    "seconds, which no schedule can beat. Hours of simulated time; means of "
    f"{SEEDS} traces, their range in brackets."
)


def main() -> str:
    """Return the tables."""
    lines = [
        "### Models that share a device",
        "",
        _HOW,
        "",
        _HEADS,
        "|---|---|---|---|---|---|---|---|",
        _row("ten campaigns", [campaigns(seed) for seed in range(SEEDS)], BUDGET_GB),
        _row(
            f"models alternate, {ALTERNATING_GB:.0f} GB",
            [alternating(seed) for seed in range(SEEDS)],
            ALTERNATING_GB,
        ),
        "",
        *_small(),
        "",
        *_waits(),
    ]
    return "\n".join(lines)


def _row(name: str, traces: Sequence[list[Job]], budget_gb: float) -> str:
    ours = [World(jobs, budget_gb=budget_gb).run() for jobs in traces]
    usual = [first_come_first_served(jobs, budget_gb=budget_gb) for jobs in traces]
    gains = [u.makespan / o.makespan for o, u in zip(ours, usual, strict=True)]
    over = [o.makespan / _work(jobs) for o, jobs in zip(ours, traces, strict=True)]
    steps = statistics.mean(len(jobs) for jobs in traces)
    return (
        f"| {name} | {steps:.0f} | {_hours(ours)} | {_hours(usual)} | {_spread(gains)} "
        f"| {_spread(over)} | {_loads(ours)} | {_loads(usual)} |"
    )


def _small() -> list[str]:
    """Compare with the best schedule there is, where every schedule can be tried."""
    ratios = sorted(
        World(jobs, budget_gb=BUDGET_GB).run().makespan / Search(jobs, budget_gb=BUDGET_GB).best()
        for jobs in map(cut, range(CUTS))
    )
    at = ", ".join(
        f"{word} {ratios[min(CUTS - 1, CUTS * share // 100)]:.3f}"
        for word, share in (("median", 50), ("95th percentile", 95), ("worst", 100))
    )
    what = f"{CUTS} small traces (8 to 15 steps, models that do not all fit, every schedule tried)"
    return [f"Against the best schedule of {what}: {at}."]


def _waits() -> list[str]:
    """Tell how long steps wait by priority, all ten campaigns asked for at once."""
    waits: dict[int, list[float]] = {}
    for seed in range(SEEDS):
        jobs = campaigns(seed)
        for number, seconds in World(jobs, budget_gb=BUDGET_GB).run().waits.items():
            waits.setdefault(jobs[number].priority, []).append(seconds / 60)
    told = ", ".join(
        f"{statistics.median(found):.0f} ({priority})" for priority, found in sorted(waits.items())
    )
    return [f"Median minutes from ready to begun in the ten campaigns, by priority: {told}."]


def _work(jobs: Sequence[Job]) -> float:
    return sum(job.seconds for job in jobs if job.service in MODELS)


def _hours(outcomes: Sequence[Outcome]) -> str:
    return f"{statistics.mean(o.makespan for o in outcomes) / 3600:.2f}"


def _loads(outcomes: Sequence[Outcome]) -> str:
    return f"{statistics.mean(o.loads for o in outcomes):.0f}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})"
