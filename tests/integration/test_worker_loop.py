"""Workers on a real server and a real store: rows 8 to 14 of the job protocol."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from nats.aio.msg import Msg
from worker_fake import NAME, Script, write_service
from worker_rig import CAMPAIGN, TENANT, Rig, process, working

from bus import gate
from bus.worker.folder import ServiceFolder
from contracts import subjects
from contracts.artifacts import ArtifactRef
from contracts.codec import encode
from contracts.events import Progress
from contracts.jobs import Buried, JobState, RunState
from contracts.subjects import Stream

pytestmark = pytest.mark.integration


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "script", "make")


async def put(rig: Rig, data: bytes) -> ArtifactRef:
    stored = await rig.artifacts.put(data, TENANT, "text/plain")
    return ArtifactRef(
        key=stored.key, sha256=stored.sha256, media_type="text/plain", size_bytes=len(data)
    )


async def test_a_job_is_run_stored_committed_and_acknowledged(
    rig: Rig, service: ServiceFolder, script: Script
) -> None:
    ref = await put(rig, b"reference")
    async with working(rig.settings, service):
        job = await rig.ask(script.request(references=[ref]))
        run = await rig.ended(job)
    assert (run.state, run.attempt, run.cost, run.job_key) == (RunState.OK, 1, 0.25, job.key)
    (output,) = run.outputs
    assert (output.name, output.width, output.labels) == ("image", 4, {"tone": "calm"})
    assert await rig.artifacts.read(output.key) == b"seed 7 reference"
    assert len(script.runs) == 1
    assert await rig.writes() == 2, "the claim and the commit, and nothing else"
    left = list((rig.settings.spool_dir / NAME / "done").iterdir())
    assert left == [], "what is committed leaves the spool"


async def test_progress_never_falls_and_ends_at_one(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    heard: list[Progress] = []

    async def hear(message: Msg) -> None:
        heard.append(msgspec.json.decode(message.data, type=Progress))

    await rig.bus.nc.subscribe(subjects.campaign_progress(TENANT, CAMPAIGN), cb=hear)
    async with working(rig.settings, service):
        job = await rig.ask(Script(tmp_path / "s", "make", steps=200).request())
        await rig.ended(job)

    async def finished() -> bool:
        return bool(heard) and heard[-1].fraction == 1.0

    await eventually(finished)
    fractions = [p.fraction for p in heard]
    assert fractions == sorted(fractions)
    assert len(heard) < 20, "200 steps within a moment are not 200 messages"
    assert (heard[-1].labels, heard[-1].attempt) == ({"step": "still"}, 1)


@pytest.mark.parametrize(
    ("do", "code", "field"), [("refuse", "INVALID_PARAMS", "width"), ("fail", "MODEL_FAILED", "")]
)
async def test_a_failure_on_its_merits_is_not_repeated(
    rig: Rig, service: ServiceFolder, tmp_path: Path, do: str, code: str, field: str
) -> None:
    script = Script(tmp_path / "s", do)
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(script.request()))
        again = await rig.ended(await rig.ask(Script(tmp_path / "t", "make").request(), "r2"))
    assert run.error is not None
    assert (run.state, run.error.code, run.error.field) == (RunState.FAILED, code, field)
    assert len(script.runs) == 1
    assert again.state is RunState.OK, "the worker goes on"


async def test_a_lost_process_is_a_second_attempt_of_the_same_delivery(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "die_once")
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(script.request()))
    assert (run.state, run.attempt, len(set(script.runs))) == (RunState.OK, 2, 2)


async def test_a_job_that_loses_every_process_is_buried(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "die")
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        run = await rig.ended(job)
    assert run.error is not None
    assert (run.state, run.error.code, run.attempt) == (RunState.FAILED, "POISON", 3)
    assert len(script.runs) == 3
    found = await gate.last(rig.bus, Stream.DEAD, subjects.dead(NAME, job.job_id))
    assert found is not None
    buried = msgspec.json.decode(found.data, type=Buried)
    assert (buried.job, buried.run) == (job, run)


async def test_a_worker_killed_at_work_costs_one_more_run(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    with process(rig.settings, service) as worker:
        job = await rig.ask(script.request())
        await rig.started(script)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    script.gate.touch()
    async with working(rig.settings, service):
        run = await rig.ended(job)
    assert (run.state, run.attempt, len(script.runs)) == (RunState.OK, 2, 2)


async def test_a_job_longer_than_the_acks_patience_is_not_delivered_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    began = time.monotonic()
    async with working(rig.settings, service), working(rig.settings, service):
        job = await rig.ask(script.request())
        await rig.started(script)

        async def long_enough() -> bool:
            return time.monotonic() - began > 2.5 * rig.settings.ack_wait_seconds

        await eventually(long_enough)
        script.gate.touch()
        run = await rig.ended(job)
    assert (run.attempt, len(script.runs)) == (1, 1)


async def test_two_workers_share_many_jobs_and_run_each_once(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    scripts = [Script(tmp_path / f"s{n}", "make") for n in range(12)]
    async with working(rig.settings, service), working(rig.settings, service):
        asked = enumerate(scripts)
        jobs = [await rig.ask(s.request(seed=n), f"r{n}") for n, s in asked]
        runs = [await rig.ended(job) for job in jobs]
    assert {run.state for run in runs} == {RunState.OK}
    assert [len(s.runs) for s in scripts] == [1] * 12
    assert await rig.writes() == 24


async def test_a_cancelled_run_stops_at_once_and_its_message_goes(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        await rig.started(script)
        began = time.monotonic()
        await rig.change(job, state=RunState.CANCELLED)
        run = await rig.ended(job)
        assert time.monotonic() - began < 1.5, "it was heard of, not found by looking"
        again = await rig.ended(await rig.ask(Script(tmp_path / "t", "make").request(), "r2"))
    assert (run.state, run.outputs, again.state) == (RunState.CANCELLED, [], RunState.OK)


@pytest.mark.parametrize("state", [None, JobState.CANCELLED, JobState.FAILED])
async def test_nothing_runs_for_a_job_that_is_gone_or_over(
    rig: Rig, service: ServiceFolder, script: Script, state: JobState | None
) -> None:
    job = await rig.ask(script.request(), recorded=state is not None)
    if state is not None:
        found = await rig.jobs.get(job.key)
        assert found is not None
        over = msgspec.structs.replace(found.value, state=state)
        await rig.jobs.update(job.key, over, found.revision)
    async with working(rig.settings, service):
        await rig.dropped(job)
    assert (await rig.run_of(job), script.runs) == (None, [])


async def test_a_superseded_worker_says_nothing(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    said: list[bytes] = []

    async def hear(message: Msg) -> None:
        said.append(message.data)

    await rig.bus.nc.subscribe(f"$JS.ACK.{Stream.JOBS}.{NAME}.>", cb=hear)
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        await rig.started(script)
        await rig.change(job, owner="another", attempt=2)

        async def idle() -> bool:
            # It has given up the job, and asks for another.
            return (await rig.bus.js.consumer_info(Stream.JOBS, NAME)).num_waiting == 1

        await eventually(idle)
    await rig.bus.nc.flush()  # what it said on its way out has come as well
    assert [word for word in said if word != b"+WPI"] == []
    run = await rig.run_of(job)
    assert run is not None
    assert (run.owner, run.state) == ("another", RunState.CLAIMED)


async def test_a_worker_that_is_given_its_own_job_again_ends_the_first_run_and_keeps_the_second(
    rig: Rig, tmp_path: Path
) -> None:
    service = write_service(tmp_path / "services", concurrency=2)
    script = Script(tmp_path / "s", "wait")
    began = time.monotonic()
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        await rig.started(script)
        await rig.nudge(job)
        await rig.started(script, times=2)

        async def one_place_is_free() -> bool:
            asking = (await rig.bus.js.consumer_info(Stream.JOBS, NAME)).num_waiting == 1
            return asking and time.monotonic() - began > 2.5 * rig.settings.ack_wait_seconds

        await eventually(one_place_is_free)
        script.gate.touch()
        run = await rig.ended(job)
    assert (run.state, run.attempt, len(script.runs)) == (RunState.OK, 2, 2)
    assert await rig.writes() == 3, "two claims and one commit"


async def test_a_stopping_worker_gives_the_attempt_back(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    script = Script(tmp_path / "s", "wait")
    with process(rig.settings, service) as worker:
        job = await rig.ask(script.request())
        await rig.started(script)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 15) == 0
    run = await rig.run_of(job)
    assert run is not None
    assert (run.state, run.attempt, run.owner) == (RunState.IDLE, 0, "")
    script.gate.touch()
    async with working(rig.settings, service):
        run = await rig.ended(job)
    assert (run.state, run.attempt) == (RunState.OK, 1), "the attempt did not count"


async def test_a_worker_that_stops_while_its_model_loads_does_not_wait_for_it(
    rig: Rig, service: ServiceFolder, script: Script
) -> None:
    slow = service.path / "slow"
    slow.touch()
    async with working(rig.settings, service) as bus:
        job = await rig.ask(script.request())

        async def loading() -> bool:
            return (service.path / "loading").exists()

        await eventually(loading)
        bus.stopping.set()
        await rig.in_state(job, RunState.IDLE)
    slow.unlink()
    async with working(rig.settings, service):
        run = await rig.ended(job)
    assert (run.state, run.attempt, len(script.runs)) == (RunState.OK, 1, 1)


async def test_an_input_that_is_not_there_fails_the_job_before_the_model(
    rig: Rig, service: ServiceFolder, script: Script
) -> None:
    ref = ArtifactRef(
        key=f"{TENANT}/sha256/ab/{'ab' * 32}",
        sha256="ab" * 32,
        media_type="image/png",
        size_bytes=3,
    )
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(script.request(references=[ref])))
    assert run.error is not None
    assert (run.error.code, script.runs) == ("ARTIFACT_MISSING", [])


async def test_a_deadline_stops_the_model(rig: Rig, service: ServiceFolder, tmp_path: Path) -> None:
    script = Script(tmp_path / "s", "wait")
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(script.request(), deadline_at=time.time() + 1.5))
        late = Script(tmp_path / "t", "make")
        past = await rig.ended(await rig.ask(late.request(), "r2", deadline_at=time.time() - 1))
    assert run.error is not None
    assert past.error is not None
    assert run.error.code == past.error.code == "DEADLINE_EXPIRED"
    assert late.runs == []


async def test_a_request_that_cannot_be_read_fails_its_job(
    rig: Rig, service: ServiceFolder, script: Script
) -> None:
    job = await rig.ask(script.request())
    found = await gate.last(rig.bus, Stream.JOBS, subjects.job(NAME, job.job_id))
    assert found is not None
    await gate.remove(rig.bus, Stream.JOBS, found.sequence)
    newer = encode(job).replace(b"generate_image.v1", b"generate_image.v9")
    await gate.publish_once(rig.bus, subjects.job(NAME, job.job_id), newer)
    async with working(rig.settings, service):
        run = await rig.ended(job)
    assert run.error is not None
    assert (run.state, run.error.code) == (RunState.FAILED, "UNSUPPORTED_TYPE")


async def test_bytes_that_are_no_job_are_buried(rig: Rig, service: ServiceFolder) -> None:
    subject = subjects.job(NAME, "a" * 26)
    await gate.publish_once(rig.bus, subject, b"\xff{not a job")
    async with working(rig.settings, service):

        async def buried() -> bool:
            return await gate.last(rig.bus, Stream.JOBS, subject) is None

        await eventually(buried)
    found = await gate.last(rig.bus, Stream.DEAD, subjects.dead(NAME, "a" * 26))
    assert found is not None
    assert found.data == b"\xff{not a job"


async def test_several_jobs_at_once_have_a_process_each(rig: Rig, tmp_path: Path) -> None:
    service = write_service(tmp_path / "services", concurrency=3)
    scripts = [Script(tmp_path / f"s{n}", "wait") for n in range(3)]
    async with working(rig.settings, service):
        jobs = [await rig.ask(s.request(), f"r{n}") for n, s in enumerate(scripts)]
        for script in scripts:
            await rig.started(script)
        for script in scripts:
            script.gate.touch()
        for job in jobs:
            await rig.ended(job)
    assert len({script.runs[0] for script in scripts}) == 3
