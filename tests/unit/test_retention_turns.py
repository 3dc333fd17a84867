"""When a deleted campaign is purged, and until when it is looked at again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bus.settings import Settings
from contracts.campaign import CampaignState
from services.retention.shell import LOOK_SECONDS, SETTLED_SECONDS, Retention

pytestmark = pytest.mark.unit

KEY = "default.gone"


class Campaigns:
    def __init__(self, state: CampaignState | None) -> None:
        self.state = state

    async def get(self, _: str) -> Any:  # noqa: ANN401 - a record
        return self.state and SimpleNamespace(value=SimpleNamespace(state=self.state))


class Sweep:
    """Purges; not to the end for the first `unready` times."""

    def __init__(self, unready: int = 0) -> None:
        self.purged = 0
        self.unready = unready

    async def purge(self, _: str) -> bool:
        self.purged += 1
        return self.purged > self.unready


async def looks(sweep: Sweep, state: CampaignState | None = CampaignState.DELETED) -> int:
    """Let the process look until it has nothing in hand any more; return how often it looked."""
    now = 100.0
    bus = SimpleNamespace(settings=Settings())
    store = SimpleNamespace(objects=None)
    retention = Retention(cast("Any", bus), cast("Any", store), clock=lambda: now)
    retention._sweep = cast("Any", sweep)
    retention._campaigns = cast("Any", Campaigns(state))
    message = SimpleNamespace(subject="adgenx.evt.default.gone.gone.delete_result")
    await retention._heard_deletion(cast("Any", message))
    assert set(retention._deleted) == {KEY}
    count = 0
    while retention._deleted:
        await retention._purge()
        count += 1
        now += LOOK_SECONDS
        assert count < 100, "it never lets go"
    return count


async def test_last_words_that_come_after_the_purge_are_purged_as_well() -> None:
    sweep = Sweep()
    await looks(sweep)
    assert (sweep.purged - 1) * LOOK_SECONDS >= SETTLED_SECONDS


async def test_what_is_not_over_yet_is_waited_for_and_then_looked_at_as_long() -> None:
    sweep = Sweep(unready=5)
    await looks(sweep)
    assert (sweep.purged - 5 - 1) * LOOK_SECONDS >= SETTLED_SECONDS


@pytest.mark.parametrize("state", [None, CampaignState.OPEN])
async def test_what_is_not_deleted_is_left_alone(state: CampaignState | None) -> None:
    sweep = Sweep()
    assert await looks(sweep, state) == 1
    assert sweep.purged == 0
