"""What goes from the brief and its message into the envelopes of the steps, and deadlines."""

from __future__ import annotations

import msgspec
import pytest
from coordinator_double import BRIEF as ONE_LOCALE
from coordinator_double import KEY, TENANT, MemoryWorld, Router, ask, told
from coordinator_schedule import AT, drive, serve

from contracts.brief import Money
from contracts.brief_check import check_brief
from contracts.campaign import CampaignRecord, CampaignState, Cancel, RunCampaign
from contracts.canonical import request_hash
from contracts.codec import encode
from contracts.errors import InvalidRequestError
from contracts.events import CommandResult
from contracts.governance import Limit
from contracts.requests import Request
from contracts.subjects import event
from services.coordinator import reception
from services.coordinator.acceptance import first_record, next_record, understand
from services.coordinator.advance import advance
from services.coordinator.decide import Seen, decide
from services.coordinator.reception import Message
from services.coordinator.telling import Once

pytestmark = pytest.mark.unit

BRIEF = msgspec.structs.replace(ONE_LOCALE, locales=["en-US", "de-AT"])
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record_of(message: RunCampaign) -> CampaignRecord:
    wanted = understand(encode(message), RunCampaign, TENANT, "k", AT)
    assert wanted.error is None
    return first_record(TENANT, "k", wanted, AT)


def asked(record: CampaignRecord, now: float = AT) -> list[Request]:
    commands = decide(Seen(record, 1, {}, now))
    bodies = [
        c.body for c in commands if isinstance(c, Once) and c.subject.startswith("adgenx.req")
    ]
    assert bodies
    return [msgspec.json.decode(body, type=Request) for body in bodies]


def test_the_terms_of_the_message_reach_every_step() -> None:
    message = RunCampaign(
        brief=BRIEF,
        priority=9,
        deadline_seconds=600,
        markets=["JP"],
        max_cost=3.0,
        allow_draft=True,
        traceparent=TRACE,
        webhook="https://example.com/hook",
        labels={"by": "me"},
    )
    record = record_of(message)
    assert (record.priority, record.deadline_at) == (9, AT + 600)
    assert record.webhook == "https://example.com/hook"
    for step in asked(record, AT + 100):
        assert step.priority == 9
        assert step.deadline_seconds == 500
        assert step.markets == ["JP"]
        assert step.budget == Limit(amount=3.0, revision=1)
        assert step.allow_draft
        assert step.traceparent == TRACE
        assert step.labels["by"] == "me"
        assert step.webhook == ""  # the campaign's result is told there, not every step's
        assert step.max_cost == 0.0  # what is limited is the campaign


def test_without_any_terms_there_are_the_markets_of_the_locales() -> None:
    for step in asked(record_of(RunCampaign(brief=BRIEF))):
        assert step.markets == ["US", "AT"]
        assert (step.priority, step.deadline_seconds, step.budget) == (5, 0.0, None)
        assert not step.allow_draft


def test_the_brief_s_own_word_goes_before_its_message_s() -> None:
    brief = msgspec.structs.replace(
        BRIEF, markets=["FR"], allow_draft=True, budget=Money(amount=2.0)
    )
    message = RunCampaign(brief=brief, markets=["JP"], max_cost=5.0, budget=Limit(amount=4.0))
    for step in asked(record_of(message)):
        assert step.markets == ["FR"]
        assert step.allow_draft
        assert step.budget == Limit(amount=2.0, revision=1)  # the least that anybody allows


def test_a_budget_of_nothing_is_a_budget() -> None:
    brief = msgspec.structs.replace(BRIEF, budget=Money(amount=0, currency="EUR"))
    check_brief(brief)
    assert all(s.budget == Limit(amount=0.0) for s in asked(record_of(RunCampaign(brief=brief))))


def test_a_re_run_has_its_own_terms_and_its_revision_s_budget() -> None:
    record = record_of(RunCampaign(brief=BRIEF, priority=9, max_cost=1.0))
    changed = msgspec.structs.replace(BRIEF, seed=1)
    message = RunCampaign(brief=changed, max_cost=7.0)
    again = next_record(record, understand(encode(message), RunCampaign, TENANT, "k", AT), AT)
    ended = msgspec.structs.replace(again, past=[])
    assert {(s.priority, s.budget) for s in map(_terms, asked(ended))} == {(5, (7.0, 2))}


