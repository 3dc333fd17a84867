"""What a model has made: kept while the store is away, taken over after a crash, made once."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from worker_fake import NAME, Script, write_service
from worker_rig import TENANT, Cable, Rig, process, working

from bus import gate
from bus.worker.folder import ServiceFolder
from contracts import subjects
from contracts.codec import encode
from contracts.jobs import RunState

pytestmark = pytest.mark.integration


async def test_a_store_that_is_away_costs_patience_and_no_second_run(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    cable = Cable(rig.settings.s3_endpoint)
    await cable.mend()
    settings = msgspec.structs.replace(rig.settings, s3_endpoint=cable.endpoint)
    script = Script(tmp_path / "s", "wait")
    async with working(settings, service):
        job = await rig.ask(script.request())
        await rig.started(script)
        await cable.cut()
        script.gate.touch()
        await rig.spooled(job)
        began = time.monotonic()

        async def past_ack_wait() -> bool:
            return time.monotonic() - began > 1.5 * settings.ack_wait_seconds

        await eventually(past_ack_wait)
        await cable.mend()
        run = await rig.ended(job)
    await cable.cut()
    assert (run.state, run.attempt, len(script.runs)) == (RunState.OK, 1, 1)


async def test_a_worker_killed_with_a_finished_result_leaves_it_to_the_next(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    cable = Cable(rig.settings.s3_endpoint)
    await cable.mend()
    cut_off = msgspec.structs.replace(rig.settings, s3_endpoint=cable.endpoint)
    script = Script(tmp_path / "s", "wait")
    with process(cut_off, service) as worker:
        job = await rig.ask(script.request())
        await rig.started(script)
        await cable.cut()
        script.gate.touch()
        await rig.spooled(job)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    async with working(rig.settings, service):
        run = await rig.ended(job)
    assert (run.state, len(script.runs)) == (RunState.OK, 1), "adopted, not made again"
    assert await rig.artifacts.read(run.outputs[0].key) == b"seed 7 "


async def test_a_damaged_result_in_the_spool_is_made_again(
    rig: Rig, service: ServiceFolder, tmp_path: Path
) -> None:
    cable = Cable(rig.settings.s3_endpoint)
    await cable.mend()
    cut_off = msgspec.structs.replace(rig.settings, s3_endpoint=cable.endpoint)
    script = Script(tmp_path / "s", "wait")
    async with working(cut_off, service):
        job = await rig.ask(script.request())
        await rig.started(script)
        await cable.cut()
        script.gate.touch()
        kept = await rig.spooled(job)
    (kept / "0").write_bytes(b"torn")
    async with working(rig.settings, service):
        run = await rig.ended(job)
    assert (run.state, len(script.runs)) == (RunState.OK, 2)
    assert await rig.artifacts.read(run.outputs[0].key) == b"seed 7 "


async def test_a_receipt_saves_the_run_where_the_spool_is_lost(rig: Rig, tmp_path: Path) -> None:
    service = write_service(tmp_path / "services", keep_receipt=True)
    script = Script(tmp_path / "s", "make")
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        first = await rig.ended(job)
    body = await rig.artifacts.get_receipt(TENANT, NAME, job.job_id)
    assert body is not None
    # Another machine: the run was claimed by a worker that died before its commit.
    await rig.change(job, state=RunState.CLAIMED, owner="dead", outputs=[])
    await gate.publish_once(rig.bus, subjects.job(NAME, job.job_id), encode(job))
    elsewhere = msgspec.structs.replace(rig.settings, spool_dir=tmp_path / "elsewhere")
    async with working(elsewhere, service):
        run = await rig.ended(job)
    assert (run.outputs, len(script.runs)) == (first.outputs, 1)


async def test_a_large_output_is_stored_whole(rig: Rig, service: ServiceFolder) -> None:
    (service.path / "acts.py").write_text(
        "from bus.worker.model import Media\n"
        "def paint_much(task, request, report, files):\n"
        "    path = files.new('.bin')\n"
        "    path.write_bytes(b'paint ' * 8_000_000)\n"
        "    yield Media(path=path, media_type='application/octet-stream', name='image')\n"
    )
    async with working(rig.settings, service):
        run = await rig.ended(await rig.ask(Script(service.path, "paint_much").request()))
    stored = await rig.artifacts.stat(run.outputs[0].key)
    assert stored is not None
    assert stored.size_bytes == run.outputs[0].size_bytes == 48_000_000


async def test_what_was_ordered_once_is_known_to_the_next_attempt(rig: Rig, tmp_path: Path) -> None:
    service = write_service(tmp_path / "services", keep_receipt=True)
    script = Script(tmp_path / "s", "order", orders=str(tmp_path / "orders"))
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        run = await rig.ended(job)
    assert (run.state, len(script.runs)) == (RunState.OK, 2)
    assert (tmp_path / "orders").read_text() == "ordered\n"
    assert await rig.artifacts.get_note(TENANT, NAME, job.job_id, "number") == b"n1"
    assert not list((rig.settings.spool_dir / NAME / "notes").iterdir()), "it is over here"


async def test_who_keeps_no_receipts_keeps_no_notes(rig: Rig, tmp_path: Path) -> None:
    service = write_service(tmp_path / "services", keep_receipt=False)
    script = Script(tmp_path / "s", "order", orders=str(tmp_path / "orders"))
    async with working(rig.settings, service):
        job = await rig.ask(script.request())
        run = await rig.ended(job)
    assert run.error is not None
    assert (run.error.code, len(script.runs)) == ("MODEL_FAILED", 1)
    assert not (tmp_path / "orders").exists()
