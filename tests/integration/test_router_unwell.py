"""Services that fail or are turned off, and what an operator sees and says: the real bus."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from router_rig import TENANT, Rig, environment_of, fails, image, ok, rig, service, until

from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.listing import subjects_in
from bus.records import Records
from bus.settings import Settings
from contracts import events, subjects
from contracts.governance import BreakerRecord, BreakerState, BudgetRecord
from contracts.identity import job_id_of
from contracts.jobs import CacheClaim, Job, Run
from contracts.manifest import ServiceRecord
from contracts.operating import SetFlag
from contracts.subjects import Bucket, Stream
from services.router.shell import Router

pytestmark = pytest.mark.integration


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        yield made


def narrow(name: str) -> ServiceRecord:
    """Return a service that does one job at a time, so that most of them wait as records."""
    wide = service(name, workers=1)
    resources = msgspec.structs.replace(wide.manifest.resources, concurrency=1)
    return msgspec.structs.replace(
        wide, manifest=msgspec.structs.replace(wide.manifest, resources=resources)
    )


async def test_one_probe_of_fifty_waiting_jobs_after_a_restart(desk: Rig) -> None:
    await desk.announce(service("flaky"))
    before = await desk.start(Router(desk.bus, desk.artifacts).run)
    flaky = await desk.worker("flaky", fails("PROVIDER_UNAVAILABLE", retryable=True))
    for number in range(5):
        await desk.ask(f"r{number}", image(f"prompt {number}"))
        assert (await desk.result(f"r{number}")).status == "failed"
    breakers = Records(desk.bus, Bucket.BREAKERS, BreakerRecord)

    async def opened() -> BreakerRecord | None:
        found = await breakers.get("flaky")
        return found.value if found and found.value.state is BreakerState.OPEN else None

    await until(opened, "it is open")
    waiting = [f"w{n}" for n in range(50)]
    await asyncio.gather(*(desk.ask(n, image(n)) for n in waiting))
    await asyncio.gather(*(desk.event(n, events.ACCEPTED) for n in waiting))
    assert len(flaky.ran) == 5  # it is the only one, and is waited for
    before.cancel()
    await asyncio.wait({before})
    flaky.go.clear()
    flaky.started.clear()
    flaky.end = ok
    found = await breakers.get("flaky")
    assert found is not None
    due = msgspec.structs.replace(found.value, retry_at=time.time())  # as if the pause was over
    assert isinstance(await breakers.update("flaky", due, found.revision), int)
    for _ in range(2):
        await desk.router()
    await asyncio.wait_for(flaky.started.wait(), 20)
    probing = await breakers.get("flaky")
    assert probing is not None
    assert probing.value.state is BreakerState.HALF_OPEN
    inside = await subjects_in(desk.bus, Stream.JOBS, subjects.all_jobs())
    assert [name.rpartition(".")[2] for name in inside] == [probing.value.probe]
    assert len(flaky.ran) == 6
    flaky.go.set()
    results = await asyncio.gather(*map(desk.result, waiting))
    assert {r.status for r in results} == {"ok"}
    closed = await breakers.get("flaky")
    assert closed is not None
    assert (closed.value.state, closed.value.failures) == (BreakerState.CLOSED, [])


async def test_a_probe_whose_router_died_is_published_by_the_next(desk: Rig) -> None:
    """It was written down as the probe, and then nobody put it into JOBS: all wait for it."""
    probing = BreakerRecord(
        state=BreakerState.HALF_OPEN,
        openings=1,
        probe=job_id_of(TENANT, "-", "r1"),
        probe_since=time.time(),
    )
    await Records(desk.bus, Bucket.BREAKERS, BreakerRecord).put("flaky", probing)
    await desk.announce(service("flaky"))
    await desk.router()
    flaky = await desk.worker("flaky")
    await desk.ask("r0", image("before it"))
    await desk.event("r0", events.ACCEPTED)
    await desk.ask("r1", image("the probe"))
    assert (await desk.result("r1")).status == "ok"
    assert (await desk.result("r0")).status == "ok"
    assert flaky.ran == ["r1", "r0"]


async def test_what_is_turned_off_in_the_middle_is_connected_to_no_more(desk: Rig) -> None:
    connections = 0

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    def calls(job: Job, run: Run) -> Run:
        with socket.create_connection(address):
            return ok(job, run)

    await desk.announce(narrow("cloud"))
    await desk.router()
    worker = await desk.worker("cloud", calls, held=True)
    names = [f"r{n}" for n in range(8)]
    await asyncio.gather(*(desk.ask(n, image(n), campaign="c1") for n in names))
    await asyncio.wait_for(worker.started.wait(), 20)
    # Two are in JOBS, and this worker claims both; the others are records that wait.

    async def both() -> bool:
        return len(worker.ran) == 2

    await until(both, "two are begun")
    off = SetFlag(service="cloud", enabled=False, reason="no contract")
    assert (await desk.operate("off", off)).status == "done"
    worker.go.set()
    results = await asyncio.gather(*(desk.result(n, campaign="c1") for n in names))
    assert sorted(r.request_id for r in results if r.status == "ok") == sorted(worker.ran)
    refused = {r.error.code for r in results if r.error}
    assert (refused, len(worker.ran)) == ({"NOT_IMPLEMENTED"}, 2)
    await desk.ask("later", image("later"), campaign="c1")
    later = await desk.result("later", campaign="c1")
    assert later.error is not None
    assert later.error.code == "NOT_IMPLEMENTED"
    assert connections == 2  # of the two that had begun; of the other seven none
    server.close()


class Terminal:
    """A terminal of 80 columns with `adgenx` in it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment | {"ADGENX_TENANT": TENANT, "COLUMNS": "80"}

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cli.main",
            *arguments,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    async def listed(self, *arguments: str) -> list[dict[str, object]]:
        status, out = await self(*arguments, "--json")
        assert status == 0, out
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def adgenx(desk: Rig, s3_settings: Settings) -> Terminal:
    return Terminal(environment_of(desk.bus, s3_settings))


