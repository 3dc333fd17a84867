"""Backups of real servers: what comes back is what was there, and work goes on where it was."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from backup_rig import Box, budgets, empty_box, keys, ledger, stored, unfinished
from router_rig import TENANT, Rig, image, rig, service, until

from appliance import backup as taking
from appliance import folder as places
from appliance import heard, order
from appliance.restore import NotEmptyError, ServicesRunningError, restore
from bus import gate, snapshot, survey
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from bus.settings import Settings
from bus.topology import durable, ensure_consumer
from contracts import events, subjects
from contracts.artifacts import artifact_key, receipt_key, staging_key, trash_key
from contracts.capability import Capability
from contracts.errors import UnknownOutcomeError
from contracts.governance import BudgetRecord, Limit
from contracts.jobs import JobRecord
from contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.integration


@pytest.fixture
async def empty(s3_settings: Settings, tmp_path: Path) -> AsyncIterator[Box]:
    async with empty_box(tmp_path / "second", s3_settings) as box:
        yield box


async def test_sequences_times_and_revisions_come_back(
    bus: Bus, artifacts: Artifacts, empty: Box, tmp_path: Path
) -> None:
    shelf = Records(bus, Bucket.BUDGETS, BudgetRecord)
    await shelf.put("acme.c1", BudgetRecord(limit=3.0))
    await shelf.put("acme.c1", BudgetRecord(limit=4.0))
    for n in range(300):
        await gate.publish_once(bus, subjects.event("acme", "c1", f"r{n}", "accepted"), b"{}")
    there = await gate.last(bus, Stream.EVENTS, subjects.event("acme", "c1", "r7", "accepted"))
    assert there is not None
    await gate.remove(bus, Stream.EVENTS, there.sequence)
    before = {str(n): await stored(bus, n) for n in order.STREAMS}
    await taking.take(bus, artifacts, tmp_path / "backups")
    await restore(empty.bus, empty.artifacts, tmp_path / "backups")
    after = {str(n): await stored(empty.bus, n) for n in order.STREAMS}
    assert after == before
    again = Records(empty.bus, Bucket.BUDGETS, BudgetRecord)
    found = await again.get("acme.c1")
    assert found is not None
    assert isinstance(await again.update("acme.c1", BudgetRecord(), found.revision), int)
    told = await gate.publish_once(
        empty.bus, subjects.event("acme", "c1", "r8", "accepted"), b"another"
    )
    assert told.outcome is gate.Outcome.ALREADY_THERE


async def test_a_durable_comes_back_where_it_stood_and_never_ahead(
    bus: Bus, empty: Box, tmp_path: Path
) -> None:
    filters = [subjects.event("*", "*", "*", "accepted"), subjects.event("*", "*", "*", "planned")]
    wanted = durable("reader", filters)
    await ensure_consumer(bus, Stream.EVENTS, wanted)
    pull = await bus.js.pull_subscribe_bind(durable="reader", stream=Stream.EVENTS)

    async def tell(n: int) -> None:
        await gate.publish_once(bus, subjects.event("acme", "c1", f"r{n}", "accepted"), b"{}")

    for n in range(5):
        await tell(n)
    first = await pull.fetch(3, timeout=5)
    for message in (first[0], first[2]):  # the one between is in somebody's hands
        await message.ack_sync()
    standing = await snapshot.positions(bus, Stream.EVENTS)
    for n in range(5, 8):  # what comes after, and is acknowledged, is told once more
        await tell(n)
    for message in await pull.fetch(4, timeout=5):
        await message.ack_sync()
    part = await snapshot.take(bus, Stream.EVENTS, tmp_path / "events", standing)
    await snapshot.drop(empty.bus, Stream.EVENTS)
    await snapshot.put_back(empty.bus, part, tmp_path / "events", 1)
    await ensure_consumer(empty.bus, Stream.EVENTS, wanted)
    again = await empty.bus.js.pull_subscribe_bind(durable="reader", stream=Stream.EVENTS)
    seen = [m.subject.split(".")[4] for m in await again.fetch(7, timeout=5)]
    assert seen == ["r1", "r2", "r3", "r4", "r5", "r6", "r7"]


async def test_objects_come_back_under_their_keys(
    bus: Bus, artifacts: Artifacts, empty: Box, tmp_path: Path
) -> None:
    store = artifacts.objects
    kept = [await artifacts.put(b"x" * n, TENANT, "image/png") for n in (1, 10, 300_000)]
    await artifacts.put(b"another's", "bob", "video/mp4")
    await artifacts.put_receipt(TENANT, "flux", "j1", b'{"a":1}')
    digest = hashlib.sha256(b"upload").hexdigest()
    store.put_once(staging_key(TENANT, "u1"), b"upload", "image/png", digest, 6)
    old = trash_key(artifact_key(TENANT, "ab" * 32), 1.0, "t")
    store.put_once(old, b"gone", "image/png", hashlib.sha256(b"gone").hexdigest(), 4)
    taken = await taking.take(bus, artifacts, tmp_path / "backups")
    assert taken.manifest.damaged == []
    await restore(empty.bus, empty.artifacts, tmp_path / "backups")
    assert await keys(empty.artifacts) == {
        k: n for k, n in (await keys(artifacts)).items() if k != old
    }
    assert await empty.artifacts.get_receipt(TENANT, "flux", "j1") == b'{"a":1}'
    assert receipt_key(TENANT, "flux", "j1") in await keys(empty.artifacts)
    found = await empty.artifacts.stat(kept[2].key)
    assert found is not None
    assert found.media_type == "image/png"


async def test_what_the_trash_took_meanwhile_is_in_the_backup(
    bus: Bus, artifacts: Artifacts, empty: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record taken a moment before may name it."""
    kept = await artifacts.put(b"named", TENANT, "image/png")
    whole = taking.Collector.everything

    async def swept_first(self: taking.Collector, since: float) -> None:
        copy = trash_key(kept.key, since + 1.0, "t")
        assert await artifacts.objects.copy(kept.key, copy)
        await artifacts.objects.remove(kept.key)
        await whole(self, since)

    monkeypatch.setattr(taking.Collector, "everything", swept_first)
    await taking.take(bus, artifacts, tmp_path / "backups")
    await restore(empty.bus, empty.artifacts, tmp_path / "backups")
    assert await keys(empty.artifacts) == {kept.key: 5}


