from __future__ import annotations

import asyncio

import msgspec
import pytest

from bus import direct
from bus.connection import Bus
from bus.records import Conflict, Record, Records, stream_of
from bus.servers import NatsServer
from contracts.errors import UnknownOutcomeError
from contracts.subjects import Bucket

pytestmark = pytest.mark.integration


class Counter(msgspec.Struct):
    count: int
    note: str = ""


class CounterOfTomorrow(Counter, kw_only=True):
    added_later: int


@pytest.fixture
def records(bus: Bus) -> Records[Counter]:
    return Records(bus, Bucket.JOBS, Counter)


async def fill(records: Records[Counter], prefix: str, count: int) -> None:
    await asyncio.gather(*(records.put(f"{prefix}.{i}", Counter(i)) for i in range(count)))


async def test_what_is_not_there_is_none(records: Records[Counter]) -> None:
    assert await records.get("ann.c1.r1") is None
    assert await records.under("ann") == []


async def test_a_record_is_created_once_and_changed_by_revision(records: Records[Counter]) -> None:
    first = await records.create("ann.c1.r1", Counter(1))
    assert first == 1
    assert await records.create("ann.c1.r1", Counter(9)) == Conflict(first)
    second = await records.update("ann.c1.r1", Counter(2), first)
    assert second == 2
    assert await records.update("ann.c1.r1", Counter(9), first) == Conflict(2)
    assert await records.get("ann.c1.r1") == Record(Counter(2), 2, "ann.c1.r1")


async def test_a_change_of_what_is_not_there_is_a_conflict(records: Records[Counter]) -> None:
    assert await records.update("ann.c1.r1", Counter(1), 7) == Conflict(0)


async def test_put_needs_no_expectation(records: Records[Counter]) -> None:
    first = await records.put("ann.c1", Counter(1))
    assert await records.put("ann.c1", Counter(2)) == first + 1


async def test_of_twenty_creators_one_wins(records: Records[Counter]) -> None:
    answers = await asyncio.gather(*(records.create("ann.c1", Counter(i)) for i in range(20)))
    winners = [a for a in answers if not isinstance(a, Conflict)]
    assert len(winners) == 1
    assert answers.count(Conflict(winners[0])) == 19


async def test_twenty_counters_lose_no_step(records: Records[Counter]) -> None:
    await records.create("ann.c1", Counter(0))

    async def count_up() -> None:
        while True:
            found = await records.get("ann.c1")
            assert found is not None
            changed = Counter(found.value.count + 1)
            if not isinstance(await records.update("ann.c1", changed, found.revision), Conflict):
                return

    await asyncio.gather(*(count_up() for _ in range(20)))
    found = await records.get("ann.c1")
    assert found is not None
    assert found.value.count == 20


async def test_deleting_hits_only_the_revision_it_names(records: Records[Counter]) -> None:
    first = await records.put("ann.c1", Counter(1))
    second = await records.put("ann.c1", Counter(2))
    assert await records.delete("ann.c1", first) is False
    assert await records.get("ann.c1") == Record(Counter(2), second, "ann.c1")
    assert await records.delete("ann.c1", second) is True
    assert await records.get("ann.c1") is None
    assert await records.delete("ann.c1", second) is False


async def test_a_deleted_record_leaves_nothing_and_may_be_created_again(
    bus: Bus, records: Records[Counter]
) -> None:
    first = await records.put("ann.c1", Counter(1))
    await records.delete("ann.c1", first)
    assert (await bus.js.stream_info(stream_of(Bucket.JOBS))).state.messages == 0
    assert isinstance(await records.create("ann.c1", Counter(2)), int)


async def test_a_deletion_by_hand_reads_as_absent_and_creates_as_absent(
    bus: Bus, records: Records[Counter]
) -> None:
    await records.put("ann.c1", Counter(1))
    await (await bus.js.key_value(Bucket.JOBS)).delete("ann.c1")
    assert await records.get("ann.c1") is None
    assert await records.under("ann") == []
    revision = await records.create("ann.c1", Counter(2))
    assert await records.get("ann.c1") == Record(Counter(2), revision, "ann.c1")


async def test_other_tools_see_an_ordinary_bucket(bus: Bus, records: Records[Counter]) -> None:
    await records.put("ann.c1", Counter(3))
    entry = await (await bus.js.key_value(Bucket.JOBS)).get("ann.c1")
    assert entry.value is not None
    assert msgspec.json.decode(entry.value) == {"count": 3, "note": ""}


