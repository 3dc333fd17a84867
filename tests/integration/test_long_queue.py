"""Far more jobs wait than can run: the interactive one overtakes, a killed router loses nothing,
and one command empties it. `make queue10k` does the same with ten thousand.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from router_rig import Rig, Worker, image, rig, service, until

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.listing import subjects_in
from bus.records import Records
from bus.settings import Settings
from contracts import events, subjects
from contracts.codec import encode
from contracts.jobs import JobRecord, JobState
from contracts.manifest import ServiceRecord
from contracts.operating import CancelAll
from contracts.subjects import Bucket, Stream

JOBS = int(os.environ.get("QUEUE_JOBS", "1500"))
"""How many wait; `make queue10k` sets it."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60 + JOBS // 10)]

TENANTS = ("acme", "bolt")
AT_ONCE = 256
SLOW = "slow"
PLACES = 2
"""Jobs of one worker that are in JOBS: one runs, one is at hand."""


def slow_service() -> ServiceRecord:
    """One worker that does one job at a time."""
    found = service(SLOW, workers=1)
    resources = msgspec.structs.replace(found.manifest.resources, concurrency=1)
    manifest = msgspec.structs.replace(found.manifest, resources=resources)
    return msgspec.structs.replace(found, manifest=manifest)


@pytest.fixture
def environment(bus: Bus, s3_settings: Settings) -> dict[str, str]:
    found = bus.settings
    return {
        **os.environ,
        "ADGENX_DATA_DIR": str(s3_settings.data_dir),
        "ADGENX_NATS_URL": found.nats_url,
        "ADGENX_NATS_USER": found.nats_user,
        "ADGENX_NATS_PASSWORD": found.nats_password.reveal(),
        "ADGENX_S3_ENDPOINT": s3_settings.s3_endpoint,
        "ADGENX_S3_ACCESS_KEY": s3_settings.s3_access_key.reveal(),
        "ADGENX_S3_SECRET_KEY": s3_settings.s3_secret_key.reveal(),
        "ADGENX_MAKE_DURABLE": "server",
        "ADGENX_LOG_LEVEL": "warning",
    }


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        await made.announce(slow_service())
        yield made


