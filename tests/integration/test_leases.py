"""Two models that do not fit together, their workers, and the manager of their device."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from worker_fake import Script, write_service
from worker_rig import Rig, environment, process, worker_settings, working

from bus import device
from bus.artifacts import Artifacts
from bus.connection import Bus, connected
from bus.records import Records
from bus.settings import Settings
from bus.worker import lease
from bus.worker.folder import ServiceFolder
from contracts.jobs import RunState
from contracts.lease import DeviceRecord, Holds, Wants
from contracts.manifest import ServiceState
from contracts.subjects import Bucket
from services.cli.residency import print_residency
from services.model_manager import ledger
from services.model_manager.meminfo import Memory
from services.model_manager.shell import Manager

pytestmark = pytest.mark.integration

BUDGET_GB = 30.0
DEVICE = "box"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that expire, and are renewed, ten times as fast."""
    monkeypatch.setattr(ledger, "TTL_SECONDS", 1.5)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.3)


class House:
    """One device: its manager, and a rig for each of its services."""

    def __init__(self, bus: Bus, artifacts: Artifacts, settings: Settings, folder: Path) -> None:
        self.bus = bus
        self.settings = settings
        self._artifacts = artifacts
        self._folder = folder
        self._records = Records(bus, Bucket.LEASES, DeviceRecord)

    def service(self, name: str, memory_gb: float = 20.0) -> ServiceFolder:
        return write_service(self._folder, name=name, memory_gb=memory_gb)

    def rig(self, service: ServiceFolder) -> Rig:
        return Rig(self.bus, self._artifacts, self.settings, service.name)

    async def record(self) -> DeviceRecord:
        found = await self._records.get(DEVICE)
        return found.value if found else DeviceRecord(device=DEVICE, at=0.0)

    async def loaded(self) -> list[str]:
        """Return the services that are in memory."""
        leases = (await self.record()).leases
        return sorted(x.service for x in leases if x.holds is not Holds.NOTHING)

    async def until(self, holds: Callable[[DeviceRecord], bool]) -> DeviceRecord:
        """Wait until the record is as wanted, and return it."""
        found: list[DeviceRecord] = []

        async def said() -> bool:
            found[:] = [await self.record()]
            return holds(found[0])

        await eventually(said)
        return found[0]


@pytest.fixture
async def house(
    bus: Bus, nats_settings: Settings, s3_settings: Settings, tmp_path: Path
) -> AsyncIterator[House]:
    bucket = f"test-{secrets.token_hex(6)}"
    settings = worker_settings(nats_settings, s3_settings, bucket, tmp_path / "spool")
    settings = msgspec.structs.replace(
        settings, device=DEVICE, device_memory_gb=BUDGET_GB, lease_patience_seconds=1.0
    )
    artifacts = Artifacts(settings)
    await artifacts.ensure_bucket()
    yield House(bus, artifacts, settings, tmp_path / "services")
    artifacts.close()


