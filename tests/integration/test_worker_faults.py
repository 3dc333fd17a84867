"""Workers among broken messages, broken models and servers that are killed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from worker_fake import NAME, Script, write_service
from worker_rig import CAMPAIGN, TENANT, Rig, process, working

from bus import gate
from bus.connection import EXIT_LOST
from bus.records import Records
from bus.servers import NatsServer
from bus.worker.announcing import FORGOTTEN_SECONDS
from bus.worker.folder import ServiceFolder
from contracts import subjects
from contracts.codec import encode
from contracts.jobs import Buried, Job, RunState
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.integration


def job(tenant: str, script: Script) -> Job:
    return Job(
        job_id="a" * 26,
        tenant=tenant,
        campaign_id=CAMPAIGN,
        request_id="r1",
        service=NAME,
        request=script.request(),
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"no json", id="no JSON"),
        pytest.param(b'{"job_id":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"x":' + b"[" * 200_000, id="deeper than any decoder goes"),
        pytest.param(b"tenant", id="an id that no key can hold"),
    ],
)
async def test_a_message_that_cannot_be_read_is_buried_and_does_not_come_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path, body: bytes
) -> None:
    script = Script(tmp_path / "s", "make")
    if body == b"tenant":
        body = encode(job("two words", script))
    subject = subjects.job(NAME, "a" * 26)
    await gate.publish_once(rig.bus, subject, body)
    async with working(rig.settings, service):
        await rig.dropped(job(TENANT, script))
    found = await gate.last(rig.bus, Stream.DEAD, subjects.dead(NAME, "a" * 26))
    assert found is not None
    assert (found.data, script.runs) == (body, [])


async def test_a_model_that_says_cancelled_unasked_fails_and_does_not_come_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    (service.path / "acts.py").write_text(
        "from contracts.errors import JobCancelledError\n"
        "def give_up(task, request, report, files):\n"
        "    raise JobCancelledError('of its own accord')\n"
        "    yield\n"
    )
    script = Script(tmp_path / "s", "give_up")
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(script.request()))
    assert run.error is not None
    assert (run.state, run.error.code, len(script.runs)) == (RunState.FAILED, "MODEL_FAILED", 1)


async def test_each_worker_has_a_record_of_its_own_and_takes_only_that_along(
    rig: Rig, service: ServiceFolder
) -> None:
    async with working(rig.settings, service):
        await eventually(lambda: rig.announced(1))
        (first,) = await rig.workers()
        async with working(rig.settings, service):
            await eventually(lambda: rig.announced(2))
            assert {w.state for w in await rig.workers()} == {ServiceState.READY}
        assert [w.worker for w in await rig.workers()] == [first.worker]
    assert await rig.workers() == []


async def test_a_start_removes_the_records_of_workers_that_were_killed(
    rig: Rig, service: ServiceFolder
) -> None:
    with process(rig.settings, service) as worker:
        await eventually(lambda: rig.announced(1))
        worker.send_signal(signal.SIGKILL)
    (left,) = await rig.workers()
    table = Records(rig.bus, Bucket.SERVICES, ServiceRecord)
    old = msgspec.structs.replace(left, announced_at=left.announced_at - FORGOTTEN_SECONDS)
    await table.put(subjects.worker_key(NAME, left.worker), old)
    async with working(rig.settings, service):

        async def replaced() -> bool:
            return [w.worker == left.worker for w in await rig.workers()] == [False]

        await eventually(replaced)


async def test_nothing_runs_for_a_job_that_another_service_does_now(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "make")
    asked = await rig.ask(script.request())
    found = await rig.jobs.get(asked.key)
    assert found is not None
    elsewhere = msgspec.structs.replace(found.value, service="another")
    await rig.jobs.update(asked.key, elsewhere, found.revision)
    async with working(rig.settings, service):
        await rig.dropped(asked)
    assert (await rig.run_of(asked), script.runs) == (None, [])


async def test_a_server_killed_while_a_model_works_costs_nothing(
    rig: Rig, service: ServiceFolder, nats_server: NatsServer, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    async with working(rig.settings, service):
        asked = await rig.ask(script.request())
        await rig.started(script)
        nats_server.process.kill()
        script.gate.touch()
        await nats_server.start()
        run = await rig.ended(asked)
    assert (run.state, len(script.runs)) == (RunState.OK, 1)


async def test_many_jobs_across_two_killings_of_the_server_all_end_well(
    rig: Rig, nats_server: NatsServer, tmp_path: Path
) -> None:
    service = write_service(tmp_path / "services", concurrency=2)
    scripts = [Script(tmp_path / f"s{n}", "make") for n in range(60)]
    jobs = [await rig.ask(s.request(seed=n), f"r{n}") for n, s in enumerate(scripts)]
    async with working(rig.settings, service), working(rig.settings, service):
        for script in (scripts[10], scripts[40]):
            await rig.started(script)
            nats_server.process.kill()
            await nats_server.start()
        runs = [await rig.ended(job) for job in jobs]
    assert {run.state for run in runs} == {RunState.OK}
    made = [await rig.artifacts.read(run.outputs[0].key) for run in runs]
    assert made == [f"seed {n} ".encode() for n in range(60)]


async def test_many_jobs_across_killings_of_workers_cost_only_what_was_in_hand(
    rig: Rig, tmp_path: Path
) -> None:
    service = write_service(tmp_path / "services", concurrency=2)
    scripts = [Script(tmp_path / f"s{n}", "make") for n in range(60)]
    jobs = [await rig.ask(s.request(seed=n), f"r{n}") for n, s in enumerate(scripts)]
    for script in (scripts[5], scripts[20], scripts[35]):
        with process(rig.settings, service):
            await rig.started(script)
    async with working(rig.settings, service):
        runs = [await rig.ended(job) for job in jobs]
    made = [await rig.artifacts.read(run.outputs[0].key) for run in runs]
    assert made == [f"seed {n} ".encode() for n in range(60)]
    assert sum(len(script.runs) for script in scripts) <= 60 + 3 * 2


async def test_two_worker_processes_run_each_of_many_jobs_once(rig: Rig, tmp_path: Path) -> None:
    service = write_service(tmp_path / "services", concurrency=2)
    scripts = [Script(tmp_path / f"s{n}", "make") for n in range(200)]
    jobs = [await rig.ask(s.request(), f"r{n}") for n, s in enumerate(scripts)]
    with process(rig.settings, service), process(rig.settings, service):
        runs = [await rig.ended(job) for job in jobs]
    assert {(run.state, run.attempt) for run in runs} == {(RunState.OK, 1)}
    assert [len(script.runs) for script in scripts] == [1] * 200
    assert await rig.writes() == 400


async def test_a_worker_that_was_frozen_finds_its_job_done_and_leaves_it_alone(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    with process(rig.settings, service) as frozen:
        asked = await rig.ask(script.request())
        await rig.started(script)
        frozen.send_signal(signal.SIGSTOP)
        async with working(rig.settings, service):
            await rig.started(script, times=2)
            script.gate.touch()
            run = await rig.ended(asked)
        frozen.send_signal(signal.SIGCONT)
        frozen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(frozen.wait, 15) == 0
    assert (run.state, run.attempt) == (RunState.OK, 2)
    assert await rig.run_of(asked) == run
    assert await rig.writes() == 3, "two claims and one commit"


async def test_a_job_that_costs_every_worker_its_life_is_buried_unrun(
    rig: Rig, tmp_path: Path
) -> None:
    service = write_service(tmp_path / "services", max_attempts=2)
    script = Script(tmp_path / "s", "wait")
    asked = await rig.ask(script.request())
    for times in (1, 2):
        with process(rig.settings, service):
            await rig.started(script, times)
    async with working(rig.settings, service):
        run = await rig.ended(asked)
    assert run.error is not None
    assert (run.state, run.error.code, len(script.runs)) == (RunState.FAILED, "POISON", 2)
    found = await gate.last(rig.bus, Stream.DEAD, subjects.dead(NAME, asked.job_id))
    assert found is not None
    assert msgspec.json.decode(found.data, type=Buried) == Buried(
        job=asked, run=run, at=run.ended_at
    )


async def test_every_job_in_hand_is_given_back_when_the_worker_stops(
    rig: Rig, tmp_path: Path
) -> None:
    service = write_service(tmp_path / "services", concurrency=3)
    scripts = [Script(tmp_path / f"s{n}", "wait") for n in range(3)]
    with process(rig.settings, service) as worker:
        jobs = [await rig.ask(s.request(), f"r{n}") for n, s in enumerate(scripts)]
        for script in scripts:
            await rig.started(script)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 15) == 0
    for asked in jobs:
        run = await rig.run_of(asked)
        assert run is not None
        assert (run.state, run.attempt) == (RunState.IDLE, 0)
        assert await rig.in_jobs(asked)


async def test_a_server_that_is_away_is_worth_another_start(
    rig: Rig, service: ServiceFolder
) -> None:
    nowhere = msgspec.structs.replace(rig.settings, nats_url="nats://127.0.0.1:1")
    patience = {"ADGENX_CONNECT_PATIENCE_SECONDS": "0.2"}
    with process(nowhere, service, **patience) as worker:
        assert await asyncio.to_thread(worker.wait, 15) == EXIT_LOST
