"""When a delivery is tried again, what it says, and whose turn it is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import MalformedMessageError, TooLargeError
from contracts.webhooks import DeliveryRecord, DeliveryState, WebhookRecord
from services.webhooks import letter
from services.webhooks.agenda import Agenda
from services.webhooks.recipients import standing, told
from services.webhooks.schedule import JITTER, WAITS_SECONDS, Reply, answered, judge

pytestmark = pytest.mark.unit

NOW = 1_000_000.0
TWO_HOURS_SECONDS = 7200


def record(**fields: object) -> DeliveryRecord:
    given: dict[str, object] = {
        "tenant": "acme",
        "delivery_id": "msg_a",
        "subject": "adgenx.evt.acme.-.r1.image_generation_result",
        "url": "https://example.com/",
        "state": DeliveryState.PENDING,
        "created_at": NOW,
        "attempts": 1,
        "next_at": NOW + 30,
    }
    return msgspec.convert(given | fields, DeliveryRecord)


def test_failures_are_tried_again_for_two_hours_and_then_it_is_dead() -> None:
    found, now = record(attempts=0), NOW
    while found.state is DeliveryState.PENDING:
        found = msgspec.structs.replace(found, attempts=found.attempts + 1)
        found = judge(found, answered(500, "", now), now, 0.5)
        now = found.next_at or now
    assert found.state is DeliveryState.DEAD
    assert found.attempts == len(WAITS_SECONDS) + 1
    assert TWO_HOURS_SECONDS * 0.9 < now - NOW < TWO_HOURS_SECONDS * 1.1
    assert found.ended_at == now


@given(st.integers(1, len(WAITS_SECONDS)), st.floats(0, 1), st.floats(0.001, 1))
def test_a_wait_is_its_own_within_the_jitter(attempt: int, draw: float, pace: float) -> None:
    found = judge(record(attempts=attempt), Reply(error="reset"), NOW, draw, pace)
    wait = found.next_at - NOW
    wanted = WAITS_SECONDS[attempt - 1] * pace
    assert wanted * (1 - JITTER) - 1e-6 <= wait <= wanted * (1 + JITTER) + 1e-6
    assert (found.status, found.error) == (0, "reset")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, DeliveryState.DELIVERED),
        (204, DeliveryState.DELIVERED),
        (299, DeliveryState.DELIVERED),
        (199, DeliveryState.PENDING),
        (301, DeliveryState.PENDING),
        (308, DeliveryState.PENDING),
        (400, DeliveryState.PENDING),
        (401, DeliveryState.PENDING),
        (404, DeliveryState.PENDING),
        (410, DeliveryState.DEAD),
        (429, DeliveryState.PENDING),
        (503, DeliveryState.PENDING),
    ],
)
def test_what_a_status_means(status: int, state: DeliveryState) -> None:
    found = judge(record(), answered(status, "", NOW), NOW, 0.5)
    assert (found.state, found.status) == (state, status)
    assert bool(found.error) == (state is not DeliveryState.DELIVERED)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("99999999999999999999", 3600.0),
        ("Mon, 12 Jan 1970 13:48:40 GMT", 120.0),
        ("Mon, 12 Jan 1970 13:46:00 GMT", 0.0),
        ("Mon, 12 Jan 1970 13:48:40", 120.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Mon, 99 Jan 1970 13:48:40 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    reply = answered(429, text, NOW)
    assert reply.retry_after_seconds == seconds
    found = judge(record(), reply, NOW, 0.5)
    assert found.next_at - NOW == max(seconds, WAITS_SECONDS[0])


def test_a_final_reply_is_dead_whatever_attempts_are_left() -> None:
    found = judge(record(), Reply(error="URL_NOT_ALLOWED: x", final=True), NOW, 0.5)
    assert (found.state, found.error) == (DeliveryState.DEAD, "URL_NOT_ALLOWED: x")


def test_an_id_says_which_event_goes_to_which_address() -> None:
    first = letter.delivery_id("adgenx.evt.a.-.r.x", "https://a.example/")
    assert first == letter.delivery_id("adgenx.evt.a.-.r.x", "https://a.example/")
    assert first != letter.delivery_id("adgenx.evt.a.-.r.x", "https://b.example/")
    assert first != letter.delivery_id("adgenx.evt.a.-.q.x", "https://a.example/")
    assert first.startswith("msg_")
    assert len(first) == 30


def test_a_body_is_the_event_with_its_type_and_time() -> None:
    event = {"type": "campaign_result.v1", "request_id": "c", "at": 1.25, "revision": 1}
    made = msgspec.json.decode(letter.body(msgspec.json.encode(event)))
    assert made == {
        "type": "campaign_result.v1",
        "timestamp": "1970-01-01T00:00:01.250Z",
        "data": event,
    }


def test_what_is_too_large_is_told_without_its_lists_and_says_so() -> None:
    big = [{"step": "x" * 100}] * 3000
    event = {"type": "campaign_result.v1", "at": 1, "status": "ok", "steps": big, "outputs": ["o"]}
    made = letter.body(msgspec.json.encode(event))
    assert len(made) <= letter.MAX_BODY_BYTES
    told_of = msgspec.json.decode(made)
    assert told_of["abridged"] == ["steps"]
    assert told_of["data"]["outputs"] == ["o"]
    assert "steps" not in told_of["data"]
    with pytest.raises(TooLargeError):
        letter.body(msgspec.json.encode(event | {"labels": big, "attempts": big}))


@pytest.mark.parametrize("event", [b"", b"[]", b'{"at":"x"}', b'{"at":1e300}', b"\xff"])
def test_what_is_no_event_is_not_told(event: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        letter.body(event)


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("adgenx.evt.acme.-.r1.image_generation_result", "generation_result"),
        ("adgenx.evt.acme.spring.spring.campaign_result.2", "campaign_result"),
        ("adgenx.evt.-.-.abc.rejected", None),
        ("adgenx.evt.acme.-.r1", None),
        ("adgenx.evt.acme.-.*.image_generation_result", None),
    ],
)
def test_a_subject_says_who_may_be_told(subject: str, kind: str | None) -> None:
    event = told(subject, NOW)
    assert (event.kind if event else None) == kind


def test_a_webhook_is_told_what_it_asked_for_from_then_on() -> None:
    event = told("adgenx.evt.acme.-.r1.image_generation_result", NOW)
    assert event is not None
    given = {"tenant": "acme", "webhook_id": "w"}
    webhooks = [
        WebhookRecord(url="https://a/", at=NOW, **given),
        WebhookRecord(url="https://b/", at=NOW + 1, **given),
        WebhookRecord(url="https://c/", events=["campaign_result"], **given),
        WebhookRecord(url="https://d/", events=["generation_result"], **given),
    ]
    assert standing(event, webhooks) == ["https://a/", "https://d/"]


def test_whoever_is_due_goes_first_and_no_host_takes_every_hand() -> None:
    agenda = Agenda(in_flight=4, per_host=2)
    for n in range(6):
        agenda.put(f"slow{n}", n, "slow")
    agenda.put("late", 100, "fast")
    agenda.put("quick", 5, "fast")
    assert agenda.take(now=10) == ["slow0", "slow1", "quick"]
    assert agenda.take(now=10) == []
    assert agenda.next_at() == 100
    agenda.done("slow0")
    assert agenda.take(now=10) == ["slow2"]
    assert agenda.take(now=100) == ["late"]  # four hands, one of them free
    for key in ("slow1", "slow2", "quick", "late"):
        agenda.done(key)
    assert agenda.take(now=100) == ["slow3", "slow4"]
    assert agenda.next_at() is None
    assert len(agenda) == 3


def test_what_is_planned_anew_goes_when_it_was_planned_for_last() -> None:
    agenda = Agenda()
    agenda.put("a", 10, "h")
    agenda.put("a", 20, "h")
    assert agenda.take(now=15) == []
    assert agenda.take(now=20) == ["a"]
    agenda.put("a", 0, "h")  # under way: it plans itself when it ends
    assert agenda.take(now=20) == []
    agenda.done("a")
    agenda.put("a", 30, "h")
    assert agenda.take(now=30) == ["a"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9), st.sampled_from("xy"))))
def test_everything_planned_is_taken_once_and_never_more_than_allowed(
    plans: list[tuple[str, int, str]],
) -> None:
    agenda = Agenda(in_flight=3, per_host=2)
    for key, at, host in plans:
        agenda.put(key, at, host)
    taken: list[str] = []
    while now_busy := agenda.take(now=9):
        assert len(now_busy) <= 3
        taken += now_busy
        for key in now_busy:
            agenda.done(key)
    assert sorted(taken) == sorted({key for key, _, _ in plans})
    assert len(agenda) == 0
