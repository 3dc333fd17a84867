"""The floor: who has a place in JOBS, who is called, and what JOBS itself says of it."""

from __future__ import annotations

import pytest
from router_facts import KEY, NOW, admitted, job, message, service

from contracts.codec import encode
from contracts.jobs import JobRecord
from contracts.manifest import ServiceRecord
from contracts.requests import GenerateImage
from services.router.admission import Admitted, Message, admit, first_record
from services.router.floor import CALLED_SECONDS, Floor, Residence
from services.router.release import places

pytestmark = pytest.mark.unit


def test_who_waits_beyond_its_deadline_is_not_waiting() -> None:
    floor = Floor(lambda _: service("alpha", workers=0), lambda: 0.0)
    floor.sync([("alpha", "other")], 1.0)  # the only place is taken
    known = admit(message(GenerateImage(prompt="a", width=64, height=64, deadline_seconds=10)))
    assert not floor.enter("alpha", job(), known, again=False)
    assert floor.waits(KEY, 105.0)
    assert not floor.waits(KEY, 111.0)


def test_capacity_is_twice_what_can_run() -> None:
    assert places(service("alpha", workers=4)) == 2 * 4
    assert places(None) > 0


def test_the_floor_fills_empties_and_believes_jobs() -> None:
    now = [0.0]
    floor = Floor(lambda _: service("alpha", workers=3), lambda: now[0])  # room for six
    jobs = [job(request_id=f"r{n}", job_id=f"j{n}") for n in range(8)]

    def enter(number: int) -> bool:
        subject = f"adgenx.req.acme.image.-.r{number}"
        known = admit(message(subject=subject))
        return floor.enter("alpha", jobs[number], known, again=False)

    assert [enter(n) for n in range(8)] == [True] * 6 + [False] * 2
    assert floor.waits("acme.-.r7", NOW)
    floor.left("alpha", "acme.-.r0", "j0")
    assert floor.called("alpha") == ["acme.-.r6"]
    assert enter(6)
    assert not enter(7)
    now[0] = 10.0
    floor.sync([("alpha", "j1")], 5.0)  # the others have left by another router
    assert floor.called("alpha") == ["acme.-.r7"]
    assert enter(7)
    assert floor.crowded == []


def test_a_job_that_another_router_released_waits_no_longer() -> None:
    floor = Floor(lambda _: service("alpha", workers=0), lambda: 0.0)
    floor.sync([("alpha", "other")], 1.0)  # the only place is taken
    floor.begin(KEY)
    assert not floor.enter("alpha", job(), admitted(), again=False)
    floor.settle(KEY)
    assert floor.waits(KEY, NOW)
    floor.begin(KEY)  # advanced again, and this time it has no wish to enter
    floor.settle(KEY)
    assert not floor.waits(KEY, NOW)
    assert floor.crowded == []


# the breaker, calls, ranks, devices and deadlines


def announced(_: str) -> ServiceRecord:
    return service("s")


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