@contextlib.asynccontextmanager
async def managing(house: House, *, slots: int = 1) -> AsyncIterator[None]:
    """Run the manager for the length of a block; it ends as if it were killed."""
    settings = msgspec.structs.replace(house.settings, run_slots=slots)
    async with connected(settings, "model_manager") as bus:
        manager = Manager(bus, look=lambda: Memory(128.0, 120.0))
        task = asyncio.create_task(manager.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def waits(record: DeviceRecord, service: str, wants: Wants = Wants.LOAD) -> bool:
    return any(x.service == service and x.wants is wants for x in record.leases)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_the_second_model_makes_the_first_leave(house: House, tmp_path: Path) -> None:
    one, two = house.service("one"), house.service("two")
    first, second = Script(tmp_path / "1", "make"), Script(tmp_path / "2", "wait")
    async with (
        managing(house),
        working(house.settings, one),
        working(house.settings, two),
    ):
        run = await house.rig(one).ended(await house.rig(one).ask(first.request()))
        assert await house.loaded() == ["one"], "it stays until somebody needs the room"
        job = await house.rig(two).ask(second.request(), "r2")
        await house.rig(two).started(second)
        assert await house.loaded() == ["two"]
        assert not alive(first.runs[0]), "its memory is given back by ending its process"
        second.gate.touch()
        other = await house.rig(two).ended(job)
        left = (await house.record()).left
    assert (run.state, run.attempt, other.state, other.attempt) == (RunState.OK, 1, RunState.OK, 1)
    assert [(x.service, x.why) for x in left] == [("one", "two needed the room")]
    assert left[0].at > left[0].loaded_at > 0


async def test_two_managers_lend_nothing_twice(house: House, tmp_path: Path) -> None:
    one, two = house.service("one"), house.service("two")
    first, second = Script(tmp_path / "1", "make"), Script(tmp_path / "2", "make")
    async with (
        managing(house),
        managing(house),
        working(house.settings, one),
        working(house.settings, two),
    ):
        for turn in range(3):
            jobs = [
                await house.rig(one).ask(first.request(), f"a{turn}"),
                await house.rig(two).ask(second.request(), f"b{turn}"),
            ]
            runs = [await house.rig(one).ended(jobs[0]), await house.rig(two).ended(jobs[1])]
            assert [(r.state, r.attempt) for r in runs] == [(RunState.OK, 1)] * 2
            assert len(await house.loaded()) == 1
    pids = {*first.runs, *second.runs}
    assert len((await house.record()).left) == len(pids), "each left once, for the other or the end"


async def test_the_command_line_says_who_is_there_and_why_the_last_one_left(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = house.service("one"), house.service("two")
    await print_residency(house.bus)
    assert "No model has asked for memory yet" in capsys.readouterr().out
    async with managing(house), working(house.settings, one), working(house.settings, two):
        for service in (one, two):
            rig = house.rig(service)
            request = Script(tmp_path / service.name, "make").request()
            await rig.ended(await rig.ask(request, service.name))
        await house.until(lambda r: [x.holds for x in r.leases] == [Holds.LOADED])
        await print_residency(house.bus)
        await print_residency(house.bus, as_json=True)
    said = capsys.readouterr().out
    assert "of 30 GB are lent" in said
    assert "two    idle" in said
    assert "one left" in said
    assert "two needed the room" in said
    line = next(x for x in said.splitlines() if x.startswith("{"))
    assert msgspec.json.decode(line, type=DeviceRecord).leases[0].service == "two"


async def test_a_model_at_work_is_waited_for_and_waiting_costs_no_attempt(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HOLD_SECONDS", 0.2)
    one, two = house.service("one"), house.service("two")
    first, second = Script(tmp_path / "1", "wait"), Script(tmp_path / "2", "make")
    rig = house.rig(two)
    async with managing(house), working(house.settings, one), working(house.settings, two):
        busy = await house.rig(one).ask(first.request())
        await house.rig(one).started(first)
        job = await rig.ask(second.request(), "r2")
        await rig.in_state(job, RunState.IDLE)  # it was given back
        idle = await rig.run_of(job)
        assert idle is not None
        assert (idle.attempt, idle.failures, await rig.in_jobs(job)) == (0, [], True)
        since = [x.since for x in (await house.record()).leases if x.service == "two"]
        assert await house.loaded() == ["one"]
        first.gate.touch()
        run = await rig.ended(job)
        await house.rig(one).ended(busy)
    assert (run.state, run.attempt, len(second.runs)) == (RunState.OK, 1, 1)
    assert len(since) == 1, "its place in the line was kept"


async def test_a_manager_that_is_killed_is_followed_by_one_that_knows(
    house: House, tmp_path: Path
) -> None:
    one, two = house.service("one"), house.service("two")
    first, second = Script(tmp_path / "1", "wait"), Script(tmp_path / "2", "make")
    async with working(house.settings, one), working(house.settings, two):
        async with managing(house):
            busy = await house.rig(one).ask(first.request())
            await house.rig(one).started(first)
            job = await house.rig(two).ask(second.request(), "r2")
            before = await house.until(lambda r: waits(r, "two"))
        async with managing(house):
            assert await house.loaded() == ["one"]
            first.gate.touch()
            run = await house.rig(one).ended(busy)
            other = await house.rig(two).ended(job)
            after = await house.record()
    assert (run.state, run.attempt, other.state, other.attempt) == (RunState.OK, 1, RunState.OK, 1)
    assert len(first.runs) == len(second.runs) == 1
    assert [x.why for x in after.left] == ["two needed the room"]
    [lent] = [x for x in before.leases if x.service == "one"]
    assert after.left[0].loaded_at == lent.loaded_at, "it went on from what the first had written"


@pytest.mark.usefixtures("hurried")
async def test_what_a_killed_worker_held_is_free_again(house: House, tmp_path: Path) -> None:
    one, two = house.service("one"), house.service("two")
    first, second = Script(tmp_path / "1", "wait"), Script(tmp_path / "2", "make")
    more = {"ADGENX_DEVICE": DEVICE, "ADGENX_LEASE_PATIENCE_SECONDS": "1"}
    async with managing(house), working(house.settings, two):
        with process(house.settings, one, **more) as worker:
            await house.rig(one).ask(first.request())
            await house.rig(one).started(first)
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            run = await house.rig(two).ended(await house.rig(two).ask(second.request(), "r2"))
        left = (await house.record()).left
    assert run.state is RunState.OK
    assert [(x.service, x.why) for x in left] == [("one", "its worker was not heard of any more")]
    assert not alive(first.runs[0])


async def test_both_are_loaded_where_they_fit_and_one_runs_at_a_time(
    house: House, tmp_path: Path
) -> None:
    one, two = house.service("one", 12.0), house.service("two", 12.0)
    first, second = Script(tmp_path / "1", "wait"), Script(tmp_path / "2", "make")
    async with managing(house), working(house.settings, one), working(house.settings, two):
        busy = await house.rig(one).ask(first.request())
        await house.rig(one).started(first)
        job = await house.rig(two).ask(second.request(), "r2")
        record = await house.until(lambda r: waits(r, "two", Wants.RUN))
        assert {x.service: x.holds for x in record.leases} == {
            "one": Holds.RUNNING,
            "two": Holds.LOADED,
        }
        assert second.runs == []
        first.gate.touch()
        runs = await house.rig(one).ended(busy), await house.rig(two).ended(job)
        assert await house.loaded() == ["one", "two"]
    assert [(r.state, r.attempt) for r in runs] == [(RunState.OK, 1)] * 2


async def test_with_two_slots_two_run(house: House, tmp_path: Path) -> None:
    one, two = house.service("one", 12.0), house.service("two", 12.0)
    first, second = Script(tmp_path / "1", "wait"), Script(tmp_path / "2", "wait")
    async with managing(house, slots=2), working(house.settings, one), working(house.settings, two):
        jobs = [
            await house.rig(one).ask(first.request()),
            await house.rig(two).ask(second.request(), "r2"),
        ]
        await house.rig(one).started(first)
        await house.rig(two).started(second)
        first.gate.touch()
        second.gate.touch()
        await house.rig(one).ended(jobs[0])
        await house.rig(two).ended(jobs[1])


async def test_a_model_that_never_fits_makes_its_service_unavailable(
    house: House, tmp_path: Path
) -> None:
    giant = house.service("giant", BUDGET_GB + 1)
    rig = house.rig(giant)
    async with managing(house), working(house.settings, giant):
        job = await rig.ask(Script(tmp_path / "1", "make").request())

        async def said() -> bool:
            return [w.state for w in await rig.workers()] == [ServiceState.UNAVAILABLE]

        await eventually(said)
        [worker] = await rig.workers()
        await rig.in_state(job, RunState.IDLE)
        run = await rig.run_of(job)
    assert worker.reason == "the model does not fit: it takes 31 GB, models may take 30"
    assert run is not None
    assert (run.attempt, run.failures) == (0, [])


async def test_a_job_that_is_cancelled_while_it_waits_leaves_the_line(
    house: House, tmp_path: Path
) -> None:
    one, two = house.service("one"), house.service("two")
    first, second = Script(tmp_path / "1", "wait"), Script(tmp_path / "2", "make")
    rig = house.rig(two)
    async with managing(house), working(house.settings, one), working(house.settings, two):
        busy = await house.rig(one).ask(first.request())
        await house.rig(one).started(first)
        job = await rig.ask(second.request(), "r2")
        await house.until(lambda r: waits(r, "two"))
        await rig.change(job, state=RunState.CANCELLED)
        await house.until(lambda r: not waits(r, "two"))
        await rig.dropped(job)
        first.gate.touch()
        await house.rig(one).ended(busy)
        assert await house.loaded() == ["one"], "nobody left for a job that nobody wants"
    assert second.runs == []


async def test_a_process_that_dies_idle_gives_its_lease_back(house: House, tmp_path: Path) -> None:
    one = house.service("one")
    script = Script(tmp_path / "1", "make")
    async with managing(house), working(house.settings, one):
        await house.rig(one).ended(await house.rig(one).ask(script.request()))
        os.kill(script.runs[0], signal.SIGKILL)
        record = await house.until(lambda r: not r.leases)
    assert [x.why for x in record.left] == ["its process has ended"]


async def test_a_worker_that_ends_in_order_gives_its_lease_back(
    house: House, tmp_path: Path
) -> None:
    one = house.service("one")
    async with managing(house):
        async with working(house.settings, one):
            rig = house.rig(one)
            await rig.ended(await rig.ask(Script(tmp_path / "1", "make").request()))
            assert await house.loaded() == ["one"]
        record = await house.record()
    assert (record.leases, [x.why for x in record.left]) == ([], ["its worker has ended it"])


async def test_without_a_manager_a_worker_loads_where_there_is_room(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[float] = [1e9]
    monkeypatch.setattr(device, "memory_available_bytes", lambda: free[0])
    one = house.service("one")
    rig = house.rig(one)
    script = Script(tmp_path / "1", "wait")
    async with working(house.settings, one):
        job = await rig.ask(script.request())
        await rig.in_state(job, RunState.IDLE)  # no room: given back
        idle = await rig.run_of(job)
        assert idle is not None
        assert (idle.attempt, script.runs) == (0, [])
        free[0] = 100e9
        await rig.started(script)
        async with managing(house):  # one that comes late hears of what is there
            await house.until(lambda r: [x.holds for x in r.leases] == [Holds.RUNNING])
            script.gate.touch()
            run = await rig.ended(job)
            assert await house.loaded() == ["one"]
    assert (run.state, run.attempt) == (RunState.OK, 1)


async def test_whoever_has_waited_for_a_manager_once_does_not_wait_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "memory_available_bytes", lambda: 100e9)
    waits: list[float] = []
    pause = lease.Lease._rung

    async def counted(self: lease.Lease, seconds: float) -> None:
        waits.append(seconds)
        await pause(self, seconds)

    monkeypatch.setattr(lease.Lease, "_rung", counted)
    one = house.service("one")
    rig = house.rig(one)
    async with working(house.settings, one):
        await rig.ended(await rig.ask(Script(tmp_path / "1", "make").request(), "r1"))
        first = len(waits)
        await rig.ended(await rig.ask(Script(tmp_path / "2", "make").request(), "r2"))
    assert len(waits) == first > 0


@contextlib.contextmanager
def manager_process(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    more = {"ADGENX_DEVICE": DEVICE, "ADGENX_DEVICE_MEMORY_GB": "1000"}
    started = subprocess.Popen(
        [sys.executable, "-m", "services.model_manager.run"],
        env={**environment(settings, folder), **more},
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


async def test_the_process_answers_and_ends_when_it_is_told_to(
    house: House, tmp_path: Path
) -> None:
    small = house.service("small", lease.LEASED_FROM_GB)
    settings = msgspec.structs.replace(house.settings, lease_patience_seconds=20.0)
    rig = house.rig(small)
    with manager_process(settings, tmp_path) as manager:
        async with working(settings, small):
            await rig.ended(await rig.ask(Script(tmp_path / "1", "make").request()))
            record = await house.record()
            manager.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(manager.wait, 20) == 0
    assert [(x.service, x.manifest_gb) for x in record.leases] == [("small", 4.0)]
    assert record.budget_gb == 1000.0
