"""Who is loaded, who runs, who leaves: the rules one by one, then over random devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.lease import Holds
from services.model_manager.policy import (
    LINGER_SECONDS,
    MOST_PATIENCE_SECONDS,
    PATIENCE,
    Choice,
    Device,
    Resident,
    Want,
    cheapest,
    choose,
    due_at,
    worth,
)

pytestmark = pytest.mark.unit

NOW = 10_000.0
DEVICE = Device(budget_gb=100.0, free_gb=200.0)


def resident(name: str, memory_gb: float = 50.0, **more: object) -> Resident:
    given: dict[str, object] = {
        "holder": name,
        "service": name,
        "memory_gb": memory_gb,
        "load_seconds": 20.0,
        "holds": Holds.LOADED,
        "used_at": NOW - 100,
    }
    return Resident(**{**given, **more})  # type: ignore[arg-type]  # names as in the Struct


def want(name: str, memory_gb: float = 50.0, ago: float = 0.0, **more: object) -> Want:
    given: dict[str, object] = {"load_seconds": 20.0, "priority": 5}
    return Want(
        holder=name,
        service=name,
        memory_gb=memory_gb,
        since=NOW - ago,
        **{**given, **more},  # type: ignore[arg-type]  # names as in the Struct
    )


def chosen(residents: list[Resident], wants: list[Want], device: Device = DEVICE) -> Choice:
    return choose(device, residents, wants, NOW)


def test_what_fits_is_loaded_and_nobody_leaves() -> None:
    choice = chosen([resident("a")], [want("b")])
    assert (choice.load, choice.leave) == (("b",), {})


def test_one_is_loaded_at_a_time() -> None:
    assert chosen([], [want("a"), want("b")]).load == ("a",)
    assert chosen([resident("a", 20, holds=Holds.LOADING)], [want("b", 20)]).load == ()


def test_what_has_nothing_to_do_leaves_for_what_has() -> None:
    choice = chosen([resident("a"), resident("b", queued=1)], [want("c")])
    assert (choice.load, choice.leave) == ((), {"a": "c needed the room"})


@pytest.mark.parametrize(
    "busy",
    [
        {"holds": Holds.RUNNING},
        {"run_since": NOW - 1},
        {"queued": 1},
        {"used_at": NOW - LINGER_SECONDS / 2},
    ],
)
def test_what_is_at_work_stays_while_the_others_are_patient(busy: dict[str, object]) -> None:
    assert chosen([resident("a", 80, **busy)], [want("b", 50)]) == Choice(
        run=("a",) if "run_since" in busy else ()
    )


def test_whoever_has_waited_too_long_is_made_room_for_also_by_those_at_work() -> None:
    late = PATIENCE * 40
    for busy in ({"holds": Holds.RUNNING}, {"run_since": NOW - 1}, {"queued": 3}):
        patient = chosen([resident("a", 80, **busy)], [want("b", ago=late - 1)])
        assert patient.leave == {}
        assert chosen([resident("a", 80, **busy)], [want("b", ago=late)]).leave == {
            "a": "b needed the room"
        }


def test_what_was_loaded_for_a_job_does_that_job_before_it_leaves() -> None:
    late = want("b", ago=10 * MOST_PATIENCE_SECONDS)
    fresh = resident("a", 80, fresh=True, run_since=NOW - 1)
    assert chosen([fresh], [late]) == Choice(run=("a",))
    assert chosen([resident("a", 80, fresh=True)], [late]).leave, "its job was cancelled"


def test_what_is_being_loaded_is_never_told_to_leave() -> None:
    loading = resident("a", 80, holds=Holds.LOADING)
    assert chosen([loading], [want("b", ago=10 * MOST_PATIENCE_SECONDS)]).leave == {}


def test_the_higher_the_priority_and_the_cheaper_the_exchange_the_shorter_the_patience() -> None:
    there = [resident("a")]
    assert due_at(want("b", priority=8), there) < due_at(want("b", priority=2), there)
    assert due_at(want("b", load_seconds=5.0), there) < due_at(want("b"), there)
    endless = want("b", load_seconds=1e6, priority=0)
    assert due_at(endless, there) == endless.since + MOST_PATIENCE_SECONDS


def test_nobody_takes_what_somebody_late_waits_for() -> None:
    there = [resident("a", 60, holds=Holds.RUNNING)]
    late = want("large", 90, ago=MOST_PATIENCE_SECONDS)
    choice = chosen(there, [late, want("small", 30)])
    assert (choice.load, choice.leave) == ((), {"a": "large needed the room"})


def test_what_is_left_over_is_given_to_whoever_fits_into_it() -> None:
    there = [resident("a", 60, holds=Holds.RUNNING)]
    late = want("large", 70, ago=MOST_PATIENCE_SECONDS)
    assert chosen(there, [late, want("small", 30)]).load == ("small",)
    assert chosen(there, [late, want("middling", 35)]).load == ()


def test_who_is_leaving_already_is_waited_for_and_nobody_else_is_sent_away() -> None:
    there = [resident("a", 50, leaving=True), resident("b", 50)]
    assert chosen(there, [want("c")]) == Choice()
    assert chosen(there, [want("c"), want("d", ago=-1)]).leave == {"b": "d needed the room"}


def test_nobody_leaves_for_what_others_than_models_have_taken() -> None:
    full = Device(budget_gb=100.0, free_gb=20.0)
    there = [resident("a", 10)]
    late = want("b", 50, ago=MOST_PATIENCE_SECONDS)
    assert choose(full, there, [late], NOW) == Choice()
    assert choose(full, there, [late, want("c", 20)], NOW).load == ("c",)


def test_a_device_that_has_too_little_left_loses_what_has_nothing_to_do() -> None:
    there = [resident("a", 50, used_at=NOW - 900), resident("b", 50), resident("c", 9, queued=1)]
    short = Device(budget_gb=100.0, free_gb=0.0, lacking_gb=9.0)
    assert choose(short, there, [], NOW).leave == {"a": "the device has too little memory left"}
    much = Device(budget_gb=100.0, free_gb=0.0, lacking_gb=105.0)
    assert set(choose(much, there, [], NOW).leave) == {"a", "b"}


def test_what_is_dear_to_load_was_used_lately_or_is_needed_is_worth_more() -> None:
    usual = resident("a", used_at=NOW - 60)
    assert worth(resident("a", used_at=NOW - 60, load_seconds=40.0), NOW) > worth(usual, NOW)
    assert worth(resident("a", used_at=NOW - 600), NOW) < worth(usual, NOW)
    queued = resident("a", used_at=NOW - 600, queued=1)
    assert worth(queued, NOW) > worth(usual, NOW)
    assert worth(resident("a", queued=4), NOW) > worth(queued, NOW)
    assert worth(resident("a", queued=1, priority=8), NOW) > worth(queued, NOW)


def test_the_set_that_is_worth_least_leaves() -> None:
    dear = resident("dear", 60, load_seconds=90.0)
    cheap = [resident(name, 30, load_seconds=10.0) for name in ("x", "y")]
    assert cheapest([dear, *cheap], 60, NOW) == cheap
    both = cheapest([dear, *cheap], 61, NOW)
    assert (dear in both, len(both)) == (True, 2)
    assert cheapest(cheap, 61, NOW) == []


def test_the_highest_priority_runs_and_waiting_makes_priority() -> None:
    high = resident("high", 10, run_since=NOW - 1, priority=8)
    low = resident("low", 10, run_since=NOW - 2, priority=2)
    assert chosen([low, high], []).run == ("high",)
    patient = resident("patient", 10, run_since=NOW - 5 * 60, priority=2)
    assert chosen([patient, high], []).run == ("high",)
    waited = resident("waited", 10, run_since=NOW - 7 * 60, priority=2)
    assert chosen([waited, high], []).run == ("waited",)


def test_as_many_run_as_there_are_slots_and_nobody_who_is_to_leave() -> None:
    there = [
        resident("a", 10, holds=Holds.RUNNING),
        resident("b", 10, run_since=NOW - 3),
        resident("c", 10, run_since=NOW - 2),
        resident("d", 10, run_since=NOW - 4, leaving=True),
    ]
    assert chosen(there, []).run == ()
    two = Device(budget_gb=100.0, free_gb=100.0, slots=2)
    assert choose(two, there, [], NOW).run == ("b",)


RESIDENT = st.builds(
    resident,
    name=st.uuids().map(str),
    memory_gb=st.integers(1, 60).map(float),
    load_seconds=st.integers(1, 60).map(float),
    holds=st.sampled_from([Holds.LOADING, Holds.LOADED, Holds.RUNNING]),
    used_at=st.integers(0, 2000).map(lambda s: NOW - s),
    run_since=st.sampled_from([0.0, NOW - 500, NOW - 1]),
    priority=st.integers(0, 9),
    queued=st.integers(0, 3),
    leaving=st.booleans(),
)
WANT = st.builds(
    want,
    name=st.uuids().map(str),
    memory_gb=st.integers(1, 110).map(float),
    ago=st.integers(0, 2000).map(float),
    load_seconds=st.integers(1, 60).map(float),
    priority=st.integers(0, 9),
)


@given(
    residents=st.lists(RESIDENT, max_size=14),
    wants=st.lists(WANT, max_size=6),
    free_gb=st.integers(0, 120).map(float),
    slots=st.integers(1, 3),
)
def test_no_choice_gives_what_is_not_there(
    residents: list[Resident], wants: list[Want], free_gb: float, slots: int
) -> None:
    device = Device(budget_gb=100.0, free_gb=free_gb, slots=slots)
    choice = choose(device, residents, wants, NOW)
    sizes = {w.holder: w.memory_gb for w in wants}
    there = {r.holder: r for r in residents}
    taken = sum(r.memory_gb for r in residents)
    granted = sum(sizes[h] for h in choice.load)
    assert not granted or taken + granted <= device.budget_gb
    assert granted <= free_gb
    assert len(choice.load) <= 1
    running = sum(r.holds is Holds.RUNNING for r in residents)
    assert not choice.run or running + len(choice.run) <= slots
    assert not set(choice.run) & set(choice.leave)
    assert all(there[h].holds is Holds.LOADED and there[h].run_since for h in choice.run)
    assert all(there[h].holds is not Holds.LOADING for h in choice.leave)
    assert choice == choose(device, residents[::-1], wants[::-1], NOW)
