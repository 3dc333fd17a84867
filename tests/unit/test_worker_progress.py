"""Progress on its way out: never falling, seldom, and the last word always said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec
import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.connection import Bus
from bus.consume import Delivery
from bus.worker import progress
from bus.worker.attempt import Attempt, Bench
from bus.worker.folder import find
from bus.worker.frames import RunJob, Ticked
from bus.worker.holding import Claim, Hold
from bus.worker.model import Media
from bus.worker.process import ModelProcess, OnTick
from bus.worker.progress import EVERY_SECONDS, Reporter
from contracts.events import Progress
from contracts.jobs import Job, Run, RunState
from contracts.requests import GenerateImage

pytestmark = pytest.mark.unit

JOB = Job(
    job_id="j",
    tenant="t",
    campaign_id="c",
    request_id="r",
    service="svc",
    request=GenerateImage(prompt="p", width=64, height=64),
    labels={"step": "still"},
)


class Ether:
    """A bus that only publishes, and the clock of those who use it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.heard: list[tuple[str, Progress]] = []
        self.refuses: Exception | None = None

    async def publish(self, subject: str, payload: bytes) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.heard.append((subject, msgspec.json.decode(payload, type=Progress)))


@pytest.fixture
def ether(monkeypatch: pytest.MonkeyPatch) -> Ether:
    made = Ether()
    monkeypatch.setattr(progress, "time", _Clock(lambda: made.now))
    return made


class _Clock:
    def __init__(self, now: Callable[[], float]) -> None:
        self.monotonic = self.time = now


def reporter(ether: Ether) -> Reporter:
    return Reporter(cast("Bus", ether), JOB, attempt=2)


def tick(done: int, total: int = 10, phase: str = "paint") -> Ticked:
    return Ticked(done=done, total=total, phase=phase)


def test_the_first_tick_goes_out_at_once_and_says_whose_it_is(ether: Ether) -> None:
    told = reporter(ether).tick(tick(1))
    assert told is not None
    assert (told.service, told.attempt, told.labels) == ("svc", 2, {"step": "still"})
    assert (told.done, told.total, told.fraction, told.phase) == (1, 10, 0.1, "paint")


def test_ticks_that_follow_too_soon_are_held_back(ether: Ether) -> None:
    talk = reporter(ether)
    assert talk.tick(tick(1)) is not None
    ether.now += EVERY_SECONDS / 2
    assert talk.tick(tick(2)) is None
    ether.now += EVERY_SECONDS / 2
    told = talk.tick(tick(3))
    assert told is not None
    assert told.done == 3


def test_the_first_work_that_is_done_is_told_at_once(ether: Ether) -> None:
    talk = reporter(ether)
    assert talk.tick(tick(0)) is not None
    told = talk.tick(tick(1))
    assert told is not None
    assert told.done == 1
    assert talk.tick(tick(2)) is None


def test_a_new_phase_is_told_at_once(ether: Ether) -> None:
    talk = reporter(ether)
    talk.tick(tick(1))
    assert talk.tick(tick(1, phase="encode")) is not None


def test_what_was_held_back_is_told_at_the_end_and_only_once(ether: Ether) -> None:
    talk = reporter(ether)
    talk.tick(tick(1))
    talk.tick(tick(10))
    asyncio.run(talk.finish())
    asyncio.run(talk.finish())
    ((subject, told),) = ether.heard
    assert (subject, told.fraction) == ("adgenx.progress.t.c.r", 1.0)


def test_a_preview_that_is_held_back_goes_out_with_the_next_tick_and_only_once(
    ether: Ether,
) -> None:
    talk = reporter(ether)
    talk.tick(tick(1))
    assert talk.tick(Ticked(done=2, total=10, phase="paint", preview="eA==")) is None
    assert talk.tick(tick(3)) is None
    asyncio.run(talk.finish())
    ether.now += EVERY_SECONDS
    after = talk.tick(tick(4))
    ((_, told),) = ether.heard
    assert after is not None
    assert (told.done, told.preview, after.preview) == (3, "eA==", "")


@pytest.mark.parametrize(
    "error",
    [nats.errors.OutboundBufferLimitError(), ConnectionResetError()],
    ids=["full", "broken"],
)
def test_a_bus_that_takes_no_more_costs_a_tick_and_not_the_run(
    ether: Ether, error: Exception
) -> None:
    ether.refuses = error
    talk = reporter(ether)
    talk.tick(tick(1))
    talk.tick(tick(2))
    asyncio.run(talk.finish())
    ether.refuses = None
    talk.tick(tick(3))
    asyncio.run(talk.finish())
    assert [p.done for _, p in ether.heard] == [3]


class On:
    """A switch that nobody has touched."""

    async def refusal(self) -> None:
        """Refuse nothing."""


class Able:
    """A bench whose service is on."""

    switch = On()
    service = find("draft_image")


class Sudden:
    """A model's process whose whole output is read at once."""

    async def run(self, _frame: RunJob, on_tick: OnTick, *_asked: object) -> list[Media]:
        on_tick(tick(1))
        on_tick(tick(10))
        return []


def test_a_run_that_is_over_at_once_is_told_in_its_order(ether: Ether) -> None:
    async def told() -> list[float]:
        talk = reporter(ether)
        held = Run(attempt=2, owner="me", state=RunState.CLAIMED, job_key="t.c.r")
        hold = Hold(cast("Delivery", None), Claim("svc.j", held, 1))
        attempt = Attempt(cast("Bench", Able()), JOB, hold)
        frame = RunJob(job_id="j", request=JOB.request, inputs={}, scratch="/scratch")
        await attempt._in_process(cast("ModelProcess", Sudden()), frame, talk)
        await talk.finish()
        return [p.fraction for _, p in ether.heard]

    assert asyncio.run(told()) == [0.1, 1.0]


TICKS = st.lists(
    st.tuples(
        st.integers(-3, 30),
        st.integers(-1, 20),
        st.sampled_from(["paint", "encode"]),
        st.floats(0, 0.5),
    ),
    min_size=1,
)


@given(TICKS)
def test_whatever_a_model_counts_the_fraction_stays_a_fraction_and_never_falls(
    steps: list[tuple[int, int, str, float]],
) -> None:
    ether = Ether()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "time", _Clock(lambda: ether.now))
        talk = reporter(ether)
        told = []
        for done, total, phase, pause in steps:
            ether.now += pause
            told.append(talk.tick(tick(done, total, phase)))
        asyncio.run(talk.finish())
    out = [p for p in told if p is not None] + [p for _, p in ether.heard]
    fractions = [p.fraction for p in out]
    assert fractions == sorted(fractions)
    assert all(0.0 <= f <= 1.0 for f in fractions)
    assert (out[-1].done, out[-1].total) == steps[-1][:2], "the newest is never lost"
