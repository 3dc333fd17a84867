"""A model's processes and their leases, whatever comes while one is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from bus.connection import Bus
from bus.settings import Settings
from bus.worker import lease, process
from bus.worker.folder import ServiceFolder
from bus.worker.lease import Leases
from bus.worker.pool import Pool
from bus.worker.process import ModelProcess
from bus.worker.state import State
from contracts.codec import encode
from contracts.lease import Holds, LeaseAnswer, LeaseAsk, Wants, Word
from contracts.manifest import parse_manifest

pytestmark = pytest.mark.unit

MANIFEST = parse_manifest(
    """
name = "lamp"
version = "1.0.0"
tier = "production"
accepts = ["generate_image.v1"]

[model]
name = "Lamp"
licence = "Apache-2.0"
commercial_use = true

[resources]
memory_gb = 8.0
""",
    "lamp",
)
PATIENCE_SECONDS = 5.0
"""Far more than any step here takes; what waits for longer waits for ever."""


class Manager:
    """A bus with a model manager on it, who answers as he is told to."""

    def __init__(self) -> None:
        self.settings = Settings(device="box")
        self.runs: list[Word] = []
        """The answers to those who want to run; granted once there are none left."""
        self.said: list[LeaseAsk] = []
        self.waited = asyncio.Event()
        self.notices = 0
        """How often a notice comes while a renewal is answered."""
        self.noticed = asyncio.Event()
        self.nc = self

    async def subscribe(self, _: str, cb: Callable[[SimpleNamespace], Awaitable[None]]) -> Manager:
        self._notice = cb
        return self

    async def unsubscribe(self) -> None:
        """There is nobody to tell."""

    async def request(self, _: str, payload: bytes, *, timeout_seconds: float) -> SimpleNamespace:
        assert timeout_seconds > 0
        ask = msgspec.json.decode(payload, type=LeaseAsk)
        self.said.append(ask)
        word = self.runs.pop(0) if ask.wants is Wants.RUN and self.runs else Word.GRANTED
        if word is Word.WAIT:
            self.waited.set()
        if ask.holds is Holds.LOADED and self.notices:
            self.notices -= 1
            if not self.notices:
                self.noticed.set()
            await self._notice(SimpleNamespace(subject=f"adgenx.lease.lamp.{ask.holder}"))
        return SimpleNamespace(data=encode(LeaseAnswer(word=word)))


class Child:
    """A process that ends when its gate is open."""

    def __init__(self) -> None:
        self.pid, self.device_gb, self.load_seconds = 0, 0.0, 1.0
        self.usable = True
        self.ending = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self._call: Callable[[], None] = lambda: None

    def retire(self) -> None:
        self.usable = False

    def when_exited(self, call: Callable[[], None]) -> None:
        self._call = call

    def die(self) -> None:
        self.usable = False
        self._call()

    async def end(self) -> None:
        self.ending.set()
        await self.gate.wait()
        self.die()


class House:
    """A pool whose processes and manager are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.manager = Manager()
        self.children: list[Child] = []
        self.starting = asyncio.Event()
        self.load = asyncio.Event()
        self.load.set()
        monkeypatch.setattr(process, "start", self._start)
        leases = Leases(cast("Bus", self.manager), MANIFEST, "worker")
        self.pool = Pool(ServiceFolder(Path("/lamp"), MANIFEST), State(), leases=leases)

    async def job(self) -> ModelProcess:
        async with self.pool.take() as lent:
            return lent

    async def _start(self, *_: object, **__: object) -> Child:
        self.starting.set()
        await self.load.wait()
        self.children.append(Child())
        return self.children[-1]


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


async def test_a_notice_that_comes_while_a_renewal_is_answered_is_heard(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 2 * PATIENCE_SECONDS)
    await house.job()
    house.manager.notices = 2
    reporting = asyncio.create_task(house.pool.report())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await house.manager.noticed.wait()  # the second comes with what the first has made it say
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)
    assert [ask.holds for ask in house.manager.said[-2:]] == [Holds.LOADED] * 2


async def test_a_job_cancelled_while_a_process_is_ended_for_it_takes_no_place_along(
    house: House,
) -> None:
    await house.job()
    [first] = house.children
    first.gate.clear()
    house.manager.runs = [Word.LEAVE]
    job = asyncio.create_task(house.job())
    await first.ending.wait()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    first.gate.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await house.job()
    assert len(house.children) == 2, "another was loaded into the place of the first"


async def test_a_process_that_dies_while_its_job_waits_holds_nothing_once_the_job_is_cancelled(
    house: House,
) -> None:
    await house.job()
    [first] = house.children
    house.manager.runs = [Word.WAIT] * 9
    job = asyncio.create_task(house.job())
    await house.manager.waited.wait()
    first.die()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await first.ending.wait()
        house.manager.runs = []
        await house.job()
    gone = [ask.reason for ask in house.manager.said if ask.holds is Holds.NOTHING]
    assert "its process has ended" in gone


async def test_a_process_that_was_loading_when_the_weights_changed_gets_no_job(
    house: House,
) -> None:
    house.load.clear()
    job = asyncio.create_task(house.job())
    await house.starting.wait()
    await house.pool.renew()
    house.load.set()
    lent = await job
    first, second = house.children
    assert cast("Child", lent) is second
    assert first.ending.is_set()
    assert house.pool.resident_since > 0
