"""The observer on a real bus: what it shows is what is there, also after it was away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import pytest
from bus_servers import eventually
from prometheus_client import CollectorRegistry

from bus import direct, gate, metric, metrics
from bus.connection import Bus, connected
from bus.consume import ack, consume
from bus.records import Records
from bus.servers import NatsServer
from bus.settings import Secret, Settings
from bus.topology import ensure_consumer, worker_consumer
from contracts import events, subjects
from contracts.capability import Capability, Tier
from contracts.codec import encode
from contracts.errors import ErrorInfo, UnknownOutcomeError
from contracts.governance import BreakerRecord, BreakerState, BudgetRecord, FlagRecord
from contracts.jobs import Attempt
from contracts.ledger import Charge
from contracts.manifest import (
    Manifest,
    ModelSection,
    ResourceSection,
    ServiceRecord,
    ServiceState,
)
from contracts.subjects import Bucket, Stream
from services.observer.shell import SERVICE, Observer

pytestmark = pytest.mark.integration

Value = Callable[..., float | None]


@pytest.fixture
def value() -> Iterator[Value]:
    """What a scraper would read, by the series' name and labels."""
    registry = CollectorRegistry()
    metric.expose(metrics.ALL, registry)

    def read(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    yield read
    for exposed in metrics.ALL:
        exposed._live = None


@contextlib.asynccontextmanager
async def observing(bus: Bus, settings: Settings) -> AsyncIterator[Observer]:
    """An observer on a connection of its own, which ends in order."""
    bus.settings = settings
    observer = Observer(bus, every_seconds=0.05)
    task = asyncio.create_task(observer.run())

    async def there() -> bool:
        found = await bus.js.consumers_info(Stream.EVENTS)
        return any(c.name == SERVICE for c in found)

    await eventually(there)
    try:
        yield observer
    finally:
        bus.stopping.set()
        await task
        bus.stopping.clear()


@pytest.fixture
def settings(nats_settings: Settings, s3_settings: Settings) -> Settings:
    return msgspec.structs.replace(
        nats_settings,
        s3_endpoint=s3_settings.s3_endpoint,
        s3_access_key=s3_settings.s3_access_key,
        s3_secret_key=s3_settings.s3_secret_key,
        disabled_services=("wan_animate",),
    )


async def becomes(value: Value, wanted: float | None, name: str, **labels: str) -> None:
    async def is_it() -> bool:
        return value(name, **labels) == wanted

    try:
        await eventually(is_it)
    except TimeoutError:
        found = value(name, **labels)
        raise AssertionError(f"{name}{labels} is {found}, not {wanted}") from None


async def test_a_store_that_lets_nobody_in_is_told_and_ends_nobody(
    bus: Bus, settings: Settings, value: Value
) -> None:
    wrong = msgspec.structs.replace(settings, s3_secret_key=Secret("of another box"))
    async with observing(bus, wrong) as observer:
        await becomes(value, 0.0, "adgenx_dependency_up", dependency="s3")
        await observer.look()


async def tell(bus: Bus, tenant: str, request_id: str, event: events.Event) -> None:
    result = isinstance(event, events.GenerationResult)
    name = Capability.VIDEO.result_event if result else Capability.VIDEO.request_event
    subject = subjects.event(tenant, "-", request_id, name)
    await gate.publish_once(bus, subject, encode(event))


def result(request_id: str = "r", **more: object) -> events.GenerationResult:
    fields = {
        "request_id": request_id,
        "capability": "video",
        "status": "ok",
        "provider": "longcat",
        "tier": "production",
        "made": "run",
        "latency_ms": 1500,
        "run_ms": 1200,
        "cost_estimate": 0.25,
    }
    return msgspec.convert(fields | more, events.GenerationResult)


def announced(name: str, **more: object) -> ServiceRecord:
    fields: dict[str, object] = {
        "manifest": Manifest(
            name=name,
            version="1.0.0",
            tier=Tier.PRODUCTION,
            accepts=["generate_video.v1"],
            model=ModelSection(name=name, licence="MIT", commercial_use=True),
            resources=ResourceSection(memory_gb=40, target_seconds=90),
        ),
        "revision": "1",
        "state": ServiceState.READY,
        "workers": 2,
        "announced_at": time.time(),
    }
    return ServiceRecord(**(fields | more))  # type: ignore[arg-type]  # names as in the contract


async def test_requests_results_and_costs_are_counted_by_provider(
    bus: Bus, settings: Settings, value: Value
) -> None:
    async with observing(bus, settings):
        asked = events.GenerationRequest(
            request_id="r", capability="video", provider="longcat", tier="production",
            cost_estimate=0.3,
        )  # fmt: skip
        await tell(bus, "acme", "r", asked)
        await tell(bus, "acme", "r", result())
        labels = {"capability": "video", "provider": "longcat", "tier": "production"}
        await becomes(value, 1, "adgenx_results_total", **labels, status="ok", made="run")
        assert value("adgenx_requests_total", **labels) == 1
        assert value("adgenx_cost_estimate_dollars_total", provider="longcat") == 0.3
        assert value("adgenx_cost_dollars_total", provider="longcat", tenant="acme") == 0.25
        assert value("adgenx_run_seconds_sum", provider="longcat") == 1.2
        latency = {"provider": "longcat", "made": "run"}
        assert value("adgenx_request_latency_seconds_bucket", **latency, le="1.0") == 0
        assert value("adgenx_request_latency_seconds_bucket", **latency, le="2.5") == 1


async def test_a_failure_says_whose_fault_it_was_and_what_was_tried(
    bus: Bus, settings: Settings, value: Value
) -> None:
    stalled = ErrorInfo(code="STALLED", message="m", retryable=True)
    attempts = [
        Attempt(service="cosmos", starts=2, error=stalled, failures=[stalled]),
        Attempt(service="longcat", starts=1),
    ]
    async with observing(bus, settings):
        await tell(bus, "acme", "r1", result("r1", attempts=attempts))
        for number, code in enumerate(("OUT_OF_MEMORY", "INVALID_PARAMS", "NOT_IMPLEMENTED")):
            error = ErrorInfo(code=code, message="m")
            ended = result(f"f{number}", status="failed", made="", error=error)
            await tell(bus, "acme", f"f{number}", ended)
        outcomes = "adgenx_outcomes_total"
        by = {"provider": "longcat"}
        await becomes(value, 1, outcomes, **by, outcome="operator")
        assert value(outcomes, **by, outcome="service") == 1
        assert value(outcomes, **by, outcome="request") == 1
        assert value(outcomes, **by, outcome="ok") == 1
        assert value("adgenx_errors_total", **by, code="OUT_OF_MEMORY") == 1
        assert value("adgenx_retries_total", provider="cosmos", code="STALLED") == 1
        assert value("adgenx_fallbacks_total", provider="cosmos", code="STALLED") == 1


async def test_tenants_are_told_apart_up_to_a_bound(
    bus: Bus, settings: Settings, value: Value
) -> None:
    async with observing(bus, settings):
        for number in range(53):
            await tell(bus, f"t{number}", "r", result())
        await becomes(value, 0.75, "adgenx_cost_dollars_total", provider="longcat", tenant="other")


async def test_what_was_told_while_it_was_away_is_counted_once(
    bus: Bus, settings: Settings, value: Value
) -> None:
    labels = {"capability": "video", "provider": "longcat", "tier": "production"}
    counts = {**labels, "status": "ok", "made": "run"}
    await tell(bus, "acme", "long-ago", result("long-ago"))
    async with observing(bus, settings):
        await tell(bus, "acme", "r1", result("r1"))
        await becomes(value, 1, "adgenx_results_total", **counts)  # what was before it, is history
    await tell(bus, "acme", "r2", result("r2"))
    async with observing(bus, settings):
        await becomes(value, 2, "adgenx_results_total", **counts)


async def test_the_ledger_is_summed_from_its_first_entry_whenever_it_starts(
    bus: Bus, settings: Settings, value: Value
) -> None:
    async def charge(name: str, amount: float, at: float) -> None:
        entry = Charge(
            tenant="acme", campaign_id="", request_id=name, job_id=name, service="longcat",
            amount=amount, at=at,
        )  # fmt: skip
        await gate.publish_once(bus, subjects.charge("acme", "-", name), encode(entry))

    await charge("old", 1.5, at=time.time() - 2 * 86_400)
    await charge("new", 0.5, at=time.time())
    await gate.publish_once(bus, subjects.charge("acme", "-", "odd"), b"not an entry")
    for _ in range(2):
        async with observing(bus, settings):
            await becomes(value, 2.0, "adgenx_ledger_dollars_total", provider="longcat")
            assert value("adgenx_ledger_today_dollars", provider="longcat") == 0.5
    async with observing(bus, settings):
        await charge("newer", 0.25, at=time.time())
        await becomes(value, 2.25, "adgenx_ledger_dollars_total", provider="longcat")


async def test_services_breakers_flags_and_budgets_are_shown_as_their_records_are(
    bus: Bus, settings: Settings, value: Value
) -> None:
    now = time.time()
    services = Records(bus, Bucket.SERVICES, ServiceRecord)
    for worker, record in {
        "longcat.a": announced("longcat", busy=1, resident=True, memory_gb=41.0),
        "longcat.b": announced("longcat"),
        "longcat.c": announced("longcat", announced_at=now - 100),
        "cosmos.a": announced("cosmos", announced_at=now - 300),
        "wan_animate.a": announced("wan_animate"),
        "ditto.a": announced("ditto", state=ServiceState.UNAVAILABLE),
    }.items():
        await services.put(worker, record)
    breaker = BreakerRecord(state=BreakerState.OPEN, retry_at=now + 60)
    await Records(bus, Bucket.BREAKERS, BreakerRecord).put("longcat", breaker)
    await Records(bus, Bucket.FLAGS, FlagRecord).put("cosmos", FlagRecord(enabled=False))
    budgets = Records(bus, Bucket.BUDGETS, BudgetRecord)
    await budgets.put("acme", BudgetRecord(limit=10, spent=4, reserved={"acme.-.r": 1.5}))
    await budgets.put("acme.c1", BudgetRecord(limit=2, spent=1))
    await budgets.put("acme.c2", BudgetRecord(limit=3, spent=1))
    await budgets.put("acme.c3", BudgetRecord(spent=1))
    async with observing(bus, settings):
        await becomes(value, 4, "adgenx_provider_workers", provider="longcat")
        # At 0 from the start: Prometheus sees no increase in a first value.
        assert value("adgenx_outcomes_total", provider="longcat", outcome="service") == 0
        assert value("adgenx_ledger_dollars_total", provider="longcat") == 0
        assert value("adgenx_request_latency_seconds_count", provider="longcat", made="run") == 0
        for name, provider, wanted in (
            ("adgenx_provider_busy", "longcat", 1),
            ("adgenx_provider_resident", "longcat", 1),
            ("adgenx_provider_memory_bytes", "longcat", 41e9),
            ("adgenx_provider_silent_workers", "longcat", 1),
            ("adgenx_provider_target_seconds", "longcat", 90),
            ("adgenx_provider_workers", "cosmos", 0),
            ("adgenx_provider_enabled", "longcat", 1),
            ("adgenx_provider_enabled", "cosmos", 0),
            ("adgenx_provider_enabled", "wan_animate", 0),
            ("adgenx_provider_heartbeat_age_seconds", "ditto", None),
        ):
            assert value(name, provider=provider) == wanted, (name, provider)
        age = value("adgenx_provider_heartbeat_age_seconds", provider="cosmos")
        assert age is not None
        assert age >= 300
        assert value("adgenx_breaker", provider="longcat", state="open") == 1
        assert value("adgenx_breaker", provider="longcat", state="closed") == 0
        assert value("adgenx_budget_reserved_dollars", tenant="acme", scope="tenant") == 1.5
        assert value("adgenx_budget_limit_dollars", tenant="acme", scope="campaigns") == 5
        # A record that is gone vanishes from the page.
        found = await Records(bus, Bucket.SERVICES, ServiceRecord).get("ditto.a")
        assert found is not None
        await services.delete("ditto.a", found.revision)
        await becomes(value, None, "adgenx_provider_workers", provider="ditto")


async def test_queues_their_ages_and_what_nobody_will_be_given(
    bus: Bus, settings: Settings, value: Value
) -> None:
    hold = asyncio.Event()
    taken: list[str] = []

    async def handle(delivery: object) -> None:
        taken.append(delivery.subject)  # type: ignore[attr-defined]  # a Delivery
        await hold.wait()
        await ack(bus, delivery)  # type: ignore[arg-type]  # the same

    services = Records(bus, Bucket.SERVICES, ServiceRecord)
    await services.put("longcat.a", announced("longcat"))
    await ensure_consumer(bus, Stream.JOBS, worker_consumer("longcat", 30, 1))
    working = asyncio.create_task(consume(bus, Stream.JOBS, "longcat", handle, in_flight=1))
    for name in ("a" * 26, "b" * 26):
        await gate.publish_once(bus, subjects.job("longcat", name), b"{}")
    await gate.publish_once(bus, subjects.job("nobody", "c" * 26), b"{}")
    await gate.publish_once(bus, subjects.request("acme", "video", "-", "r1"), b"{}")
    await gate.publish_once(bus, subjects.dead("longcat", "d" * 26), b"{}")

    async def in_hand() -> bool:
        return len(taken) == 1

    await eventually(in_hand)
    async with observing(bus, settings):
        await becomes(value, 1, "adgenx_stuck_messages", stream="JOBS")
        assert value("adgenx_stuck_messages", stream="CONTROL") == 0
        assert value("adgenx_jobs_in_flight", provider="longcat") == 1
        depth = "adgenx_queue_depth"
        for queue, kind, wanted in (
            ("JOBS", "longcat", 2),
            ("JOBS", "nobody", 1),
            ("REQUESTS", "video", 1),
            ("REQUESTS", "campaign", 0),
            ("CONTROL", "", 0),
            ("DEAD", "", 1),
        ):
            assert value(depth, queue=queue, kind=kind) == wanted, (queue, kind)
        assert value("adgenx_queue_target_seconds", queue="REQUESTS", kind="video") == 90
        age = value("adgenx_queue_oldest_seconds", queue="JOBS", kind="longcat")
        assert age is not None
        assert 0 < age < 60
        assert value("adgenx_consumer_pending", stream="JOBS", consumer="longcat") == 1
        assert value("adgenx_consumer_ack_pending", stream="JOBS", consumer="longcat") == 1
        held, limit = (value(f"adgenx_stream_{w}bytes", stream="JOBS") for w in ("", "limit_"))
        assert held is not None
        assert limit is not None
        assert 0 < held < limit
        hold.set()
        await becomes(value, 0, depth, queue="JOBS", kind="longcat")
        await becomes(value, 0, "adgenx_queue_oldest_seconds", queue="JOBS", kind="longcat")
        assert value("adgenx_memory_available_bytes")
        assert value("adgenx_dependency_up", dependency="nats") == 1
        assert value("adgenx_dependency_up", dependency="s3") == 1
    working.cancel()


async def test_a_store_that_is_away_is_shown_as_down(
    bus: Bus, settings: Settings, value: Value
) -> None:
    away = msgspec.structs.replace(settings, s3_endpoint="http://127.0.0.1:9")
    async with observing(bus, away):
        await becomes(value, 0, "adgenx_dependency_up", dependency="s3")
        await becomes(value, 1, "adgenx_dependency_up", dependency="nats")


async def test_it_outlives_its_server_and_says_that_it_was_away(
    bus: Bus, settings: Settings, value: Value, nats_server: NatsServer
) -> None:
    async with observing(bus, settings):
        await becomes(value, 1, "adgenx_dependency_up", dependency="nats")
        nats_server.process.kill()
        await becomes(value, 0, "adgenx_dependency_up", dependency="nats")
        await nats_server.start()
        await becomes(value, 1, "adgenx_dependency_up", dependency="nats")
        await tell(bus, "acme", "r", result())
        counts = {"capability": "video", "provider": "longcat", "tier": "production"}
        await becomes(value, 1, "adgenx_results_total", **counts, status="ok", made="run")


async def test_a_connection_is_drained_even_when_its_server_is_gone(
    nats_settings: Settings, nats_server: NatsServer
) -> None:
    async with connected(nats_settings, "test") as bus:
        nats_server.process.kill()
        with pytest.raises(UnknownOutcomeError):
            await direct.last_of_each(bus, Stream.EVENTS, "adgenx.evt.>")
