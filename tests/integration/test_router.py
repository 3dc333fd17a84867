"""The router on a real server: the happy path, and everything that a request may meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from router_rig import TENANT, Rig, fails, image, ok, rig, service, until

from bus import gate
from bus.artifacts import Artifacts
from bus.connection import Bus
from bus.listing import subjects_in
from contracts import events, subjects
from contracts.artifacts import artifact_key
from contracts.capability import Capability
from contracts.jobs import Job, Run
from contracts.ledger import Charge
from contracts.manifest import ServiceRecord
from contracts.subjects import Stream
from services.router.shell import Router

pytestmark = pytest.mark.integration


@pytest.fixture
async def desk(bus: Bus, artifacts: Artifacts) -> AsyncIterator[Rig]:
    async with rig(bus, artifacts) as made:
        yield made


async def test_a_request_is_done_told_charged_and_removed(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    worker = await desk.worker("draft_image")
    subject = await desk.ask("r1", image(labels={"shot": "hook"}))
    result = await desk.result("r1")
    assert (result.status, result.made, result.provider) == ("ok", "run", "draft_image")
    assert result.labels == {"shot": "hook"}
    assert result.cost_estimate == 0.25
    assert [a.starts for a in result.attempts] == [1]
    await desk.emptied(subject)
    booked = await gate.last(desk.bus, Stream.LEDGER, subjects.charge(TENANT, "-", "r1"))
    assert booked is not None
    assert msgspec.json.decode(booked.data, type=Charge).amount == 0.25
    await desk.event("r1", events.ACCEPTED)
    asked = msgspec.json.decode(
        await desk.event("r1", Capability.IMAGE.request_event), type=events.GenerationRequest
    )
    assert asked.provider == "draft_image"
    assert asked.prompt_length == len("a can of lemonade")
    assert worker.ran == ["r1"]
    record = await desk.record("r1")
    assert record.outputs == result.outputs


async def test_an_equal_request_later_is_a_cache_hit_and_free(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    stored = await desk.artifacts.put(b"pixels", TENANT, "image/png")
    worker = await desk.worker("draft_image", _with_output(stored.sha256))
    await desk.ask("first", image())
    first = await desk.result("first")
    subject = await desk.ask("second", image())
    second = await desk.result("second")
    assert (second.made, second.cost_estimate) == ("cache", 0.0)
    assert second.outputs == first.outputs
    await desk.emptied(subject)
    assert worker.ran == ["first"]
    assert await gate.last(desk.bus, Stream.LEDGER, subjects.charge(TENANT, "-", "second")) is None


async def test_a_hit_whose_object_is_gone_is_a_miss(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    worker = await desk.worker("draft_image")  # names bytes that were never stored
    await desk.ask("first", image())
    await desk.result("first")
    await desk.ask("second", image())
    assert (await desk.result("second")).made == "run"
    assert worker.ran == ["first", "second"]


async def test_tenants_never_share_a_cache(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    stored = await desk.artifacts.put(b"pixels", TENANT, "image/png")
    worker = await desk.worker("draft_image", _with_output(stored.sha256))
    await desk.ask("mine", image())
    await desk.result("mine")
    subject = subjects.request("other", "image", "-", "theirs")
    await gate.publish_once(desk.bus, subject, msgspec.json.encode(image()))

    async def ran() -> bool:
        return "theirs" in worker.ran

    await until(ran, "the other tenant's own run")


async def test_equal_requests_in_flight_run_once(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    worker = await desk.worker("draft_image", held=True)
    await desk.ask("leader", image())
    await worker.started.wait()
    await asyncio.gather(*(desk.ask(f"f{i}", image()) for i in range(8)))

    async def following() -> bool:
        states = [(await desk.record(f"f{i}")).state for i in range(8)]
        return all(s == "follower" for s in states)

    await asyncio.gather(*(desk.event(f"f{i}", events.ACCEPTED) for i in range(8)))
    await until(following, "all eight follow")
    worker.go.set()
    results = await asyncio.gather(*(desk.result(f"f{i}") for i in range(8)))
    assert {(r.status, r.made, r.cost_estimate) for r in results} == {("ok", "follower", 0.0)}
    assert worker.ran == ["leader"]


async def test_a_follower_is_promoted_when_its_leader_is_cancelled(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    worker = await desk.worker("draft_image", held=True)
    await desk.ask("leader", image())
    await worker.started.wait()
    await desk.ask("heir", image())

    async def follows() -> bool:
        found = await desk.jobs.get(subjects.job_key(TENANT, "-", "heir"))
        return found is not None and found.value.state == "follower"

    await until(follows, "the heir follows")
    assert await desk.cancel("leader") == "done"
    worker.go.set()
    assert (await desk.result("leader")).status == "cancelled"
    heir = await desk.result("heir")
    assert (heir.status, heir.made) == ("ok", "run")


@pytest.mark.parametrize("code", ["MODEL_FAILED", "POISON", "OUT_OF_MEMORY"])
async def test_a_failure_of_the_service_falls_back_to_the_next(desk: Rig, code: str) -> None:
    await desk.announce(service("cheap"), service("dear", cost=1.0))
    await desk.router()
    await desk.worker("cheap", fails(code))
    await desk.worker("dear")
    await desk.ask("r1", image())
    result = await desk.result("r1")
    assert (result.status, result.provider) == ("ok", "dear")
    assert [a.service for a in result.attempts] == ["cheap", "dear"]
    assert result.attempts[0].error is not None
    assert result.attempts[0].error.code == code


async def test_a_failure_of_the_request_is_final(desk: Rig) -> None:
    await desk.announce(service("cheap"), service("dear", cost=1.0))
    await desk.router()
    await desk.worker("cheap", fails("INVALID_PARAMS"))
    dear = await desk.worker("dear")
    subject = await desk.ask("r1", image())
    result = await desk.result("r1")
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.code == "INVALID_PARAMS"
    await desk.emptied(subject)
    assert dear.ran == []
    assert await gate.last(desk.bus, Stream.LEDGER, subjects.charge(TENANT, "-", "r1")) is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MALFORMED_JSON"),
        (b"{", "MALFORMED_JSON"),
        (b"[" * 100_000, "INVALID_PARAMS"),
        (b'{"type":"generate_image.v9"}', "UNSUPPORTED_TYPE"),
        (b'{"type":"generate_mesh.v1","prompt":"a","form":"can"}', "UNSUPPORTED_TYPE"),
        (b'{"type":"generate_image.v1","prompt":"a","width":64}', "INVALID_PARAMS"),
        (
            b'{"type":"generate_image.v1","prompt":"a","width":64,"height":64,"tenant":"bob"}',
            "INVALID_PARAMS",
        ),
        (
            b'{"type":"generate_image.v1","prompt":"a\\u0000","width":64,"height":64}',
            "INVALID_PARAMS",
        ),
        (b'{"type":"generate_image.v1","prompt":"' + b"a" * 300_000 + b'"}', "TOO_LARGE"),
    ],
)
async def test_what_cannot_be_understood_is_told_and_removed(
    desk: Rig, body: bytes, code: str
) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    subject = await desk.ask("bad", body)
    result = await desk.result("bad")
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.code == code
    await desk.emptied(subject)
    assert await subjects_in(desk.bus, Stream.JOBS) == []


async def test_a_reference_to_another_tenants_bytes_is_refused(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    sha256 = "ab" * 32
    reference = {
        "key": artifact_key("bob", sha256),
        "sha256": sha256,
        "media_type": "image/png",
        "size_bytes": 1,
    }
    await desk.ask("thief", image(references=[reference]))
    result = await desk.result("thief")
    assert result.error is not None
    assert (result.error.code, result.error.field) == ("INVALID_PARAMS", "references[0].key")


async def test_an_unusable_id_is_told_under_a_hash_and_removed(desk: Rig) -> None:
    await desk.router()
    subject = "adgenx.req.acme.image.-.bad\u00e9id"
    await gate.publish_once(desk.bus, subject, msgspec.json.encode(image()))

    async def told() -> list[str]:
        pattern = "adgenx.evt.-.-.*.rejected"
        return await subjects_in(desk.bus, Stream.EVENTS, pattern)

    await until(told, "the refusal")
    await desk.emptied(subject)


async def test_the_same_id_with_another_body_is_a_conflict(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    await desk.worker("draft_image")
    subject = await desk.ask("r1", image("one"))
    first = await desk.result("r1")
    await desk.emptied(subject)
    await desk.ask("r1", image("two"))

    async def told() -> list[str]:
        pattern = subjects.event(TENANT, "-", "r1", "conflict.*")
        return await subjects_in(desk.bus, Stream.EVENTS, pattern)

    await until(told, "the conflict")
    await desk.emptied(subject)
    assert await desk.result("r1") == first


async def test_the_same_request_again_tells_nothing_new(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    worker = await desk.worker("draft_image")
    subject = await desk.ask("r1", image())
    await desk.result("r1")
    await desk.emptied(subject)
    before = await subjects_in(desk.bus, Stream.EVENTS)
    await desk.ask("r1", image())
    await desk.emptied(subject)
    assert sorted(await subjects_in(desk.bus, Stream.EVENTS)) == sorted(before)
    assert worker.ran == ["r1"]


async def test_a_cancel_that_comes_before_its_request_wins(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    worker = await desk.worker("draft_image")
    assert await desk.cancel("early") == "unknown"
    subject = await desk.ask("early", image())
    assert (await desk.result("early")).status == "cancelled"
    await desk.emptied(subject)
    assert worker.ran == []


async def test_a_cancel_that_comes_too_late_says_so(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    await desk.worker("draft_image")
    await desk.ask("r1", image())
    await desk.result("r1")
    assert await desk.cancel("r1") == "too_late"


async def test_a_cancel_ends_a_job_that_no_worker_took(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    await desk.router()
    subject = await desk.ask("r1", image())
    await desk.event("r1", events.ACCEPTED)
    assert await desk.cancel("r1") == "done"
    assert (await desk.result("r1")).status == "cancelled"
    await desk.emptied(subject)


async def test_a_deadline_ends_what_never_started(desk: Rig) -> None:
    await desk.announce(service("draft_image", workers=1))
    await desk.router()
    subject = await desk.ask("late", image(deadline_seconds=0.001))
    result = await desk.result("late")
    assert result.error is not None
    assert result.error.code == "DEADLINE_EXPIRED"
    await desk.emptied(subject)


async def test_jobs_is_kept_shallow_and_the_important_goes_first(desk: Rig) -> None:
    await desk.announce(_for_one("draft_image"))
    await desk.router()
    for number in range(6):
        await desk.ask(f"r{number}", image(f"p{number}", priority=number))
        await desk.event(f"r{number}", events.ACCEPTED)

    async def two() -> bool:
        return len(await subjects_in(desk.bus, Stream.JOBS)) == 2

    await until(two, "two jobs in JOBS")
    worker = await desk.worker("draft_image")
    await asyncio.gather(*(desk.result(f"r{n}") for n in range(6)))
    assert worker.ran == ["r0", "r1", "r5", "r4", "r3", "r2"]


async def test_a_request_waits_for_a_service_that_is_just_starting(desk: Rig) -> None:
    await desk.router()
    await desk.ask("r1", image())

    async def stays() -> bool:
        return await desk.jobs.get(subjects.job_key(TENANT, "-", "r1")) is None

    assert await stays()
    await desk.worker("draft_image")
    await desk.announce(service("draft_image"))
    assert (await desk.result("r1")).status == "ok"


async def test_a_production_request_never_becomes_a_draft(
    desk: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.router.taking.PATIENCE_SECONDS", 0.0)
    await desk.announce(service("draft_image"))
    await desk.router()
    await desk.ask("r1", image(tier="production"))
    result = await desk.result("r1")
    assert result.error is not None
    assert result.error.code == "NO_PROVIDER"
    assert "draft" in result.error.message


@pytest.mark.parametrize("crowded", [False, True], ids=["roomy", "crowded"])
async def test_two_routers_share_the_work_and_tell_everything_once(
    desk: Rig, *, crowded: bool
) -> None:
    await desk.announce(_for_one("draft_image") if crowded else service("draft_image"))
    for _ in range(2):
        await desk.router()
    worker = await desk.worker("draft_image")
    names = [f"r{n}" for n in range(120)]
    asked = [await desk.ask(n, image(f"prompt {i % 90}")) for i, n in enumerate(names)]
    results = await asyncio.gather(*map(desk.result, names))
    assert {r.status for r in results} == {"ok"}
    for subject in asked:
        await desk.emptied(subject)
    assert len(worker.ran) == len(set(worker.ran))
    charged = await subjects_in(desk.bus, Stream.LEDGER)
    assert len(charged) == sum(r.made == "run" for r in results)


async def test_a_restarted_router_finishes_what_the_first_one_took_in(desk: Rig) -> None:
    await desk.announce(service("draft_image"))
    first = await desk.start(Router(desk.bus, desk.artifacts).run)
    await desk.ask("r1", image())
    await desk.event("r1", events.ACCEPTED)
    first.cancel()
    await asyncio.wait({first})
    await desk.worker("draft_image")
    await desk.router()
    assert (await desk.result("r1")).status == "ok"


def _for_one(name: str) -> ServiceRecord:
    """A service that can run one job at a time, so that two are let into JOBS."""
    small = service(name, workers=1)
    resources = msgspec.structs.replace(small.manifest.resources, concurrency=1)
    manifest = msgspec.structs.replace(small.manifest, resources=resources)
    return msgspec.structs.replace(small, manifest=manifest)


def _with_output(sha256: str) -> Callable[[Job, Run], Run]:
    def end(job: Job, run: Run) -> Run:
        ended = ok(job, run)
        key = artifact_key(job.tenant, sha256)
        outputs = [msgspec.structs.replace(ended.outputs[0], key=key, sha256=sha256)]
        return msgspec.structs.replace(ended, outputs=outputs)

    return end