class _Terms(msgspec.Struct, frozen=True):
    priority: int
    budget: tuple[float, int]


def _terms(step: Request) -> _Terms:
    assert step.budget is not None
    return _Terms(step.priority, (step.budget.amount, step.budget.revision))


def test_terms_are_no_part_of_what_is_asked_for() -> None:
    plain = record_of(RunCampaign(brief=BRIEF))
    other = record_of(RunCampaign(brief=BRIEF, priority=0, deadline_seconds=50, max_cost=1))
    early, late = (list(map(request_hash, asked(other, AT + at))) for at in (1, 40))
    assert early == late == list(map(request_hash, asked(plain)))
    assert asked(other, AT + 7) == asked(other, AT + 7)


def test_another_currency_is_refused_by_name_of_its_field() -> None:
    with pytest.raises(InvalidRequestError, match=r"budget\.currency: is EUR; .*USD") as refused:
        check_brief(msgspec.structs.replace(BRIEF, budget=Money(amount=5, currency="EUR")))
    assert refused.value.field == "budget.currency"


# a campaign that is not done in time


def begun(message: RunCampaign) -> tuple[MemoryWorld, Router]:
    """A world in which the brief has been taken in, and the first stage asked."""
    world = MemoryWorld()
    ask(world, BRIEF, "k")
    subject, stored = next(iter(world.requests.items()))
    drive(reception.take_brief(world, Message(subject, encode(message), stored.sequence, AT)))
    drive(advance(world, KEY, lambda: AT))
    return world, Router(world)


def test_a_campaign_whose_deadline_has_passed_fails_with_everything_cancelled() -> None:
    world, router = begun(RunCampaign(brief=BRIEF, deadline_seconds=60))
    drive(advance(world, KEY, lambda: AT + 59))
    assert not world.control
    drive(advance(world, KEY, lambda: AT + 61))
    steps = [step.name for step in world.campaigns[KEY][0].plan.steps]  # type: ignore[union-attr]  # it was planned
    assert len(world.control) == len(steps)
    serve(world, router)
    result = told(world, "k", "campaign_result.1")
    assert (result.status, result.error.code) == ("failed", "DEADLINE_EXPIRED")
    assert "cancelled" in {outcome.status for outcome in result.steps} <= {"cancelled", "ok"}
    assert KEY not in world.opened


def test_a_campaign_that_is_done_before_anybody_looks_at_the_clock_is_done() -> None:
    world, router = begun(RunCampaign(brief=BRIEF, deadline_seconds=60))
    serve(world, router)
    record = world.campaigns[KEY][0]
    assert record.state is CampaignState.OK
    seen = Seen(
        msgspec.structs.replace(record, state=CampaignState.OPEN),
        1,
        world.records[KEY],
        AT + 1000,
        frozenset(world.records[KEY]),
    )
    [write] = decide(seen)
    assert write.record.state is CampaignState.OK  # type: ignore[union-attr]  # a Write


# a cancel that cannot be read


def test_a_cancel_with_an_unknown_field_is_refused_and_cancels_nothing() -> None:
    world, _ = begun(RunCampaign(brief=BRIEF))
    body = b'{"type": "cancel.v1", "lables": {}}'
    drive(reception.take_cancel(world, TENANT, "k", AT, body))
    assert not world.campaigns[KEY][0].cancel_wanted
    found = world.events[event(TENANT, "k", "k", "cancel_result")]
    answer = msgspec.json.decode(found.body, type=CommandResult)
    assert answer.status == "refused"
    assert answer.error is not None
    assert (answer.error.field, "did you mean `labels`" in answer.error.message) == ("lables", True)


@pytest.mark.parametrize("body", [b"", encode(Cancel())])
def test_a_cancel_may_be_empty_or_say_what_it_is(body: bytes) -> None:
    world, _ = begun(RunCampaign(brief=BRIEF))
    drive(reception.take_cancel(world, TENANT, "k", AT, body))
    assert world.campaigns[KEY][0].cancel_wanted