async def test_a_request_is_explained_and_what_it_made_is_forgotten(
    desk: Rig, adgenx: Terminal
) -> None:
    await desk.announce(service("cheap", cost=0.0), service("dear", cost=0.25))
    await desk.router()
    await desk.worker("cheap", fails("MODEL_FAILED"))
    await desk.worker("dear")
    await desk.ask("r1", image("a can"), campaign="c1")
    await desk.result("r1", campaign="c1")

    status, lines = await adgenx("explain", "r1")
    assert status == 0, lines
    assert max(map(len, lines.splitlines())) <= 80
    told = " ".join(lines.split())
    assert "r1 of c1" in told
    assert "cheap costs less: 0 to 0.25" in told
    assert "MODEL_FAILED: it was told to fail" in told
    assert "ok by dear as a draft: it was made" in told
    assert "charged $0.25" in told
    (story,) = await adgenx.listed("explain", "r1", "--campaign", "c1")
    assert story["asked"]["provider"] == "cheap"  # type: ignore[index]  # JSON
    assert (await adgenx("explain", "nobody"))[0] == 1

    claims = Records(desk.bus, Bucket.CACHE, CacheClaim)
    assert len(await claims.under()) == 2  # of the one that failed, and of the one that did it
    assert await adgenx("cache", "invalidate", "--prompt", "a can") == (0, "2 entries forgotten\n")
    assert await claims.under() == []


async def test_an_operator_says_what_shall_be_and_sees_what_is(desk: Rig, adgenx: Terminal) -> None:
    await desk.announce(service("cheap", cost=0.0), service("dear", cost=0.25))
    await desk.router()
    cheap = await desk.worker("cheap")
    await desk.worker("dear")
    status, said = await adgenx("flag", "cheap", "off", "--reason", "it burns")
    assert (status, said) == (0, "cheap is off: it burns\n")
    flags = {str(row["service"]): row["is"] for row in await adgenx.listed("flag")}
    assert flags == {"cheap": "off", "dear": "on"}
    assert "it burns" in (await adgenx("flag"))[1]
    (row,) = await adgenx.listed("flag", "cheap")
    assert (row["service"], row["is"], row["reason"]) == ("cheap", "off", "it burns")
    assert (await adgenx("flag", "nobody"))[0] == 1
    await desk.ask("r2", image("another"), campaign="c1")
    assert (await desk.result("r2", campaign="c1")).provider == "dear"
    assert await adgenx("flag", "cheap", "default") == (0, "cheap is on\n")
    assert cheap.ran == []

    broken = BreakerRecord(state=BreakerState.OPEN, retry_at=time.time() + 60, openings=1)
    await Records(desk.bus, Bucket.BREAKERS, BreakerRecord).put("cheap", broken)
    assert [row["breaker"] for row in await adgenx.listed("breaker")] == ["open"]
    status, said = await adgenx("breaker", "reset", "cheap")
    assert (status, said) == (0, "cheap: its breaker was open and is closed now\n")

    assert (await adgenx("budget", "set", f"{TENANT}/c1", "7.5"))[0] == 0
    record = await Records(desk.bus, Bucket.BUDGETS, BudgetRecord).get(f"{TENANT}.c1")
    assert record is not None
    assert record.value.limit == 7.5
    (row,) = await adgenx.listed("budget")
    assert (row["of"], row["limit $"]) == (f"{TENANT}/c1", 7.5)
    assert (await adgenx("priority", "r2", "3"))[1].startswith("nothing to change")
    assert (await adgenx("priority", "nothing", "3"))[0] == 1
