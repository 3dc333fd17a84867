"""Who goes next: the rules of release.py, against a plain reading of them and in virtual time."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.capability import Tier
from contracts.codec import encode
from contracts.jobs import JobRecord
from contracts.manifest import (
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.requests import GenerateImage
from services.router.admission import Admitted, Message, admit, first_record
from services.router.floor import CALLED_SECONDS, Floor, Residence
from services.router.release import (
    HOLD_SECONDS,
    MOST_PASSED,
    OVERTAKES,
    Capacity,
    Queue,
    Rush,
    Waiting,
    release,
)
from services.router.waiting import URGENT

pytestmark = pytest.mark.unit

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


# one rule at a time


def test_the_important_and_then_the_old_go_first() -> None:
    queue = queue_of(waiting("t.a", 5, 2.0), waiting("t.b", 5, 1.0), waiting("t.c", 9, 3.0))
    assert order(queue) == ["t.c", "t.b", "t.a"]


def test_a_person_s_order_goes_before_everything() -> None:
    queue = queue_of(
        waiting("t.interactive", 9),
        waiting("u.third", 0, 5.0, rank=7),
        waiting("t.first", 0, 9.0, rank=0),
        waiting("t.second", 0, 4.0, rank=7),
    )
    assert order(queue) == ["t.first", "t.second", "u.third", "t.interactive"]


def test_a_rank_can_be_given_changed_and_taken_away() -> None:
    queue = queue_of(
        waiting("t.a", since=1.0), waiting("t.b", since=2.0), waiting("t.c", since=3.0)
    )
    queue.put(waiting("t.c", since=3.0, rank=1))
    queue.put(waiting("t.b", since=2.0, rank=2))
    queue.put(waiting("t.b", since=2.0, rank=0))
    queue.put(waiting("t.c", since=3.0))
    assert order(queue) == ["t.b", "t.a", "t.c"]


def test_a_batch_job_is_overtaken_by_a_steady_stream_of_interactive_ones_only_so_often() -> None:
    queue = queue_of(waiting("t.batch", 0))
    for number in range(MOST_PASSED + 1):
        queue.put(waiting(f"t.i{number:04}", 9, float(number)))
        job = queue.take(NOW)
        assert job is not None
        if job.key == "t.batch":
            assert number == 9 * OVERTAKES
            return
    raise AssertionError("the batch job starved")


def test_tenants_take_turns_however_much_one_of_them_asks() -> None:
    queue = queue_of(*(waiting(f"big.{n:03}", 9, float(n)) for n in range(100)))
    queue.put(waiting("small.a", 0, 500.0))
    queue.put(waiting("small.b", 0, 501.0))
    assert order(queue)[:4] == ["big.000", "small.a", "big.001", "small.b"]


def test_who_has_fewer_inside_goes_first_by_its_weight() -> None:
    queue = Queue(lambda tenant: 2.0 if tenant == "heavy" else 1.0)
    for tenant, inside in (("heavy", 3), ("light", 2)):
        queue.put(waiting(f"{tenant}.x"))
        for _ in range(inside):
            queue.entered(tenant)
    assert order(queue) == ["heavy.x", "light.x"]  # 3 / 2 is less than 2 / 1


def test_a_weight_counts_where_only_one_can_be_inside() -> None:
    queue = Queue(lambda tenant: 3.0 if tenant == "heavy" else 1.0)
    for n in range(40):
        queue.put(waiting(f"heavy.{n:02}", since=float(n)))
        queue.put(waiting(f"light.{n:02}", since=float(n)))
    shares = Counter(key.partition(".")[0] for key in order(queue)[:40])
    assert shares == {"heavy": 30, "light": 10}


def test_a_deadline_that_is_near_hurries_and_a_hopeless_one_does_not() -> None:
    queue = queue_of(
        waiting("t.normal", 9, 1.0),
        waiting("t.far", 5, 2.0, NOW + 500),
        waiting("t.near", 5, 3.0, NOW + 50),
        waiting("t.nearer", 0, 4.0, NOW + 40),
        waiting("t.hopeless", 0, 5.0, NOW + 5),
    )
    found = order(queue, Rush(seconds=10, within=100))
    assert found == ["t.nearer", "t.near", "t.normal", "t.far", "t.hopeless"]


def test_deadlines_do_not_starve_what_has_none() -> None:
    queue = queue_of(waiting("t.patient", 0))
    for number in range(MOST_PASSED + 1):
        queue.put(waiting(f"t.d{number:04}", 5, float(number), NOW + 50))
        job = queue.take(NOW, Rush(seconds=1, within=100))
        assert job is not None
        if job.key == "t.patient":
            return
    raise AssertionError("the job without a deadline starved")


# between services


def test_a_service_without_its_model_stands_back_but_not_for_ever() -> None:
    queued = {"loaded": queue_of(waiting("t.a")), "cold": queue_of(waiting("t.b"))}
    room = {
        "loaded": Capacity(free=0, device="gpu"),
        "cold": Capacity(free=1, device="gpu", resident=False),
    }
    assert release(queued, room, NOW) == []
    assert release(queued, room, NOW + HOLD_SECONDS - 1) == []
    assert release(queued, room, NOW + HOLD_SECONDS) == [("cold", waiting("t.b"))]


def test_nobody_stands_back_for_an_idle_model_another_device_or_a_person_s_order() -> None:
    cold = Capacity(free=1, device="gpu", resident=False)
    idle = {"loaded": Queue(), "cold": queue_of(waiting("t.b"))}
    room = {"loaded": Capacity(free=1, device="gpu"), "cold": cold}
    assert release(idle, room, NOW) == [("cold", waiting("t.b"))]
    elsewhere = {"loaded": queue_of(waiting("t.a")), "cold": queue_of(waiting("t.b"))}
    room = {"loaded": Capacity(free=0, device="other"), "cold": cold}
    assert release(elsewhere, room, NOW) == [("cold", waiting("t.b"))]
    ranked = waiting("t.r", rank=0)
    pressing = {"loaded": queue_of(waiting("t.a")), "cold": queue_of(ranked)}
    room = {"loaded": Capacity(free=0, device="gpu"), "cold": cold}
    assert release(pressing, room, NOW) == [("cold", ranked)]


def test_no_more_are_released_than_there_is_room() -> None:
    queued = {"a": queue_of(*(waiting(f"t.{n}") for n in range(5))), "b": queue_of(waiting("t.b"))}
    found = release(queued, {"a": Capacity(free=2), "b": Capacity(free=-1)}, NOW)
    assert [name for name, _ in found] == ["a", "a"]
    assert len(queued["a"]) == 3
    assert len(queued["b"]) == 1


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


# the floor: what comes from outside


def announced(_: str) -> ServiceRecord:
    return ServiceRecord(
        manifest=Manifest(
            name="s",
            version="1.0.0",
            tier=Tier.DRAFT,
            accepts=["generate_image.v1"],
            model=ModelSection(name="m", licence="MIT", commercial_use=True),
            resources=ResourceSection(memory_gb=1, concurrency=1),
        ),
        revision="1",
        state=ServiceState.READY,
        workers=1,
        announced_at=NOW,
    )


def asked(number: int, service: str = "s", seconds: float = 0.0) -> tuple[str, JobRecord, Admitted]:
    subject = f"adgenx.req.acme.image.-.r{number}"
    body = encode(GenerateImage(prompt="a", width=64, height=64, deadline_seconds=seconds))
    known = admit(Message(subject, body, number + 1, NOW + number))
    return service, first_record(known, announced(service)), known


def test_a_breaker_lets_nothing_through_then_one_then_all() -> None:
    through: list[int | None] = [0]
    floor = Floor(announced, lambda: 0.0, room=lambda _: through[0])
    assert [floor.enter(*asked(n), again=False) for n in range(4)] == [False] * 4
    through[0] = 1
    assert floor.called("s") == ["acme.-.r0"]
    assert floor.called("s") == []  # one probe, not one for each time that somebody asks
    assert floor.enter(*asked(0), again=False)
    assert floor.called("s") == []
    through[0] = None
    assert floor.called("s") == ["acme.-.r1"]


def test_a_probe_that_was_not_published_has_its_place_again() -> None:
    through, probe = [1], [""]
    floor = Floor(announced, lambda: 0.0, room=lambda _: through[0], probe=lambda _: probe[0])
    assert floor.enter(*asked(1), again=False)
    through[0], probe[0] = 0, asked(1)[1].job_id
    floor.sync([], 1.0)  # JOBS does not hold it
    assert not floor.enter(*asked(2), again=False)
    assert floor.enter(*asked(1), again=False)


def test_what_was_let_in_and_handed_back_waits_again() -> None:
    floor = Floor(announced, lambda: 0.0)
    service, job, known = asked(1)
    assert floor.enter(service, job, known, again=False)
    floor.hand_back(service, job, known)
    assert floor.waits(known.key, NOW)
    assert floor.load(service).inside == 0


def test_a_call_that_nobody_heard_is_made_again() -> None:
    now = [0.0]
    floor = Floor(announced, lambda: now[0])
    floor.sync([("s", "x"), ("s", "y")], 1.0)
    assert not floor.enter(*asked(1), again=False)
    now[0] = 2.0
    floor.sync([("s", "x")], 1.5)
    assert floor.called("s") == ["acme.-.r1"]
    assert floor.called("s") == []
    now[0] += CALLED_SECONDS + 1
    floor.sync([("s", "x")], now[0])
    assert floor.called("s") == ["acme.-.r1"]


def test_a_rank_sorts_the_waiting_at_once() -> None:
    floor = Floor(announced, lambda: 0.0)
    floor.sync([("s", "x"), ("s", "y")], 0.0)
    for n in range(3):
        assert not floor.enter(*asked(n), again=False)
    floor.rank("s", "acme.-.r2", 0)
    floor.left("s", "acme.-.gone", "x")
    assert floor.called("s") == ["acme.-.r2"]


def test_a_cold_service_is_called_when_the_warm_one_has_nothing_left() -> None:
    homes = {"warm": Residence("gpu"), "cold": Residence("gpu", resident=False)}
    floor = Floor(announced, lambda: 0.0, now=lambda: NOW, residence=homes.__getitem__)
    floor.sync([("warm", "x"), ("warm", "y")], 0.0)
    assert not floor.enter(*asked(1, "warm"), again=False)
    assert not floor.enter(*asked(2, "cold"), again=False)
    floor.left("warm", "acme.-.r1", "")
    assert floor.called("warm") == ["acme.-.r2"]


def test_a_deadline_hurries_by_what_runs_have_taken_lately() -> None:
    """Two runs of 30 s before it, 70 s left: it would be late if it waited for all the others."""
    floor = Floor(announced, lambda: 0.0, now=lambda: NOW)
    floor.sync([("s", "x"), ("s", "y")], 0.0)
    floor.took("s", 90.0)
    for _ in range(30):
        floor.took("s", 30.0)
    assert round(floor.load("s").seconds) == 30
    for n in range(4):
        assert not floor.enter(*asked(n), again=False)
    service, job, known = asked(5, seconds=65.0)
    assert not floor.enter(service, job, known, again=False)
    floor.left("s", "acme.-.gone", "x")
    assert floor.called("s") == ["acme.-.r5"]
