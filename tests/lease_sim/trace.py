"""Traces: what campaigns ask of the models of one device, and when.

Memory follows the sizes of the models' weights in bfloat16 plus a tenth to a fifth for their work,
load seconds are 2.5 GB/s from a disk plus the imports, seconds of work are estimates for a machine
of 128 GB of unified memory. Only their proportions matter here.
"""

from __future__ import annotations

import random
from typing import NamedTuple


class Model(NamedTuple):
    """A service whose model takes memory on the device."""

    memory_gb: float
    load_seconds: float


class Job(NamedTuple):
    """A step of a campaign. `after` are its inputs' jobs, by their place in the trace. One of a
    service that is no model of the device runs elsewhere, at any time.
    """

    campaign: int
    service: str
    seconds: float
    priority: int
    after: tuple[int, ...] = ()
    arrives: float = 0.0


MODELS = {
    "kimi_native": Model(104.0, 46.0),
    "flux": Model(20.0, 12.0),
    "chronoedit": Model(51.0, 25.0),
    "wan_animate": Model(50.0, 25.0),
    "ditto": Model(53.0, 26.0),
    "cosmos": Model(48.0, 24.0),
    "stable_audio": Model(8.0, 8.0),
}
"""The models of the device; hailuo, riva, composer and packager work elsewhere."""

SECONDS = {
    "kimi_native": 35.0,
    "flux": 9.0,
    "chronoedit": 18.0,
    "wan_animate": 210.0,
    "ditto": 150.0,
    "cosmos": 180.0,
    "stable_audio": 5.0,
    "hailuo": 120.0,
    "riva": 6.0,
    "composer": 20.0,
}
PRIORITIES = (2, 5, 8)
BUDGET_GB = 118.0
"""Of 128 GB; the rest is the system's and everything's that is no model."""


class _Writer:
    """Writes the steps of one campaign."""

    def __init__(self, jobs: list[Job], campaign: int, chance: random.Random) -> None:
        self._jobs = jobs
        self._campaign = campaign
        self._chance = chance
        self._priority = chance.choice(PRIORITIES)
        self._arrives = campaign * chance.uniform(0.0, 60.0)

    def step(self, service: str, *after: int) -> int:
        self._jobs.append(self.job(service, *after, arrives=self._arrives))
        return len(self._jobs) - 1

    def job(self, service: str, *after: int, arrives: float) -> Job:
        seconds = SECONDS[service] * self._chance.uniform(0.7, 1.3)
        return Job(self._campaign, service, seconds, self._priority, after, arrives)


def campaigns(seed: int, count: int = 10, *, least: int = 12, most: int = 40) -> list[Job]:
    """Return campaigns of so many steps each, every model among them, of three priorities."""
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    jobs: list[Job] = []
    for number in range(count):
        _campaign(_Writer(jobs, number, chance), chance, chance.randint(least, most))
    return jobs


def _campaign(write: _Writer, chance: random.Random, steps: int) -> None:
    """Write a script, then key visuals, edits, shots and sound, then the cuts."""
    script = write.step("kimi_native")
    visuals = [write.step("flux", script) for _ in range(max(2, steps // 6))]
    sound = [write.step("stable_audio", script), write.step("riva", script)]
    made = [script, *visuals, *sound]
    while len(made) < steps - 2:
        visual = chance.choice(visuals)
        kind = chance.choice(("edit", "edit", "shot", "shot", "restyle", "person", "bought"))
        if kind == "edit":
            made.append(write.step("chronoedit", visual))
        elif kind == "shot":
            made.append(write.step("cosmos", visual))
        elif kind == "restyle":
            shot = write.step("cosmos", visual)
            made += [shot, write.step("ditto", shot)]
        elif kind == "person":
            made.append(write.step("wan_animate", visual))
        else:
            made.append(write.step("hailuo", visual))
    write.step("composer", *made)
    write.step("composer", *made)


def alternating(seed: int, count: int = 10, each: int = 12) -> list[Job]:
    """Return campaigns of stills alone: half are drawn, half are edited, asked for in turns. On a
    device that cannot hold both models, every job needs the one that is not there.
    """
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    jobs: list[Job] = []
    writers = [_Writer(jobs, number, chance) for number in range(count)]
    for number in range(count * each):
        service = ("flux", "chronoedit")[number % 2]
        jobs.append(writers[number % count].job(service, arrives=float(number)))
    return jobs


def cut(seed: int) -> list[Job]:
    """Return a trace small enough to try every schedule: 8 to 15 steps of two or three campaigns,
    and models that do not all fit.
    """
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    while True:
        jobs: list[Job] = []
        for number in range(chance.choice((2, 3))):
            _short(_Writer(jobs, number, chance), chance)
        needed = sum(MODELS[name].memory_gb for name in {job.service for job in jobs})
        if 8 <= len(jobs) <= 15 and needed > BUDGET_GB:
            return jobs


def _short(write: _Writer, chance: random.Random) -> None:
    kinds = ("chronoedit", "wan_animate", "ditto", "cosmos")
    visuals = [write.step("flux") for _ in range(chance.choice((1, 2)))]
    for _ in range(chance.choice((1, 2))):
        shot = write.step(chance.choice(kinds), chance.choice(visuals))
        if chance.random() < 0.3:
            write.step(chance.choice(kinds), shot)
