"""Random schedules of sweepers, workers, hits, uploads, deletions and readers, with crashes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from retention_sim import GRACE, Read, Schedule, UnreadableError

from bus.trash import Objects, read_through
from services.retention.collect import Collector

if TYPE_CHECKING:
    from collections import Counter

    from bus.s3 import Stat
    from services.retention.collect import Mark

pytestmark = pytest.mark.unit

SCHEDULES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
CONTROL_SEEDS = 80


@SCHEDULES
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_named_can_be_read_and_all_else_goes_in_the_end(seed: int) -> None:
    world = Schedule(seed).run()
    assert set(world.objects.keys) == world.named


class WithoutQuarantine(Collector):
    """Deletes at once."""

    async def _move(self, unnamed: list[Stat], count: Counter[str]) -> None:
        for found in unnamed:
            await self._objects.remove(found.key)
            count["trashed"] += 1


class WithoutSecondLook(Collector):
    """Empties the trash by age alone, and brings nothing back."""

    async def _is_needed(self, *_: object) -> bool:
        return False

    async def _look_again(self, tenant: str, mark: Mark, count: Counter[str]) -> None:
        pass


class WithoutHaste(Collector):
    """Deletes however long ago it copied."""

    async def _move(self, unnamed: list[Stat], count: Counter[str]) -> None:
        began_at = self._clock()
        clock, self._clock = self._clock, lambda: began_at
        await super()._move(unnamed, count)
        self._clock = clock


async def read_in_place(_: Objects, __: str, read: Callable[[], Awaitable[None]]) -> None:
    """Never look into the trash."""
    await read()


@pytest.mark.parametrize(
    ("kind", "grace"),
    [
        pytest.param(WithoutQuarantine, GRACE, id="no quarantine"),
        pytest.param(WithoutSecondLook, GRACE, id="names are not read again"),
        pytest.param(WithoutHaste, GRACE, id="deletes long after its copy"),
        pytest.param(Collector, 0.0, id="no grace"),
        pytest.param(WithoutQuarantine, 0.0, id="age alone"),
    ],
)
def test_a_wrong_sweeper_is_caught(kind: type[Collector], grace: float) -> None:
    assert caught(kind=kind, grace=grace)


def test_a_reader_that_does_not_look_into_the_trash_is_caught() -> None:
    assert caught(read=read_in_place)


def caught(
    *, kind: type[Collector] = Collector, grace: float = GRACE, read: Read = read_through
) -> bool:
    """Say whether in some schedule a named object cannot be read."""
    return any(
        loses(Schedule(seed, kind=kind, grace=grace, read=read)) for seed in range(CONTROL_SEEDS)
    )


def loses(schedule: Schedule) -> bool:
    try:
        schedule.run()
    except UnreadableError:
        return True
    finally:
        for task in [*schedule.tasks, *(task for _, task in schedule.paused)]:
            task.close()
    return False
