"""The router as a process: started, killed, started again, and ended in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
from router_rig import Rig, environment_of, image, rig, router_process, service

from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.listing import subjects_in
from bus.servers import NatsServer
from bus.settings import Settings
from contracts import events
from contracts.subjects import Stream

pytestmark = pytest.mark.integration


@pytest.fixture
def environment(bus: Bus, s3_settings: Settings) -> dict[str, str]:
    return environment_of(bus, s3_settings)


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        await made.announce(service("draft_image"))
        yield made


async def test_sigterm_ends_it_in_order(desk: Rig, environment: dict[str, str]) -> None:
    await desk.worker("draft_image")
    async with router_process(environment) as process:
        await desk.ask("r1", image())
        assert (await desk.result("r1")).status == "ok"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0


async def test_a_server_that_is_killed_in_between_loses_nothing(
    desk: Rig, environment: dict[str, str], nats_server: NatsServer
) -> None:
    await desk.worker("draft_image")
    names = [f"r{n}" for n in range(80)]
    asked = [await desk.ask(name, image(f"prompt {name}")) for name in names]
    async with router_process(environment):
        for round_ in range(3):
            await desk.event(names[round_ * 20], events.ACCEPTED)
            nats_server.process.kill()
            await nats_server.start()
        results = await asyncio.gather(*map(desk.result, names))
        for subject in asked:
            await desk.emptied(subject)
    assert {r.status for r in results} == {"ok"}
    assert len(await subjects_in(desk.bus, Stream.LEDGER)) == len(names)
    assert await subjects_in(desk.bus, Stream.JOBS) == []


async def test_whatever_a_killed_router_left_is_finished_once(
    desk: Rig, environment: dict[str, str]
) -> None:
    worker = await desk.worker("draft_image")
    names = [f"r{n}" for n in range(60)]
    subjects_asked = []
    for index, name in enumerate(names):
        subjects_asked.append(await desk.ask(name, image(f"prompt {index}")))
    for round_ in range(3):
        async with router_process(environment) as process:
            await desk.event(names[round_ * 15], events.ACCEPTED)
            process.kill()
            await process.wait()
    async with router_process(environment):
        results = await asyncio.gather(*map(desk.result, names))
        for subject in subjects_asked:
            await desk.emptied(subject)
    assert {r.status for r in results} == {"ok"}
    assert sorted(worker.ran) == sorted(names)
    assert len(await subjects_in(desk.bus, Stream.LEDGER)) == len(names)
    assert await subjects_in(desk.bus, Stream.JOBS) == []
