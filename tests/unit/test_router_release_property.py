"""Who goes next: the heaps against a plain reading of the rules, and in virtual time."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_queue import NOW, order, queue_of

from services.router.release import MOST_PASSED, OVERTAKES, Capacity, Queue, Rush, Waiting, release
from services.router.waiting import URGENT

pytestmark = pytest.mark.unit

# the heaps against a plain reading of the rules


class _Plain:
    """What release.py's table says, word by word and without any care for cost."""

    def __init__(self) -> None:
        self.jobs: dict[str, Waiting] = {}
        self.inside: Counter[str] = Counter()
        self.due: dict[str, int] = {}
        self.passed: dict[str, Counter[int]] = {}
        self.hopeless: set[str] = set()
        self.released = 0

    def of(self, tenant: str) -> list[Waiting]:
        return [j for j in self.jobs.values() if j.tenant == tenant and j.rank is None]

    def put(self, job: Waiting) -> None:
        if self.jobs.get(job.key) == job:
            return
        self.drop(job.key)
        if job.rank is None and not self.of(job.tenant):
            self.due[job.tenant] = self.released
        self.jobs[job.key] = job

    def drop(self, key: str) -> None:
        job = self.jobs.pop(key, None)
        if job is None or job.rank is not None:
            return
        self.hopeless.discard(key)
        mine = self.of(job.tenant)
        if job.priority not in {j.priority for j in mine}:
            self.passed.get(job.tenant, Counter()).pop(job.priority, None)
        if not mine and not self.inside[job.tenant]:
            self.passed.pop(job.tenant, None)

    def take(self, now: float, rush: Rush) -> str | None:
        ranked = [(j.rank, j.since, j.key) for j in self.jobs.values() if j.rank is not None]
        if ranked:
            self.drop(min(ranked)[2])
            return min(ranked)[2]
        tenants = {j.tenant for j in self.jobs.values()}
        if not tenants:
            return None
        tenant = min(tenants, key=lambda t: (self.inside[t], self.due[t], t))
        key = self._of_tenant(tenant, now, rush)
        self.released += 1
        self.due[tenant] = self.released
        self.drop(key)
        return key

    def _of_tenant(self, tenant: str, now: float, rush: Rush) -> str:
        mine = self.of(tenant)
        passed = self.passed.setdefault(tenant, Counter())
        near = [
            j for j in mine if j.deadline_at and rush.seconds <= j.deadline_at - now < rush.within
        ]
        levels = {j.priority for j in mine} | ({URGENT} if near else set())
        if not near:
            passed.pop(URGENT, None)
        level = max(levels, key=lambda one: (one + passed[one] // OVERTAKES, passed[one]))
        for one in levels:
            passed[one] = 0 if one == level else passed[one] + 1
        if level == URGENT:
            return min((j.deadline_at, j.key) for j in near)[1]
        return min((j.since, j.key) for j in mine if j.priority == level)[1]


_NAMES = st.builds("{}.{}".format, st.sampled_from("abc"), st.integers(0, 11))
_JOBS = st.builds(
    Waiting,
    key=_NAMES,
    priority=st.integers(0, 9),
    since=st.integers(0, 20).map(float),
    deadline_at=st.sampled_from([0.0, 0.0, 1005.0, 1050.0, 1080.0, 1500.0]),
    rank=st.sampled_from([None, None, None, None, 0, 3]),
)
_WORDS = st.one_of(
    st.tuples(st.just("put"), _JOBS),
    st.tuples(st.just("drop"), _NAMES),
    st.tuples(st.just("take"), st.just("")),
    st.tuples(st.sampled_from(["entered", "left"]), st.sampled_from("abc")),
)


@given(st.lists(_WORDS, max_size=120))
@settings(max_examples=200, deadline=None)
def test_the_heaps_do_what_the_table_says(words: list[tuple[str, Waiting | str]]) -> None:
    queue, plain, rush = Queue(), _Plain(), Rush(seconds=10, within=100)
    for verb, what in [*words, *[("take", "")] * 40]:
        if isinstance(what, Waiting):
            queue.put(what)
            plain.put(what)
        elif verb == "drop":
            queue.drop(what)
            plain.drop(what)
        elif verb == "entered":
            queue.entered(what)
            plain.inside[what] += 1
        elif verb == "left" and plain.inside[what]:
            queue.left(what)
            plain.inside[what] -= 1
            if not plain.inside[what] and not plain.of(what):
                plain.passed.pop(what, None)
        elif verb == "take":
            job = queue.take(NOW, rush)
            assert (job.key if job else None) == plain.take(NOW, rush)
        assert len(queue) == len(plain.jobs)


# virtual time


class _Arrival(NamedTuple):
    at: int
    job: Waiting


class _Went(NamedTuple):
    job: Waiting
    older: int
    """Jobs of its tenant and priority that were waiting before it when it came."""
    passed: int
    """Jobs of its tenant that came later and went before it."""


_ARRIVALS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("ab"), st.integers(0, 9), st.booleans()),
    min_size=1,
    max_size=150,
)


