"""Paid work through real workers, a real store and a provider that counts what it sells."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from bus_servers import eventually
from hailuo_server import KEY, HailuoServer, footage, hailuo_server
from worker_rig import TENANT, Rig, worker_settings, working

from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.settings import Settings
from bus.worker.folder import SERVICES, open_folder
from contracts.jobs import RunState
from contracts.requests import GenerateVideo

pytestmark = pytest.mark.integration

SERVICE = open_folder(SERVICES / "hailuo")
REQUEST = GenerateVideo(prompt="a can in the rain", width=96, height=54, seconds=2, fps=12)


@pytest.fixture
def provider() -> Iterator[HailuoServer]:
    footage(6)  # made now: the worker shares this process, and its heartbeats would wait for it
    with hailuo_server() as server:
        server.stages = ["Processing"]  # until the test lets it be done
        yield server


@pytest.fixture
async def rig(
    bus: Bus,
    nats_settings: Settings,
    s3_settings: Settings,
    tmp_path: Path,
    provider: HailuoServer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Rig]:
    (tmp_path / "minimax").write_text(KEY)
    monkeypatch.setenv("ADGENX_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ADGENX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ADGENX_HAILUO_URL", provider.url)
    monkeypatch.setenv("ADGENX_HAILUO_POLL_SECONDS", "0.02")
    bucket = f"test-{secrets.token_hex(6)}"
    settings = worker_settings(nats_settings, s3_settings, bucket, tmp_path / "spool")
    settings = msgspec.structs.replace(settings, secrets_dir=tmp_path)
    artifacts = Artifacts(settings)
    await artifacts.ensure_bucket()
    yield Rig(bus, artifacts, settings, SERVICE.name)
    artifacts.close()


def children() -> set[int]:
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    pids = {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    return {pid for pid in pids if b"bus.worker.child" in Path(f"/proc/{pid}/cmdline").read_bytes()}


async def noted(rig: Rig, job_id: str) -> None:
    """Wait until the store knows what was bought for a job."""

    async def there() -> bool:
        return await rig.artifacts.get_note(TENANT, SERVICE.name, job_id, "task1") is not None

    await eventually(there)


async def test_a_child_that_is_killed_while_it_waits_costs_no_second_order(
    rig: Rig, provider: HailuoServer
) -> None:
    async with working(rig.settings, SERVICE):
        job = await rig.ask(REQUEST)
        assert await asyncio.to_thread(provider.queried.wait, 30)
        for pid in children():
            os.killpg(pid, signal.SIGKILL)
        provider.stages = ["Success"]
        run = await rig.ended(job)
    assert (run.state, run.attempt, run.cost) == (RunState.OK, 2, 0.28)
    assert (provider.asked, len(provider.sold)) == (1, 1)
    [film] = run.outputs
    assert film.labels["task"] == "1001"


async def test_another_machine_goes_on_with_what_this_one_has_bought(
    rig: Rig, provider: HailuoServer, tmp_path: Path
) -> None:
    async with working(rig.settings, SERVICE):
        job = await rig.ask(REQUEST)
        assert await asyncio.to_thread(provider.queried.wait, 30)
        await noted(rig, job.job_id)
    provider.stages = ["Success"]
    elsewhere = msgspec.structs.replace(rig.settings, spool_dir=tmp_path / "elsewhere")
    async with working(elsewhere, SERVICE):
        run = await rig.ended(job)
    assert run.state is RunState.OK
    assert (provider.asked, len(provider.sold)) == (1, 1)


async def test_an_order_that_was_not_answered_fails_once_and_for_all(
    rig: Rig, provider: HailuoServer
) -> None:
    provider.order_faults.append("drop")
    async with working(rig.settings, SERVICE):
        run = await rig.ended(await rig.ask(REQUEST))
    assert run.error is not None
    assert (run.state, run.error.code, run.attempt) == (RunState.FAILED, "CHARGE_UNKNOWN", 1)
    assert provider.asked == 1
