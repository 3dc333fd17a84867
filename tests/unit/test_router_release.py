"""Who goes next: the rules of release.py, one at a time."""

from __future__ import annotations

from collections import Counter

import pytest
from router_queue import NOW, order, queue_of, waiting

from services.router.release import (
    HOLD_SECONDS,
    MOST_PASSED,
    OVERTAKES,
    Capacity,
    Queue,
    Rush,
    release,
)

pytestmark = pytest.mark.unit

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