def simulate(arrivals: list[_Arrival], capacity: int, length: int) -> list[_Went]:
    """Let jobs come and be done, each taking so many ticks; return them in their order."""
    queued = {"s": Queue()}
    inside: list[tuple[int, str]] = []
    came: dict[str, tuple[int, int]] = {}
    went: list[_Went] = []
    left = sorted(arrivals, key=lambda a: (a.at, a.job.key))
    for tick in range(10 * (len(arrivals) + 60) * length):
        for end, tenant in list(inside):
            if end == tick:
                inside.remove((end, tenant))
                queued["s"].left(tenant)
        while left and left[0].at <= tick:
            job = left.pop(0).job
            gone = {w.job.key for w in went}
            alike = (
                a.job
                for a in arrivals
                if (a.job.tenant, a.job.priority) == (job.tenant, job.priority)
            )
            older = sum(j.key in came and j.key not in gone for j in alike)
            came[job.key] = (len(came), older)
            queued["s"].put(job)
        room = {"s": Capacity(free=capacity - len(inside), places=capacity, seconds=length)}
        found = release(queued, room, float(tick))
        assert len(inside) + len(found) <= capacity
        for _, job in found:
            number, older = came[job.key]
            earlier = [w for w in went if w.job.tenant == job.tenant]
            passed = sum(came[w.job.key][0] > number for w in earlier)
            went.append(_Went(job, older, passed))
            inside.append((tick + length, job.tenant))
            queued["s"].entered(job.tenant)
        if not left and not len(queued["s"]):
            break
    return went


def _arrivals(drawn: list[tuple[int, str, int, bool]]) -> list[_Arrival]:
    return [
        _Arrival(at, Waiting(f"{tenant}.{n:04}", priority, at, at + 30.0 if hurried else 0.0))
        for n, (at, tenant, priority, hurried) in enumerate(drawn)
    ]


@given(_ARRIVALS, st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_everything_goes_once_and_is_overtaken_only_so_often(
    drawn: list[tuple[int, str, int, bool]], capacity: int, length: int
) -> None:
    arrivals = _arrivals(drawn)
    went = simulate(arrivals, capacity, length)
    assert sorted(w.job.key for w in went) == sorted(a.job.key for a in arrivals)
    assert all(w.passed <= (w.older + 1) * MOST_PASSED for w in went)
    assert went == simulate(arrivals, capacity, length)


@given(st.lists(st.integers(0, 9), min_size=30, max_size=60), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_two_tenants_that_always_want_get_the_same(
    priorities: list[int], capacity: int, length: int
) -> None:
    """One asks for everything at 9, the other at whatever: neither gains by it."""
    drawn = [(0, "a", 9, False) for _ in priorities] + [(0, "b", p, False) for p in priorities]
    went = simulate(_arrivals(drawn), capacity, length)
    for count in range(0, 2 * len(priorities), 2):
        shares = Counter(w.job.tenant for w in went[:count])
        assert abs(shares["a"] - shares["b"]) <= capacity


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whoever_is_ranked_goes_first_and_in_that_order(data: st.DataObject) -> None:
    jobs = data.draw(st.lists(_JOBS, max_size=30, unique_by=lambda j: j.key))
    found = order(queue_of(*jobs), Rush(seconds=10, within=100))
    ranks = {j.key: j.rank for j in jobs}
    ranked = [rank for key in found if (rank := ranks[key]) is not None]
    assert [ranks[key] for key in found[: len(ranked)]] == sorted(ranked)
