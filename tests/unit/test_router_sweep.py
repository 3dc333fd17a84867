"""The sweep costs little however many wait, and in the end it looks at everything."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from bus import gate
from contracts.identity import job_id_of
from contracts.subjects import Stream
from services.router import sweep
from services.router.admission import Message
from services.router.sweep import AFRESH, AFRESH_EVERY, ROUND, Sweeper

pytestmark = pytest.mark.unit

MANY = 2_000


class _World:
    """REQUESTS and JOBS as names; who waits, who is busy, who follows as sets of keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.requests = [f"adgenx.req.acme.image.-.r{n:05}" for n in range(count)]
        self.jobs: list[str] = []
        self.waiting: set[str] = set()
        self.occupied: set[str] = set()
        self.following: set[str] = set()
        self.looked: Counter[str] = Counter()
        self.crowded: list[str] = []
        monkeypatch.setattr(sweep, "subjects_in", self._subjects_in)
        monkeypatch.setattr(gate, "last", self._last)
        cast_self = cast("Any", self)
        self.sweeper = Sweeper(
            cast_self, cast_self, cast_self, self._take_in, self.following.__contains__
        )

    async def _subjects_in(self, _: object, stream: Stream, __: str) -> list[str]:
        return list(self.requests if stream is Stream.REQUESTS else self.jobs)

    async def _last(self, _: object, __: object, subject: str) -> Message:
        return Message(subject, b"", 1, 0.0)

    async def _take_in(self, message: Message) -> None:
        self.looked[message.subject] += 1

    def busy(self, key: str) -> bool:
        return key in self.occupied

    def waits(self, key: str, _: float) -> bool:
        return key in self.waiting

    async def round(self, inside: frozenset[str] = frozenset()) -> int:
        """Sweep once; return how many jobs were read."""
        before = self.looked.total()
        await self.sweeper.find(set(inside))
        await self.sweeper.look()
        return self.looked.total() - before


def keys(world: _World) -> set[str]:
    return {f"acme.-.{subject.rpartition('.')[2]}" for subject in world.requests}


async def test_the_first_round_looks_at_everything_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _World(monkeypatch, 2 * ROUND + 10)
    assert await world.round() == ROUND
    while world.looked.total() < len(world.requests):
        await world.sweeper.look()
    assert set(world.looked.values()) == {1}


async def test_very_many_that_wait_are_read_a_few_at_a_time_and_all_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _World(monkeypatch, MANY)
    world.waiting = keys(world)
    await world.round()
    await world.sweeper.find(set())  # the rest of the first round is given up for a newer list
    world.looked.clear()
    rounds = -(-MANY // AFRESH)
    most = max([await world.round() for _ in range(rounds)])
    assert most <= AFRESH
    assert len(world.looked) == MANY


async def test_a_few_that_wait_are_all_looked_at_within_fifteen_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _World(monkeypatch, 40)
    world.waiting = keys(world)
    await world.round()
    world.looked.clear()
    for _ in range(AFRESH_EVERY):
        assert await world.round() <= 3
    assert len(world.looked) == 40


async def test_only_what_nobody_has_in_hand_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _World(monkeypatch, 5)
    world.requests.append("adgenx.req.acme.campaign.spring.spring")
    await world.round()
    world.looked.clear()
    world.waiting = {"acme.-.r00000"}
    world.occupied = {"acme.-.r00001"}
    world.following.add("acme.-.r00002")
    inside = frozenset({job_id_of("acme", "-", "r00003")})
    await world.sweeper.find(set(inside))
    assert "adgenx.req.acme.image.-.r00004" in world.sweeper._left
    assert len(world.sweeper._left) == 2  # and one of the four, afresh
    assert not any("campaign" in subject for subject in world.sweeper._left)


async def test_a_subject_that_cannot_be_used_is_always_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = _World(monkeypatch, 0)
    world.requests = ["adgenx.req.ac*me.image.-.r1"]
    for _ in range(3):
        assert await world.round() == 1
