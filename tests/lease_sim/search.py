"""The best schedule there is for a small trace, by trying every one that could be better.

It knows the whole trace in advance, needs no time between steps, and may leave the device idle on
purpose. Like the manager it runs one job at a time and loads one model at a time beside it, and
loads none before there is a job for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import combinations, count
from typing import NamedTuple

from .trace import MODELS, Job, Model


class _State(NamedTuple):
    """`done`, `begun` and `resident` are sets as bits; moments are absolute, 0 for none."""

    now: float
    done: int
    running: int
    free_at: float
    loading: int
    loaded_at: float
    resident: int


class Exhausted(Exception):  # noqa: N818 - not an error of the program
    """The trace is too large to try everything."""


class Search:
    """The shortest makespan of one trace."""

    def __init__(
        self, jobs: Sequence[Job], models: dict[str, Model] = MODELS, *, budget_gb: float
    ) -> None:
        self._jobs = jobs
        self._budget_gb = budget_gb
        self._names = sorted({j.service for j in jobs if j.service in models})
        self._models = [models[name] for name in self._names]
        self._of = [self._names.index(j.service) for j in jobs]
        self._all = (1 << len(jobs)) - 1
        self._needs = [sum(1 << b for b in j.after) for j in jobs]
        self._tail = self._tails()
        self._twins = self._equal()

    def best(self, most_states: int = 400_000) -> float:
        """Return it, in seconds; raises Exhausted where there are too many schedules."""
        start = _State(0.0, 0, -1, 0.0, -1, 0.0, 0)
        order = count()
        heap = [(self._least(start), next(order), start)]
        seen: dict[tuple[float, ...], float] = {}
        while heap:
            least, _, state = heapq.heappop(heap)
            if state.done == self._all:
                return state.now
            for following in self._next(state):
                key = self._key(following)
                if seen.get(key, float("inf")) <= following.now:
                    continue
                seen[key] = following.now
                heapq.heappush(heap, (max(least, self._least(following)), next(order), following))
            if len(seen) > most_states:
                raise Exhausted
        raise AssertionError("no schedule ends")

    def _key(self, s: _State) -> tuple[float, ...]:
        """What matters of a state but its time."""
        arrived = sum(1 << n for n, j in enumerate(self._jobs) if j.arrives <= s.now)
        left = max(0.0, s.free_at - s.now) if s.running >= 0 else 0.0
        loads = max(0.0, s.loaded_at - s.now) if s.loading >= 0 else 0.0
        return (s.done, s.running, round(left, 6), s.loading, round(loads, 6), s.resident, arrived)

    def _least(self, s: _State) -> float:
        """Return a makespan that no schedule from here can beat."""
        work = max(0.0, s.free_at - s.now) if s.running >= 0 else 0.0
        longest = 0.0
        absent = 0.0
        for number, job in enumerate(self._jobs):
            if s.done >> number & 1 or number == s.running:
                continue
            work += job.seconds
            longest = max(longest, max(0.0, job.arrives - s.now) + self._tail[number])
            model = self._of[number]
            if not s.resident >> model & 1 and model != s.loading:
                absent = max(absent, self._models[model].load_seconds + self._tail[number])
        return s.now + max(work, longest, absent)

    def _next(self, s: _State) -> Iterator[_State]:
        if s.running < 0:
            yield from self._begin(s)
        if s.loading < 0:
            yield from self._load(s)
        moments = [j.arrives for j in self._jobs if j.arrives > s.now]
        moments += [s.free_at] if s.running >= 0 else []
        moments += [s.loaded_at] if s.loading >= 0 else []
        if moments:
            yield self._advance(s, min(moments))

    def _begin(self, s: _State) -> Iterator[_State]:
        for number, job in enumerate(self._jobs):
            if not self._is_ready(s, number) or not s.resident >> self._of[number] & 1:
                continue
            twin = self._twins[number]
            if twin >= 0 and not s.done >> twin & 1:
                continue  # of equal jobs the first goes first
            yield s._replace(running=number, free_at=s.now + job.seconds)

    def _is_ready(self, s: _State, number: int) -> bool:
        there = self._jobs[number].arrives <= s.now and not self._needs[number] & ~s.done
        return there and not s.done >> number & 1

    def _load(self, s: _State) -> Iterator[_State]:
        ready = [n for n in range(len(self._jobs)) if self._is_ready(s, n)]
        for model in {self._of[n] for n in ready}:
            if s.resident >> model & 1:
                continue
            for leaving in self._leaving(s, model):
                yield s._replace(
                    loading=model,
                    loaded_at=s.now + self._models[model].load_seconds,
                    resident=s.resident & ~leaving,
                )

    def _leaving(self, s: _State, model: int) -> Iterator[int]:
        """Yield the smallest sets whose leaving makes room."""
        busy = self._of[s.running] if s.running >= 0 else -1
        there = [m for m in range(len(self._models)) if s.resident >> m & 1]
        taken = sum(self._models[m].memory_gb for m in there) + self._models[model].memory_gb
        lacking = taken - self._budget_gb
        found: list[set[int]] = []
        idle = [m for m in there if m != busy]
        for size in range(len(idle) + 1):
            for group in combinations(idle, size):
                enough = sum(self._models[m].memory_gb for m in group) >= lacking
                if enough and not any(f <= set(group) for f in found):
                    found.append(set(group))
                    yield sum(1 << m for m in group)

    def _advance(self, s: _State, moment: float) -> _State:
        after = s._replace(now=moment)
        if s.running >= 0 and s.free_at <= moment:
            after = after._replace(done=after.done | 1 << s.running, running=-1, free_at=0.0)
        if s.loading >= 0 and s.loaded_at <= moment:
            resident = after.resident | 1 << s.loading
            after = after._replace(resident=resident, loading=-1, loaded_at=0.0)
        return after

    def _tails(self) -> list[float]:
        """Return how long it is at least from the beginning of each job to the end of all."""
        tails = [job.seconds for job in self._jobs]
        for number in reversed(range(len(self._jobs))):
            for before in self._jobs[number].after:
                tails[before] = max(tails[before], self._jobs[before].seconds + tails[number])
        return tails

    def _equal(self) -> list[int]:
        """Return for each job an earlier one that differs from it in nothing, or -1."""
        followed = {b for job in self._jobs for b in job.after}
        twins = []
        for number, job in enumerate(self._jobs):
            like = [
                n
                for n in range(number)
                if n not in followed
                and number not in followed
                and self._jobs[n]._replace(campaign=0, priority=0)
                == job._replace(campaign=0, priority=0)
            ]
            twins.append(like[-1] if like else -1)
        return twins
