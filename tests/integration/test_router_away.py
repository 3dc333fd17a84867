"""Services whose workers cannot work: what waits for them goes elsewhere, or waits (real bus)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from router_rig import Rig, image, rig, service, until

from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.listing import subjects_in
from contracts import subjects
from contracts.manifest import ServiceRecord, ServiceState
from contracts.subjects import Stream
from services.router.landscape import Patience
from services.router.shell import Router

pytestmark = pytest.mark.integration

REASON = "the model does not load: bad weights"
QUICK = Patience(move=1.0, give_up=600.0)


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        yield made


def broken(record: ServiceRecord) -> ServiceRecord:
    return msgspec.structs.replace(
        record, state=ServiceState.UNAVAILABLE, reason=REASON, announced_at=time.time()
    )


async def published(desk: Rig, name: str) -> None:
    """Wait until a service's work is in JOBS."""

    async def there() -> bool:
        found = await subjects_in(desk.bus, Stream.JOBS, subjects.all_jobs())
        return any(subject.split(".")[2] == name for subject in found)

    await until(there, f"{name} has work")


async def test_a_queued_job_of_one_that_does_not_load_is_made_by_the_next(desk: Rig) -> None:
    better, other = service("better", cost=0.0), service("other", cost=0.25)
    await desk.announce(better, other)
    for _ in range(2):
        await desk.start(Router(desk.bus, desk.artifacts, QUICK).run)
    await desk.ask("r1", image())
    await published(desk, "better")
    assert (await desk.record("r1")).service == "better"
    await desk.worker("other")
    await desk.announce(broken(better))
    result = await desk.result("r1")
    assert (result.status, result.provider) == ("ok", "other")
    first, second = result.attempts
    assert (first.service, first.starts, second.service) == ("better", 0, "other")
    assert first.error is not None
    assert first.error.code == "PROVIDER_UNAVAILABLE"
    assert first.error.message.endswith(REASON)
    # It comes back, finds the work message, and leaves it alone: the run has ended.
    late = await desk.worker("better")

    async def gone() -> bool:
        return not await subjects_in(desk.bus, Stream.JOBS, subjects.all_jobs())

    await until(gone, "nothing is left in JOBS")
    assert late.ran == []


async def test_where_nobody_else_is_it_waits_and_is_done_when_the_service_is_back(
    desk: Rig,
) -> None:
    only, unfit = service("only"), service("unfit", "speak.v1")
    await desk.announce(only, unfit)
    router = Router(desk.bus, desk.artifacts, QUICK)
    await desk.start(router.run)
    await desk.ask("r1", image())
    await published(desk, "only")
    await desk.announce(broken(only))

    async def impatient() -> bool:
        landscape = router._landscape()
        return landscape.watch.away("only") > landscape.patience.move

    await until(impatient, "it has been away for longer than the patience")
    assert await router._look_at_all("only") == 1  # looked at, and left to it
    assert (await desk.record("r1")).tried == []
    await desk.announce(msgspec.structs.replace(only, announced_at=time.time()))
    worker = await desk.worker("only")
    result = await desk.result("r1")
    assert (result.status, result.provider, worker.ran) == ("ok", "only", ["r1"])
