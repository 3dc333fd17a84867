"""An ordinary job stores exactly the records that docs/records.md names: one more fails here."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from router_rig import Rig, image, rig, service, until

from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records, stream_of
from contracts.governance import BudgetRecord
from contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "records.md"
LIMIT = 12
_ROW = re.compile(r"^\| (\d+) \| `(\w+)` \|", re.MULTILINE)


class _State(msgspec.Struct):
    last_seq: int


class _Info(msgspec.Struct):
    state: _State


async def stored(bus: Bus) -> dict[str, int]:
    """Messages ever stored, by stream; the announcements of services are no job's."""
    counts = {}
    for name in (*Stream, *map(stream_of, set(Bucket) - {Bucket.SERVICES})):
        answer = await bus.request(f"$JS.API.STREAM.INFO.{name}")
        counts[str(name)] = msgspec.json.decode(answer.data, type=_Info).state.last_seq
    return counts


def promised() -> dict[str, int]:
    """The first table of docs/records.md, counted by stream."""
    counts: dict[str, int] = {}
    for _, stream in _ROW.findall(PAGE.read_text()):
        counts[stream] = counts.get(stream, 0) + 1
    return counts


async def test_an_ordinary_job_stores_the_records_of_the_page(
    bus: Bus, artifacts: Artifacts
) -> None:
    async with rig(bus, artifacts) as desk:
        await desk.announce(service("draft_image"))
        await desk.router()
        await desk.worker("draft_image")
        warm = await desk.ask("warm", image("another"))
        await desk.result("warm")
        await desk.emptied(warm)
        before = await stored(bus)
        subject = await desk.ask("r1", image())
        assert (await desk.result("r1")).made == "run"
        await desk.emptied(subject)
        after = await stored(bus)
        grown = {name: after[name] - before[name] for name in after if after[name] > before[name]}
        assert grown == promised()
        assert sum(grown.values()) <= LIMIT


async def grown_by_one(desk: Rig, campaign: str) -> dict[str, int]:
    """Messages that one more job stores, by stream; what it reserves is settled already."""
    before = await stored(desk.bus)
    subject = await desk.ask("r1", image(), campaign=campaign)
    assert (await desk.result("r1", campaign=campaign)).made == "run"
    await desk.emptied(subject)
    budgets = Records(desk.bus, Bucket.BUDGETS, BudgetRecord)

    async def settled() -> bool:
        return not any(record.value.reserved for record in await budgets.under())

    await until(settled, "the reservation is settled")
    after = await stored(desk.bus)
    return {name: after[name] - before[name] for name in after if after[name] > before[name]}


@pytest.mark.parametrize(
    ("cost", "shared"), [(0.25, {stream_of(Bucket.BUDGETS): 2}), (0.0, {Stream.LEDGER: -1})]
)
async def test_a_campaigns_job_shares_its_reservation_and_a_free_one_has_none(
    bus: Bus, artifacts: Artifacts, cost: float, shared: dict[str, int]
) -> None:
    async with rig(bus, artifacts) as desk:
        await desk.announce(service("draft_image", cost=cost))
        await desk.router()
        await desk.worker("draft_image")
        grown = await grown_by_one(desk, "c1")
        wanted = promised()
        for stream, more in shared.items():
            wanted[stream] = wanted.get(stream, 0) + more
        assert grown == {stream: count for stream, count in wanted.items() if count}
        reservation = 1 if cost else 0
        assert sum(grown.values()) - reservation <= LIMIT


async def test_a_cache_hit_stores_no_work(bus: Bus, artifacts: Artifacts) -> None:
    async with rig(bus, artifacts) as desk:
        await desk.announce(service("draft_image"))
        await desk.router()
        worker = await desk.worker("draft_image", held=True)
        await desk.ask("r1", image())
        await worker.started.wait()
        before = await stored(bus)
        subject = await desk.ask("r2", image())
        await desk.event("r2", "accepted")
        worker.go.set()
        assert (await desk.result("r2")).made == "follower"
        await desk.emptied(subject)
        after = await stored(bus)
        assert after[Stream.JOBS] == before[Stream.JOBS]
        assert after[stream_of(Bucket.CACHE)] == before[stream_of(Bucket.CACHE)]
