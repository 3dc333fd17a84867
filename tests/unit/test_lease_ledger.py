"""What the manager knows: words heard, answers lost, time passed, memory measured."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from contracts.lease import DeviceRecord, Holds, LeaseAnswer, LeaseAsk, Wants, Word
from services.model_manager.ledger import (
    DOUBT,
    FADING,
    HEADROOM,
    MARGIN_GB,
    REMEMBERED,
    TTL_SECONDS,
    Ledger,
    Room,
)
from services.model_manager.policy import MOST_PATIENCE_SECONDS

pytestmark = pytest.mark.unit

NOW = 1_000.0
ROOM = Room(budget_gb=100.0, free_gb=200.0)
NOTHING, LOADING, LOADED, RUNNING = Holds
LOAD, RUN = Wants.LOAD, Wants.RUN


class Desk:
    """A ledger with a clock, and workers who ask it."""

    def __init__(self, room: Room = ROOM, queued: dict[str, int] | None = None) -> None:
        self.now = NOW
        self.room = room
        self.queued = queued or {}
        self.ledger = Ledger("box", None, NOW)
        self._numbers = itertools.count(1)

    def ask(self, service: str, holds: Holds, wants: Wants, **more: object) -> LeaseAnswer:
        given: dict[str, object] = {
            "device": "box",
            "holder": service,
            "service": service.partition("-")[0],
            "number": next(self._numbers),
            "memory_gb": 60.0,
            "load_seconds": 20.0,
            "priority": 5,
            "holds": holds,
            "wants": wants,
        }
        ask = msgspec.convert({**given, **more, "type": "lease_ask.v1"}, LeaseAsk)
        self.ledger.surround(self.room, self.queued)
        self.ledger.hear(ask, self.now)
        self.ledger.decide(self.now)
        return self.ledger.answer(ask)

    def word(self, service: str, holds: Holds, wants: Wants, **more: object) -> Word:
        return self.ask(service, holds, wants, **more).word

    def loaded(self, service: str, **more: object) -> None:
        assert self.word(service, NOTHING, LOAD, **more) is Word.GRANTED
        self.word(service, LOADED, Wants.NOTHING, **more)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.surround(self.room, self.queued)
        self.ledger.expire(self.now)
        self.ledger.decide(self.now)

    def restart(self) -> None:
        stored = msgspec.json.encode(self.record)
        self.ledger = Ledger("box", msgspec.json.decode(stored, type=DeviceRecord), self.now)

    @property
    def record(self) -> DeviceRecord:
        return self.ledger.record(self.now)

    def holds(self) -> dict[str, Holds]:
        return {lease.holder: lease.holds for lease in self.record.leases}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_answer_that_was_lost_is_given_again(desk: Desk) -> None:
    assert desk.word("a", NOTHING, LOAD) is Word.GRANTED
    assert desk.word("a", NOTHING, LOAD) is Word.GRANTED
    assert desk.holds() == {"a": LOADING}
    desk.word("a", LOADED, Wants.NOTHING)
    assert desk.word("a", LOADED, RUN) is Word.GRANTED
    assert desk.word("a", LOADED, RUN) is Word.GRANTED
    assert desk.holds() == {"a": RUNNING}


def test_a_word_that_was_overtaken_counts_for_nothing(desk: Desk) -> None:
    desk.word("a", NOTHING, LOAD, number=10)
    desk.word("a", NOTHING, Wants.NOTHING, number=9)
    assert desk.holds() == {"a": LOADING}


def test_whoever_gives_up_is_forgotten_and_leaves_no_trace(desk: Desk) -> None:
    desk.loaded("a")
    desk.word("b", NOTHING, LOAD)
    desk.word("b", NOTHING, Wants.NOTHING)
    assert (desk.holds(), desk.record.left) == ({"a": LOADED}, [])
    assert desk.word("c", NOTHING, Wants.NOTHING) is Word.GRANTED
    assert "c" not in desk.holds()


def test_whoever_is_told_to_leave_does_and_it_is_remembered_why(desk: Desk) -> None:
    desk.loaded("a")
    desk.pass_(5)
    assert desk.word("b", NOTHING, LOAD) is Word.WAIT
    assert desk.ask("a", LOADED, Wants.NOTHING).reason == "b needed the room"
    assert desk.word("a", LOADED, RUN) is Word.LEAVE
    desk.now += 1
    desk.word("a", NOTHING, Wants.NOTHING)
    assert desk.word("b", NOTHING, LOAD) is Word.GRANTED
    [left] = desk.record.left
    assert (left.service, left.at, left.loaded_at) == ("a", NOW + 6, NOW)
    assert left.why == "b needed the room"


def test_whoever_was_told_to_leave_and_asks_to_load_stands_in_line_again(desk: Desk) -> None:
    desk.loaded("a")
    desk.pass_(5)
    desk.word("b", NOTHING, LOAD)
    desk.now += 1
    assert desk.word("a", NOTHING, LOAD) is Word.WAIT
    assert desk.holds() == {"b": LOADING, "a": NOTHING}


def test_one_at_work_that_shall_leave_finishes_its_job() -> None:
    desk = Desk(queued={"a": 1})
    desk.loaded("a")
    desk.word("a", LOADED, RUN)
    desk.word("b", NOTHING, LOAD)
    for _ in range(int(MOST_PATIENCE_SECONDS)):
        desk.word("a", RUNNING, Wants.NOTHING)
        desk.word("b", NOTHING, LOAD)
        desk.pass_(1)
    assert desk.holds()["a"] is RUNNING
    assert desk.word("a", RUNNING, Wants.NOTHING) is Word.LEAVE
    assert desk.word("a", LOADED, Wants.NOTHING) is Word.LEAVE


def test_a_run_that_was_granted_is_not_taken_back_before_its_worker_has_heard(desk: Desk) -> None:
    desk.loaded("a")
    desk.word("a", LOADED, RUN)
    desk.word("b", NOTHING, LOAD)
    for _ in range(int(MOST_PATIENCE_SECONDS)):
        desk.word("b", NOTHING, LOAD)
        assert desk.word("a", LOADED, RUN) is Word.GRANTED  # each answer is lost
        desk.pass_(1)
    assert [x.leaving for x in desk.record.leases if x.holder == "a"] == ["b needed the room"]
    assert desk.word("a", RUNNING, Wants.NOTHING) is Word.LEAVE


def test_whoever_falls_silent_is_forgotten(desk: Desk) -> None:
    desk.loaded("a")
    desk.pass_(TTL_SECONDS - 1)
    assert desk.holds() == {"a": LOADED}
    desk.pass_(1)
    assert desk.holds() == {}
    assert desk.record.left[0].why == "its worker was not heard of any more"


def test_after_a_restart_everybody_has_time_to_be_heard_of(desk: Desk) -> None:
    desk.loaded("a")
    desk.now += 10 * TTL_SECONDS  # so long was the manager away
    desk.restart()
    desk.pass_(TTL_SECONDS - 1)
    assert desk.holds() == {"a": LOADED}
    assert desk.word("b", NOTHING, LOAD) is Word.WAIT
    desk.pass_(1)
    assert desk.word("b", NOTHING, LOAD) is Word.GRANTED


def test_a_restart_keeps_the_line_the_reasons_and_what_was_measured(desk: Desk) -> None:
    desk.loaded("a", peak_gb=50.0)
    desk.word("a", LOADED, RUN)
    desk.word("b", NOTHING, LOAD)
    desk.now += 5
    before = desk.record
    desk.restart()
    after = desk.record
    moved = [msgspec.structs.replace(x, expires_at=desk.now + TTL_SECONDS) for x in before.leases]
    assert after == msgspec.structs.replace(before, leases=moved)
    assert [x.since for x in after.leases if x.holder == "b"] == [NOW]


def test_whoever_is_loaded_without_a_lease_is_taken_note_of(desk: Desk) -> None:
    assert desk.word("a", RUNNING, Wants.NOTHING, memory_gb=90.0) is Word.GRANTED
    assert desk.word("b", LOADED, Wants.NOTHING) is Word.LEAVE, "more is taken than there is"
    assert desk.holds() == {"a": RUNNING, "b": LOADED}
    assert {x.holder: x.leaving for x in desk.record.leases} == {
        "a": "",
        "b": "the device has too little memory left",
    }


def test_a_job_that_another_worker_had_before_keeps_its_place_in_the_line(desk: Desk) -> None:
    desk.loaded("a")
    desk.word("a", LOADED, RUN)
    desk.word("b-1", NOTHING, LOAD)
    desk.now += 10
    desk.word("b-2", NOTHING, LOAD)
    assert {x.holder: x.since for x in desk.record.leases} == {"a": 0.0, "b-1": NOW, "b-2": NOW}


def test_a_second_process_is_loaded_only_where_two_may_run() -> None:
    for slots, word in ((1, Word.WAIT), (2, Word.GRANTED)):
        desk = Desk(Room(budget_gb=200.0, free_gb=300.0, slots=slots))
        desk.loaded("a-1")
        answer = desk.ask("a-2", NOTHING, LOAD)
        assert (answer.word, answer.hold) == (word, word is Word.GRANTED)


def test_what_is_larger_than_the_budget_is_refused_and_holds_up_nobody(desk: Desk) -> None:
    answer = desk.ask("giant", NOTHING, LOAD, memory_gb=120.0)
    assert (answer.word, answer.hold) == (Word.REFUSED, False)
    assert answer.reason == "it takes 120 GB, models may take 100"
    assert desk.word("a", NOTHING, LOAD) is Word.GRANTED


def test_what_was_measured_counts_more_with_every_run(desk: Desk) -> None:
    desk.loaded("a", peak_gb=10.0)
    assert desk.ledger.charged_gb() == 60.0
    for runs in range(1, 60):
        desk.word("a", LOADED, RUN, peak_gb=10.0)
        desk.word("a", LOADED, Wants.NOTHING, peak_gb=10.0)
        wanted = max(10.0 * HEADROOM, 60.0 * DOUBT**runs)
        assert desk.ledger.charged_gb() == pytest.approx(wanted)
    assert wanted == 11.0


def test_what_takes_more_than_its_manifest_says_is_charged_at_once(desk: Desk) -> None:
    desk.loaded("a", peak_gb=70.0)
    assert desk.ledger.charged_gb() == pytest.approx(77.0)
    desk.word("a", NOTHING, Wants.NOTHING)
    desk.word("a", NOTHING, LOAD)
    assert desk.ledger.charged_gb() == pytest.approx(77.0), "the next process is charged as much"


def test_what_fits_by_its_manifest_is_loaded_again_whatever_it_once_took(desk: Desk) -> None:
    for peak_gb in (95.0, 130.0):
        desk.loaded("a", memory_gb=80.0, peak_gb=peak_gb)
        desk.word("a", NOTHING, Wants.NOTHING)
        assert desk.word("a", NOTHING, LOAD, memory_gb=80.0) is Word.GRANTED
        assert desk.ledger.charged_gb() == ROOM.budget_gb, "and it is alone"
        desk.word("a", NOTHING, Wants.NOTHING)


def test_one_giant_request_does_not_count_for_ever(desk: Desk) -> None:
    desk.loaded("a", peak_gb=90.0)
    desk.word("a", NOTHING, Wants.NOTHING)
    desk.loaded("a", peak_gb=10.0)
    for _ in range(10):
        desk.word("a", LOADED, RUN, peak_gb=10.0)
        desk.word("a", LOADED, Wants.NOTHING, peak_gb=10.0)
    assert desk.record.measured["a"].peak_gb == pytest.approx(90.0 * FADING**10)


def test_loading_is_known_by_what_it_took(desk: Desk) -> None:
    for seconds, known in ((40.0, 40.0), (20.0, 30.0)):
        desk.loaded("a", loaded_seconds=seconds)
        assert desk.record.measured["a"].load_seconds == known
        desk.word("a", NOTHING, Wants.NOTHING)


def test_what_others_take_is_not_lent() -> None:
    desk = Desk(Room(budget_gb=100.0, free_gb=60.0 + MARGIN_GB - 1))
    assert desk.word("a", NOTHING, LOAD) is Word.WAIT
    desk.room = Room(budget_gb=100.0, free_gb=60.0 + MARGIN_GB)
    assert desk.word("a", NOTHING, LOAD) is Word.GRANTED


def test_what_is_loaded_and_has_not_grown_yet_is_not_lent_twice() -> None:
    desk = Desk(Room(budget_gb=200.0, free_gb=80.0))
    desk.loaded("a", used_gb=20.0)  # of 60: 40 may still come
    assert desk.word("b", NOTHING, LOAD, memory_gb=39.0) is Word.WAIT
    assert desk.word("b", NOTHING, LOAD, memory_gb=38.0) is Word.GRANTED


def test_only_the_newest_departures_are_kept(desk: Desk) -> None:
    for number in range(REMEMBERED + 3):
        desk.loaded(f"s{number}")
        desk.word(f"s{number}", NOTHING, Wants.NOTHING, reason="it was sold")
    left = desk.record.left
    assert (len(left), left[0].service, left[0].why) == (REMEMBERED, "s22", "it was sold")