async def test_a_second_backup_copies_only_what_is_new(
    bus: Bus, artifacts: Artifacts, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    await artifacts.put(b"one", TENANT, "image/png")
    assert (await taking.take(bus, artifacts, folder)).copied == 1
    await artifacts.put(b"two", TENANT, "image/png")
    second = await taking.take(bus, artifacts, folder)
    assert second.copied == 1
    assert second.manifest.objects.entries == 2
    await artifacts.remove(artifact_key(TENANT, hashlib.sha256(b"one").hexdigest()))
    third = await taking.take(bus, artifacts, folder, keep=1)
    assert third.copied == 0
    assert len(third.removed) == 2
    assert places.backups(folder) == [third.path]
    pool = [p.name for p in (folder / "objects").glob("*/*")]
    assert pool == [hashlib.sha256(b"two").hexdigest()]
    assert places.verify(third.path) == []


async def test_what_is_broken_off_is_no_backup_and_is_cleared_away(
    bus: Bus, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    await artifacts.put(b"one", TENANT, "image/png")

    async def away(*_: object) -> None:
        raise UnknownOutcomeError("the server went away")

    with monkeypatch.context() as broken:
        broken.setattr(heard.Listener, "end", away)
        with pytest.raises(UnknownOutcomeError):
            await taking.take(bus, artifacts, folder)
    assert places.backups(folder) == []
    with pytest.raises(places.BackupMissingError):
        places.chosen(folder)
    taken = await taking.take(bus, artifacts, folder)
    assert taken.manifest.objects.entries == 1
    assert sorted(p.name for p in folder.iterdir()) == [".lock", taken.path.name, "objects"]


async def test_a_backup_that_missed_something_is_none(
    bus: Bus, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks while it listens: what was published then was not heard."""
    whole = taking.Collector.everything

    async def reconnecting(self: taking.Collector, since: float) -> None:
        await whole(self, since)
        for callback in tuple(bus._reconnected):
            await callback()

    monkeypatch.setattr(taking.Collector, "everything", reconnecting)
    with pytest.raises(UnknownOutcomeError, match="away"):
        await taking.take(bus, artifacts, tmp_path / "backups")
    assert places.backups(tmp_path / "backups") == []


async def test_one_backup_at_a_time(bus: Bus, artifacts: Artifacts, tmp_path: Path) -> None:
    with places.held(tmp_path / "backups"), pytest.raises(places.BackupBusyError):
        await taking.take(bus, artifacts, tmp_path / "backups")


@pytest.mark.parametrize(
    "which", ["streams/EVENTS.snapshot", "heard.ndjson", "objects.ndjson", "pool"]
)
async def test_a_damaged_backup_is_refused_by_the_name_of_the_file(
    bus: Bus, artifacts: Artifacts, empty: Box, tmp_path: Path, which: str
) -> None:
    kept = await artifacts.put(b"bytes", TENANT, "image/png")
    subject = subjects.request(TENANT, "image", "-", "r1")
    taken = await taking.take(bus, artifacts, tmp_path / "backups")
    path = taken.path / which
    if which == "pool":
        path = tmp_path / "backups/objects" / kept.sha256[:2] / kept.sha256
    data = path.read_bytes() or subject.encode()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    [wrong] = places.verify(taken.path)
    assert str(path) in wrong
    with pytest.raises(places.BackupDamagedError, match=path.name):
        await restore(empty.bus, empty.artifacts, tmp_path / "backups")
    assert await keys(empty.artifacts) == {}


async def test_a_manifest_of_a_newer_format_is_refused(
    bus: Bus, artifacts: Artifacts, empty: Box, tmp_path: Path
) -> None:
    taken = await taking.take(bus, artifacts, tmp_path / "backups")
    newer = msgspec.structs.replace(taken.manifest, format=2)
    (taken.path / "manifest.json").write_bytes(msgspec.json.encode(newer))
    with pytest.raises(places.BackupDamagedError, match="format is 2"):
        await restore(empty.bus, empty.artifacts, taken.path)


async def test_bytes_that_are_not_their_hash_s_are_left_out_and_told(
    bus: Bus, artifacts: Artifacts, tmp_path: Path
) -> None:
    key = artifact_key(TENANT, "ab" * 32)
    artifacts.objects.put_once(key, b"x", "image/png", hashlib.sha256(b"x").hexdigest(), 1)
    taken = await taking.take(bus, artifacts, tmp_path / "backups")
    assert taken.manifest.damaged == [key]
    assert taken.manifest.objects.entries == 0


async def test_a_box_that_holds_something_is_refused_unless_forced(
    bus: Bus, artifacts: Artifacts, empty: Box, tmp_path: Path
) -> None:
    await gate.publish_once(bus, subjects.event("acme", "c1", "r1", "accepted"), b"{}")
    await taking.take(bus, artifacts, tmp_path / "backups")
    await gate.publish_once(empty.bus, subjects.event("acme", "c2", "r1", "accepted"), b"{}")
    with pytest.raises(NotEmptyError, match="EVENTS"):
        await restore(empty.bus, empty.artifacts, tmp_path / "backups")
    await restore(empty.bus, empty.artifacts, tmp_path / "backups", force=True)
    assert list(await stored(empty.bus, Stream.EVENTS)) == ["adgenx.evt.acme.c1.r1.accepted"]
    await empty.artifacts.put(b"x", TENANT, "image/png")
    with pytest.raises(NotEmptyError):
        await restore(empty.bus, empty.artifacts, tmp_path / "backups")


async def test_nothing_is_restored_under_the_hands_of_services(
    bus: Bus, artifacts: Artifacts, empty: Box, tmp_path: Path
) -> None:
    await taking.take(bus, artifacts, tmp_path / "backups")
    async with rig(empty.bus, empty.artifacts) as house:
        await house.announce(service("flux"))
        await house.worker("flux")

        async def at_work() -> bool:
            return any(c.waiting for c in await survey.consumers(empty.bus, Stream.JOBS))

        await until(at_work, "a pull of the worker")
        with pytest.raises(ServicesRunningError, match="JOBS"):
            await restore(empty.bus, empty.artifacts, tmp_path / "backups", force=True)


async def bus_waiting(bus: Bus) -> int:
    info = await bus.js.consumer_info(Stream.JOBS, "flux")
    return info.num_waiting or 0


async def asked(
    house: Rig, campaigns: int, jobs: int, dice: random.Random
) -> list[tuple[str, str]]:
    """Ask for paid jobs of several campaigns, some of which are equal."""
    made = []
    for campaign in range(campaigns):
        for number in range(jobs):
            ids = (f"c{campaign}", f"c{campaign}r{number}")
            wish = image(f"can {dice.randrange(40)}", budget=Limit(amount=100.0))
            await house.ask(ids[1], wish, campaign=ids[0])
            made.append(ids)
            await asyncio.sleep(0)
    return made


@pytest.mark.parametrize("seed", range(3))
async def test_a_backup_under_work_goes_on_on_an_empty_box(
    bus: Bus, artifacts: Artifacts, s3_settings: Settings, tmp_path: Path, seed: int
) -> None:
    """Jobs are asked for, run, told and charged all the while; then the first box is lost."""
    dice = random.Random(seed)  # noqa: S311 - one seed, one course
    async with rig(bus, artifacts) as house:
        await house.announce(service("flux"), service("wan", cost=0.5))
        await house.router()
        await house.worker("flux")
        await house.worker("wan")
        first = await asked(house, 2, 8 + dice.randrange(20), dice)
        await house.result(first[dice.randrange(4)][1], campaign=first[0][0])
        async with asyncio.TaskGroup() as group:
            group.create_task(asked(house, 5, 12, dice))
            backup = group.create_task(taking.take(bus, artifacts, tmp_path / "backups"))
        before = await stored(bus, Stream.EVENTS)
        booked = await stored(bus, Stream.LEDGER)
    assert backup.result().manifest.heard.entries
    async with empty_box(tmp_path / "second", s3_settings) as box:
        await restore(box.bus, box.artifacts, tmp_path / "backups")
        told = await stored(box.bus, Stream.EVENTS)
        assert told.items() < before.items()  # it was under work
        assert (await stored(box.bus, Stream.LEDGER)).items() <= booked.items()
        async with rig(box.bus, box.artifacts) as house:
            await house.announce(service("flux"), service("wan", cost=0.5))
            await house.router()
            await house.worker("flux")
            await house.worker("wan")
            for campaign, request_id in first:
                found = await house.result(request_id, campaign=campaign)
                assert found.status == "ok"

            async def over() -> bool:
                return not await unfinished(box.bus)

            await until(over, "every request to be told")

            async def settled() -> bool:
                records = await budgets(box.bus)
                return not any(record.reserved for record in records.values())

            await until(settled, "every reservation to be settled")
            assert {k: r.spent for k, r in (await budgets(box.bus)).items()} == pytest.approx(
                await ledger(box.bus)
            )
        after = await stored(box.bus, Stream.EVENTS)
        assert told.items() <= after.items()
        assert await events_fit_records(box.bus) == []


async def events_fit_records(bus: Bus) -> list[str]:
    """Return the keys of jobs whose result was told otherwise than their record says."""
    wrong = []
    told = await stored(bus, Stream.EVENTS)
    for subject, message in (await stored(bus, "KV_jobs")).items():
        key = subject.removeprefix("$KV.jobs.")
        job = msgspec.json.decode(message.data, type=JobRecord)
        event = told.get(f"adgenx.evt.{key}.{Capability.IMAGE.result_event}")
        said = msgspec.json.decode(event.data, type=events.GenerationResult) if event else None
        if said is None or (said.status, said.outputs) != (job.state, job.outputs):
            wrong.append(key)
    return wrong