async def test_fields_of_a_newer_version_are_ignored(bus: Bus) -> None:
    newer = Records(bus, Bucket.JOBS, CounterOfTomorrow)
    older = Records(bus, Bucket.JOBS, Counter)
    await newer.put("ann.c1", CounterOfTomorrow(count=1, added_later=5))
    found = await older.get("ann.c1")
    assert found is not None
    assert found.value == Counter(1)


@pytest.mark.parametrize("key", ["a..b", "", "a.b\n", "a.*", ">", "a b", "ä", ".a", "a/b"])
async def test_a_key_that_could_reach_further_is_refused(
    records: Records[Counter], key: str
) -> None:
    with pytest.raises(ValueError, match="key"):
        await records.put(key, Counter(1))
    with pytest.raises(ValueError, match="key"):
        await records.get(key)


async def test_a_prefix_is_whole_parts(records: Records[Counter]) -> None:
    for key in ("ann.c1.r1", "ann.c1.r2", "ann.c10.r1", "annabel.c1.r1", "bob.c1.r1", "ann.c1"):
        await records.put(key, Counter(1))
    assert [r.key for r in await records.under("ann.c1")] == ["ann.c1.r1", "ann.c1.r2"]
    assert len(await records.under("ann")) == 4
    assert len(await records.under()) == 6


@pytest.mark.parametrize("count", [1024, 1025, 3000])
async def test_every_record_of_a_prefix_comes_once(
    bus: Bus, records: Records[Counter], count: int
) -> None:
    await fill(records, "ann.c1", count)
    await fill(records, "ann.c2", 300)
    for i in range(0, count, 7):  # changed ones lie elsewhere in the stream
        await records.put(f"ann.c1.{i}", Counter(-1))
    found = await records.under("ann.c1")
    assert sorted(int(r.key.rpartition(".")[2]) for r in found) == list(range(count))
    assert sum(r.value.count == -1 for r in found) == len(range(0, count, 7))
    assert [r.revision for r in found] == sorted(r.revision for r in found)
    assert len(await records.under("ann.c2")) == 300
    messages = await direct.last_of_each(bus, stream_of(Bucket.JOBS), "$KV.jobs.ann.c1.>")
    assert len(messages) == count


async def test_records_of_many_megabytes_come_in_pages(records: Records[Counter]) -> None:
    note = "x" * 200_000
    for i in range(120):  # 24 MB: more than one answer may carry
        await records.put(f"ann.c1.{i}", Counter(i, note))
    found = await records.under("ann.c1")
    assert sorted(r.value.count for r in found) == list(range(120))


@pytest.mark.parametrize(("count", "page_bytes"), [(400, 0), (400, 4000), (2500, 0)])
async def test_a_record_that_changes_while_listed_is_never_missed(
    records: Records[Counter], monkeypatch: pytest.MonkeyPatch, count: int, page_bytes: int
) -> None:
    if page_bytes:
        monkeypatch.setattr(direct, "BATCH_BYTES", page_bytes)
    await fill(records, "ann.c1", count)
    busy = asyncio.create_task(fill(records, "ann.c1", count))
    while not busy.done():
        found = await records.under("ann.c1")
        assert len({r.key for r in found}) == len(found) == count
    await busy


async def test_a_server_that_is_gone_is_unknown(
    records: Records[Counter], nats_server: NatsServer
) -> None:
    await records.put("ann.c1", Counter(1))
    nats_server.kill()
    with pytest.raises(UnknownOutcomeError):
        await records.get("ann.c1")
    with pytest.raises(UnknownOutcomeError):
        await records.update("ann.c1", Counter(2), 1)
    await nats_server.start()
    found = await records.get("ann.c1")
    assert found is not None


async def test_a_list_that_breaks_off_is_asked_again(
    records: Records[Counter], nats_server: NatsServer
) -> None:
    await fill(records, "ann.c1", 50)
    nats_server.kill()
    listing = asyncio.create_task(records.under("ann.c1"))
    await nats_server.start()
    assert len(await listing) == 50


async def test_a_bucket_that_does_not_exist_is_no_answer(bus: Bus) -> None:
    nowhere = Records(bus, "nowhere", Counter)
    with pytest.raises(UnknownOutcomeError):
        await nowhere.get("a")
    with pytest.raises(UnknownOutcomeError):
        await nowhere.under("a")
