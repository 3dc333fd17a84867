"""What a worker obeys and says of itself: waits between starts, flags, loading, announcements."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from worker_fake import NAME, Script
from worker_rig import Rig, process, working

from bus.records import Records
from bus.worker.folder import ServiceFolder, engine_revision
from bus.worker.retry import IN_PLACE_SECONDS
from contracts.governance import FlagRecord
from contracts.jobs import Job, Run, RunState
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket

pytestmark = pytest.mark.integration

READY, UNAVAILABLE = ServiceState.READY, ServiceState.UNAVAILABLE


def limited(folder: Path, *, after: float, times: int = 1) -> Script:
    return Script(folder, "limited", after=after, times=times)


async def waiting(rig: Rig, job: Job) -> Run:
    """Wait until a start was lost and the next one is waited for."""
    found: list[Run] = []

    async def begun() -> bool:
        run = await rig.run_of(job)
        found.extend([run] if run is not None and run.not_before else [])
        return bool(found)

    await eventually(begun)
    return found[-1]


async def set_flag(rig: Rig, *, enabled: bool, reason: str = "") -> None:
    flags = Records(rig.bus, Bucket.FLAGS, FlagRecord)
    await flags.put(NAME, FlagRecord(enabled=enabled, reason=reason))


async def says(rig: Rig, state: ServiceState, *, resident: bool | None = None) -> ServiceRecord:
    """Wait until the one worker there is announces this, and return its record."""
    found: list[ServiceRecord] = []

    async def said() -> bool:
        found[:] = await rig.workers()
        return [w.state for w in found] == [state] and resident in (None, found[0].resident)

    await eventually(said)
    return found[0]


async def test_a_lost_start_is_tried_again_after_what_the_provider_asked_for(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = limited(tmp_path / "s", after=2.0, times=2)  # each longer than the ack's patience
    async with working(rig.settings, service), working(rig.settings, service):
        job = await rig.ask(script.request())
        first = await waiting(rig, job)
        run = await rig.ended(job)
    assert (first.state, first.attempt, first.failures[0].code) == (
        RunState.CLAIMED,
        1,
        "RATE_LIMITED",
    )
    assert (run.state, run.attempt, run.not_before) == (RunState.OK, 3, 0.0)
    assert [f.retry_after_seconds for f in run.failures] == [2.0, 2.0]
    assert len(set(script.runs)) == 1, "the same process of the same worker: nobody else came"
    assert len(script.runs) == 3


async def test_a_long_wait_gives_the_job_back_and_no_worker_begins_before_it_is_over(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = limited(tmp_path / "s", after=IN_PLACE_SECONDS + 60)
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        await rig.in_state(job, RunState.IDLE)
        other = Script(tmp_path / "t", "make")
        await rig.ended(await rig.ask(other.request(), "r2"))
        idle = await rig.run_of(job)
        assert idle is not None
        assert (idle.attempt, idle.owner, len(idle.failures)) == (1, "", 1)
        assert len(script.runs) == 1, "its place was free for another job"
        await rig.nudge(job)  # a delivery before its time
        await rig.ended(await rig.ask(Script(tmp_path / "u", "make").request(), "r3"))
        assert await rig.run_of(job) == idle
        await rig.change(job, not_before=1.0)
        await rig.nudge(job)
        run = await rig.ended(job)
    assert (run.state, run.attempt, len(script.runs)) == (RunState.OK, 2, 2)


async def test_a_wait_past_the_deadline_is_not_begun(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = limited(tmp_path / "s", after=20.0)
    async with working(rig.settings, service):
        job = await rig.ask(script.request(), deadline_at=time.time() + 15)
        run = await rig.ended(job)
    assert run.error is not None
    assert (run.state, run.error.code, run.attempt) == (RunState.FAILED, "RATE_LIMITED", 1)
    assert run.error.retry_after_seconds == 20.0


async def test_a_wait_hears_a_cancel(rig: Rig, service: ServiceFolder, tmp_path: Path) -> None:
    script = limited(tmp_path / "s", after=IN_PLACE_SECONDS - 1)
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        await waiting(rig, job)
        await rig.change(job, state=RunState.CANCELLED)
        run = await rig.ended(job)
    assert (run.state, len(script.runs)) == (RunState.CANCELLED, 1)


async def test_a_stop_in_the_middle_of_a_wait_keeps_the_count_and_the_moment(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = limited(tmp_path / "s", after=IN_PLACE_SECONDS - 1)
    with process(rig.settings, service) as worker:
        job = await rig.ask(script.request())
        held = await waiting(rig, job)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 15) == 0
    run = await rig.run_of(job)
    assert run == msgspec.structs.replace(held, state=RunState.IDLE, owner="")
    assert await rig.in_jobs(job)


async def test_a_service_that_is_turned_off_makes_no_start_and_serves_again_at_once(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    await set_flag(rig, enabled=False, reason="it hallucinates")
    script = Script(tmp_path / "s", "make")
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(script.request()))
        assert run.error is not None
        assert (run.state, run.error.code, run.attempt) == (RunState.FAILED, "NOT_IMPLEMENTED", 0)
        assert "it hallucinates" in run.error.message
        await set_flag(rig, enabled=True)

        names = (f"r{n}" for n in itertools.count(2))

        async def serves() -> bool:
            again = Script(tmp_path / "t", "make")
            ended = await rig.ended(await rig.ask(again.request(), next(names)))
            return ended.state is RunState.OK

        await eventually(serves)
    assert script.runs == []


async def test_a_flag_that_is_taken_back_refuses_nobody_any_more(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    await set_flag(rig, enabled=False)
    script = Script(tmp_path / "s", "make")
    async with working(rig.settings, service):
        assert (await rig.ended(await rig.ask(script.request()))).state is RunState.FAILED
        flags = Records(rig.bus, Bucket.FLAGS, FlagRecord)
        flag = await flags.get(NAME)
        assert flag is not None
        assert await flags.delete(NAME, flag.revision)  # of which the worker hears nothing
        again = Script(tmp_path / "t", "make")
        assert (await rig.ended(await rig.ask(again.request(), "r2"))).state is RunState.OK


async def test_a_service_that_is_turned_off_is_not_tried_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = limited(tmp_path / "s", after=2.0, times=3)
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        await waiting(rig, job)
        await set_flag(rig, enabled=False)
        run = await rig.ended(job)
    assert run.error is not None
    assert (run.error.code, run.attempt, len(script.runs)) == ("NOT_IMPLEMENTED", 1, 1)


async def test_the_environment_turns_a_worker_off_and_an_operator_overrides_it(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    off = msgspec.structs.replace(rig.settings, disabled_services=(NAME,))
    script = Script(tmp_path / "s", "make")
    async with working(off, service):
        said = await says(rig, UNAVAILABLE)
        assert said.reason == f"USE_{NAME.upper()}=0"
        job = await rig.ask(script.request())
        await set_flag(rig, enabled=True)
        assert (await rig.ended(job)).state is RunState.OK
        await says(rig, READY)
        await set_flag(rig, enabled=False)
        await says(rig, UNAVAILABLE)
        waits = await rig.ask(Script(tmp_path / "t", "make").request(), "r2")
    assert await rig.run_of(waits) is None
    assert await rig.in_jobs(waits)


async def test_a_model_that_does_not_load_costs_no_job_anything(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    acts = service.path / "acts.py"
    whole = acts.read_text()
    acts.write_text("import a_module_that_is_not_there\n")
    script = Script(tmp_path / "s", "make")
    async with working(rig.settings, service):
        await says(rig, READY)
        job = await rig.ask(script.request())
        said = await says(rig, UNAVAILABLE)
        assert "a_module_that_is_not_there" in said.reason
        await rig.in_state(job, RunState.IDLE)
        run = await rig.run_of(job)
        assert run is not None
        assert (run.attempt, run.failures) == (0, [])
        assert await rig.in_jobs(job)
        acts.write_text(whole)
        run = await rig.ended(job)
        assert (run.state, run.attempt) == (RunState.OK, 1)
        await says(rig, READY, resident=True)


async def test_a_worker_says_whether_its_model_is_loaded_and_what_it_takes(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    async with working(rig.settings, service):
        fresh = await says(rig, READY, resident=False)
        assert (fresh.manifest, fresh.revision) == (service.manifest, engine_revision(service))
        assert (fresh.busy, fresh.memory_gb, fresh.resident_since) == (0, 0.0, 0.0)
        job = await rig.ask(script.request())
        loaded = await says(rig, READY, resident=True)
        assert loaded.busy == 1
        assert fresh.announced_at < loaded.resident_since <= loaded.announced_at
        assert 0.005 < loaded.memory_gb < 1.0
        script.gate.touch()
        await rig.ended(job)
        await rig.ask(Script(tmp_path / "t", "die").request(), "r2")
        await says(rig, READY, resident=False)