@asynccontextmanager
async def killed_router(environment: dict[str, str]) -> AsyncIterator[None]:
    """Run a router as a process, and end it with -9."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.router.run", env=environment
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def ask(bus: Bus, tenant: str, request_id: str, priority: int) -> None:
    subject = subjects.request(tenant, "image", "-", request_id)
    request = msgspec.structs.replace(image(f"prompt {request_id}"), priority=priority)
    await gate.publish_once(bus, subject, encode(request))


async def ask_many(bus: Bus, count: int) -> None:
    """Ask for so many, half of them each tenant's, at the priorities 0 to 7."""
    width = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with width:
            await ask(bus, TENANTS[number % 2], f"r{number:05}", number // 2 % 8)

    await asyncio.gather(*map(one, range(count)))


async def stored(bus: Bus, stream: str) -> int:
    """Return how many messages a stream has."""
    info = await bus.js.stream_info(stream)
    return int(info.state.messages)


async def as_long_as_it_changes(bus: Bus, stream: str, wanted: int) -> None:
    """Wait until a stream has so many messages, for as long as it gets nearer to that."""
    while (now := await stored(bus, stream)) != wanted:

        async def changed(before: int = now) -> bool:
            return await stored(bus, stream) != before

        await until(changed, what=f"{stream} to change from {now} towards {wanted}")


async def answer_of(bus: Bus, tenant: str) -> events.OpsResult:
    subject = subjects.event(tenant, "-", "stop", events.CANCEL_ALL_RESULT)

    async def answered() -> bytes | None:
        found = await gate.last(bus, Stream.EVENTS, subject)
        return found.data if found else None

    body = await until(answered, what=subject)
    assert isinstance(body, bytes)
    return msgspec.json.decode(body, type=events.OpsResult)


async def waits_in_line(desk: Rig) -> Worker:
    """Start a worker that holds its first jobs, and wait until JOBS is as full as it gets."""
    worker = await desk.worker(SLOW, held=True)
    desk.at_end(worker.go.set)

    async def full() -> bool:
        return await stored(desk.bus, Stream.JOBS) == PLACES

    await until(full, what="as many jobs in JOBS as there are places")
    return worker


async def test_a_long_queue_is_overtaken_survives_its_router_and_is_emptied(
    desk: Rig, environment: dict[str, str]
) -> None:
    bus = desk.bus
    async with killed_router(environment):
        asking = asyncio.create_task(ask_many(bus, JOBS))
        worker = await waits_in_line(desk)
        await asking

        await as_long_as_it_changes(bus, f"KV_{Bucket.JOBS}", JOBS)
        assert await stored(bus, Stream.JOBS) == PLACES

        await ask(bus, "bolt", "late", 9)
        subject = subjects.event("bolt", "-", "late", events.ACCEPTED)
        await until(lambda: gate.last(bus, Stream.EVENTS, subject), what="late accepted")
        before = len(begun(worker))
        worker.go.set()
        await until(lambda: ran(worker, "late"), what="the late one")
        # Ahead of it: what was inside, the other tenant's turn, and a priority whose turn it was.
        assert begun(worker).index("late") - before <= PLACES + 4

    async with killed_router(environment):
        before = len(begun(worker))
        await until(lambda: more_than(worker, before + 20), what="work after the restart")
        worker.go.clear()
        for tenant in TENANTS:
            command = subjects.cancel_all(tenant, "stop")
            await gate.publish_once(bus, command, encode(CancelAll()))
        await as_long_as_it_changes(bus, Stream.REQUESTS, 0)
        answers = [await answer_of(bus, tenant) for tenant in TENANTS]
        assert {answer.status for answer in answers} == {"done"}
        assert sum(answer.changed for answer in answers) > JOBS // 2
        worker.go.set()
        await as_long_as_it_changes(bus, Stream.JOBS, 0)
    await everything_ended_once(bus, worker)


async def everything_ended_once(bus: Bus, worker: Worker) -> None:
    """Look at what is stored: one result for each request, one charge for each that was made."""
    records = await Records(bus, Bucket.JOBS, JobRecord).under()
    states = Counter(record.value.state for record in records)
    assert states[JobState.OK] + states[JobState.CANCELLED] == len(records) == JOBS + 1
    assert states[JobState.CANCELLED] > JOBS // 2
    assert 0 < states[JobState.OK] <= len(begun(worker))
    results = await subjects_in(bus, Stream.EVENTS, "adgenx.evt.*.-.*.image_generation_result")
    assert len(results) == JOBS + 1
    assert len(await subjects_in(bus, Stream.LEDGER)) == states[JobState.OK]


def begun(worker: Worker) -> list[str]:
    """Return what was begun, in order; what is held for long is delivered more than once."""
    return list(dict.fromkeys(worker.ran))


async def ran(worker: Worker, name: str) -> bool:
    return name in worker.ran


async def more_than(worker: Worker, count: int) -> bool:
    return len(begun(worker)) > count


async def test_cancel_all_that_cannot_be_read_is_refused(desk: Rig) -> None:
    await desk.router()
    await desk.ask("r1", image())
    await gate.publish_once(desk.bus, subjects.cancel_all("acme", "bad"), b'{"typ": 1}')
    subject = subjects.event("acme", "-", "bad", events.CANCEL_ALL_RESULT)
    found = await until(lambda: gate.last(desk.bus, Stream.EVENTS, subject), what=subject)
    answer = msgspec.json.decode(found.data, type=events.OpsResult)  # type: ignore[attr-defined]  # a StoredMessage
    assert (answer.status, answer.changed) == ("refused", 0)
    assert (await desk.record("r1")).cancel_wanted is False
