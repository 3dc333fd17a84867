"""A person's order, a breaker that holds a queue back, and cancelling everything, on the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from router_rig import TENANT, Rig, Worker, image, rig, service, until

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.records import Records
from contracts import events, subjects
from contracts.campaign import OpenEntry
from contracts.codec import encode
from contracts.governance import BreakerRecord, BreakerState
from contracts.jobs import JobState
from contracts.manifest import ServiceRecord
from contracts.operating import CancelAll, Prioritise, ResetBreaker
from contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.integration

SLOW = "draft_image"


def one_at_a_time() -> ServiceRecord:
    found = service(SLOW, workers=1)
    resources = msgspec.structs.replace(found.manifest.resources, concurrency=1)
    return msgspec.structs.replace(
        found, manifest=msgspec.structs.replace(found.manifest, resources=resources)
    )


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        await made.announce(one_at_a_time())
        yield made


async def line_up(desk: Rig, *names: str) -> Worker:
    """Let two go in, held, and the others wait behind them in this order."""
    worker = await desk.worker(SLOW, held=True)
    desk.at_end(worker.go.set)
    await desk.router()
    for name in names:
        await desk.ask(name, image(f"prompt {name}"))
        await desk.event(name, events.ACCEPTED)
    await asyncio.wait_for(worker.started.wait(), 10)
    return worker


async def operate(desk: Rig, command_id: str, command: msgspec.Struct) -> events.OpsResult:
    await gate.publish_once(desk.bus, subjects.operation(command_id), encode(command))
    subject = subjects.event("-", "-", command_id, events.OPS_RESULT)
    return await answer(desk, subject)


async def answer(desk: Rig, subject: str) -> events.OpsResult:
    async def there() -> bytes | None:
        found = await gate.last(desk.bus, Stream.EVENTS, subject)
        return found.data if found else None

    body = await until(there, what=subject)
    assert isinstance(body, bytes)
    return msgspec.json.decode(body, type=events.OpsResult)


async def test_a_person_puts_the_last_one_first(desk: Rig) -> None:
    worker = await line_up(desk, "r1", "r2", "r3", "r4", "r5")
    done = await operate(desk, "first", Prioritise(of_tenant=TENANT, of_request="r5", rank=0))
    assert (done.status, done.changed) == ("done", 1)
    assert (await desk.record("r5")).rank == 0
    worker.go.set()
    for name in ("r3", "r4", "r5"):
        await desk.result(name)
    begun = list(dict.fromkeys(worker.ran))
    assert begun.index("r5") < begun.index("r3") < begun.index("r4")


async def test_a_rank_for_all_of_a_campaign_leaves_alone_what_is_over(desk: Rig) -> None:
    worker = await line_up(desk, "r1", "r2", "r3")
    await desk.cancel("r3")
    everything = Prioritise(of_tenant=TENANT, rank=7)
    assert (await operate(desk, "all", everything)).changed == 2
    assert (await operate(desk, "again", everything)).changed == 0
    assert (await operate(desk, "none", Prioritise(of_tenant=TENANT, rank=None))).changed == 2
    unknown = Prioritise(of_tenant=TENANT, of_request="nobody", rank=1)
    assert (await operate(desk, "unknown", unknown)).status == "unknown"
    assert (await desk.record("r3")).rank is None
    worker.go.set()


async def test_an_open_breaker_holds_the_queue_back_until_it_is_mended(desk: Rig) -> None:
    shelf = Records(desk.bus, Bucket.BREAKERS, BreakerRecord)
    now = time.time()
    broken = BreakerRecord(state=BreakerState.OPEN, openings=1, opened_at=now, retry_at=now + 600)
    await shelf.put(SLOW, broken)
    worker = await desk.worker(SLOW)
    await desk.router()
    for name in ("r1", "r2", "r3"):
        await desk.ask(name, image(f"prompt {name}"))
        await desk.event(name, events.ACCEPTED)
    assert (await desk.record("r3")).state is JobState.NEW
    assert worker.ran == []
    assert (await operate(desk, "mend", ResetBreaker(service=SLOW))).status == "done"
    for name in ("r1", "r2", "r3"):
        assert (await desk.result(name)).status == "ok"


async def test_cancel_all_takes_campaigns_and_requests_of_one_tenant_only(desk: Rig) -> None:
    worker = await line_up(desk, "r1", "r2", "r3", "r4")
    table = Records(desk.bus, Bucket.OPEN, OpenEntry)
    await table.put(f"{TENANT}.spring", OpenEntry(revision=1))
    await table.put("other.autumn", OpenEntry(revision=1))
    step = subjects.request(TENANT, "image", "spring", "step")
    await gate.publish_once(desk.bus, step, encode(image("a step")))
    await gate.publish_once(desk.bus, subjects.cancel_all(TENANT, "stop"), encode(CancelAll()))
    done = await answer(desk, subjects.event(TENANT, "-", "stop", events.CANCEL_ALL_RESULT))
    assert (done.status, done.changed) == ("done", 5)
    assert done.message == "campaigns: 1, requests: 4"
    worker.go.set()
    states = [(await desk.result(name)).status for name in ("r1", "r2", "r3", "r4")]
    assert states == ["cancelled"] * 4
    assert set(worker.ran) <= {"r1", "r2", "step"}  # nothing was begun only to be cancelled
    # The coordinator's own command: nobody takes it here, and the other tenant has none.
    commands = [subjects.cancel_campaign(*ids) for ids in ((TENANT, "spring"), ("other", "autumn"))]
    found = [await gate.last(desk.bus, Stream.CONTROL, subject) for subject in commands]
    assert [f is not None for f in found] == [True, False]
